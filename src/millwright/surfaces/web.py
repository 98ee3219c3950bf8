"""The HTTP service: parses, calls one function, answers. Routes and errors are in docs/http.md."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.responses import PlainTextResponse

from millwright.errors import Busy, MillwrightError, Unavailable
from millwright.opinions.surveys import Survey
from millwright.project import Project
from millwright.registry.versions import CHAMPION, resolve
from millwright.serve.loading import Loader
from millwright.surfaces.direct import DirectRoute
from millwright.surfaces.door import Door
from millwright.surfaces.experiments_http import experiments_router
from millwright.surfaces.messages import (
    ErrorAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    ModelsAnswer,
    PredictionRequest,
    PredictionsAnswer,
    SurveyAnswer,
)
from millwright.surfaces.refusals import add_refusals
from millwright.surfaces.reviews_http import reviews_router
from millwright.surfaces.service import Load, Service
from millwright.surfaces.steering import steer

DRAIN_SECONDS = 30
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (404, 413, 422, 429, 503, 504, 507)
}


def create_app(project: Project, load: Load | None = None) -> FastAPI:
    """The service over a project.

    Args:
        project: an open project.
        load: makes a model of a version's name; the registry's own when not given.

    Returns:
        The application; it loads champion and challenger when it starts.
    """
    service = Service(project, load or Loader(project).load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Start the service with the application and stop it with it."""
        await service.start()
        steering = asyncio.create_task(steer(project))
        yield
        steering.cancel()
        await asyncio.gather(steering, return_exceptions=True)
        await service.stop()

    app = FastAPI(
        title="Millwright", description="Predictions, and what users say of them.", lifespan=lifespan
    )
    app.state.service = service
    app.add_middleware(Door, max_body_bytes=service.limits.max_body_bytes, metrics=service.metrics)
    _add_predictions(app, service)
    app.include_router(experiments_router(project))
    app.include_router(reviews_router(project))
    _add_routes(app, service)
    _add_operation(app, service)
    add_refusals(app)
    return app


def serve(project: Project, ready: Callable[[str], None], load: Load | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        project: a project with a champion.
        ready: called with the service's address once it listens.
        load: makes a model of a version's name; the registry's own when not given.

    Raises:
        Busy: the port is in use.
        NotFound: there is no version to serve.
        Corrupt: the champion is damaged.
        MillwrightError: the service could not start.
    """
    host, load = project.settings.serve.host, load or Loader(project).load
    with closing(_listener(host, project.settings.serve.port)) as listener:
        champion = resolve(project, CHAMPION)
        loaded = {champion: load(champion)}  # here, since an error raised within uvicorn is only logged
        app = create_app(project, lambda name: loaded.pop(name) if name in loaded else load(name))
        shown = f"[{host}]" if ":" in host else host
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        server = _Announcing(config, lambda: ready(f"http://{shown}:{listener.getsockname()[1]}"))
        server.run(sockets=[listener])
        if not server.started:
            raise MillwrightError("the service did not start; what stands above says why")


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # now, so that a second server learns at once that the port is taken
    except OSError as error:
        listener.close()
        raise Busy(
            f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or pass --port 0 for a "
            "free port"
        ) from None
    return listener


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def _add_predictions(app: FastAPI, service: Service) -> None:
    router = APIRouter(route_class=DirectRoute)

    @router.post("/v1/predictions", responses=REFUSALS)
    async def predictions(request: PredictionRequest) -> PredictionsAnswer:
        """Classify texts; each answer has an id for feedback."""
        return await service.predict(request)

    app.include_router(router)


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/feedback", status_code=201, responses=REFUSALS)
    async def feedback(request: FeedbackRequest) -> FeedbackAnswer:
        """Say what was right, how good it was, or anything else; answered once it is on disk."""
        return await service.hear(request)

    @app.get("/v1/surveys/next", responses=REFUSALS)
    async def next_survey(
        prediction: Annotated[str, Query(max_length=64)], survey: Survey = "csat"
    ) -> SurveyAnswer:
        """Whether to ask the user of a prediction; asked again, the answer is the same."""
        return await service.survey(prediction, survey)

    @app.get("/v1/models")
    async def models() -> ModelsAnswer:
        """The versions that are served."""
        return await service.models()


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": ErrorAnswer}})
    async def readyz() -> dict[str, str]:
        """A model is loaded and the worker runs."""
        if not service.engine.is_ready:
            raise Unavailable("no model is ready; try again in a moment")
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.read(service.engine), media_type="text/plain; version=0.0.4")
