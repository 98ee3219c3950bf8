"""The HTTP service: parses, calls one function, answers. Routes and errors are in docs/http.md."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millwright.errors import BadInput, Busy, MillwrightError, Overloaded, TooLarge
from millwright.feedback import check_opinion, check_prediction, is_asked
from millwright.modalities.text import clean
from millwright.project import Project
from millwright.records import Opinion, Prediction
from millwright.registry.versions import CHALLENGER, CHAMPION, list_versions, load_classifier
from millwright.serve.engine import Answering, Engine
from millwright.serve.journal import Journal
from millwright.settings import ServeSection
from millwright.store.database import now
from millwright.surfaces.messages import (
    ErrorAnswer,
    ErrorDetail,
    FeedbackAnswer,
    FeedbackRequest,
    LabelProbability,
    ModelAnswer,
    ModelsAnswer,
    PredictionAnswer,
    PredictionRequest,
    PredictionsAnswer,
)

WATCH_SECONDS = 1.0
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (404, 413, 422, 503, 507)
}
Load = Callable[[str], Answering]


class Metrics:
    """The service's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "millwright_requests_total",
            "Requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "millwright_request_duration_seconds", "Time to answer.", ["route"], registry=self.registry
        )
        self.batch = Histogram(
            "millwright_batch_inputs",
            "Inputs that went through the network together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.queue = Gauge("millwright_queue_inputs", "Inputs that wait.", registry=self.registry)
        self.predictions = Counter(
            "millwright_predictions_total", "Predictions by version.", ["version"], registry=self.registry
        )
        self.opinions = Counter(
            "millwright_opinions_total", "Opinions by kind.", ["kind"], registry=self.registry
        )


class Service:
    """What the routes share: engine, journal, metrics, and the versions that should be loaded."""

    def __init__(self, project: Project, load: Load | None = None) -> None:
        self.project = project
        self.limits: ServeSection = project.settings.serve
        self.metrics = Metrics()
        self.engine = Engine(self.limits.max_batch, self.limits.queue_size, self.metrics.batch.observe)
        self.journal: Journal | None = None
        self._load: Load = load or (lambda name: load_classifier(project, name))
        self._models: dict[str, Answering] = {}

    async def refresh(self) -> None:
        """Load what champion and challenger mean now and swap it in; nothing happens if nothing changed."""
        names = {
            alias: info.name
            for info in await asyncio.to_thread(list_versions, self.project)
            for alias in info.aliases
            if alias in (CHAMPION, CHALLENGER)
        }
        wanted = sorted(set(names.values()))
        for name in wanted:
            if name not in self._models:
                self._models[name] = await asyncio.to_thread(self._load, name)
        self._models = {name: self._models[name] for name in wanted}
        self.engine.swap(self._models, names)

    async def watch(self) -> None:
        """Refresh once a second until cancelled; a damaged version leaves the old one in service."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(MillwrightError):
                await self.refresh()

    async def predict(self, request: PredictionRequest) -> PredictionsAnswer:
        """Answer a request and hand its predictions to the journal."""
        texts = self._checked(request.inputs)
        version, model = self.engine.model(request.version)
        probability_NC = await self.engine.answer(model, texts)
        answers, records = [], []
        for text, probability_C in zip(texts, probability_NC, strict=True):
            ranked = (-probability_C).argsort(kind="stable")[: request.top_k or 1]
            top = [
                LabelProbability(label=model.labels[i], probability=float(probability_C[i])) for i in ranked
            ]
            prediction = Prediction(
                id=uuid4().hex,
                version=version,
                text=text,
                label=top[0].label,
                probability=top[0].probability,
                subject=request.subject,
                ask=is_asked(self.project.settings.data, text, request.subject),
                created_at=now(),
            )
            records.append(prediction)
            answers.append(_answer(prediction, top if request.top_k else None))
        assert self.journal is not None
        self.journal.write(records)  # not waited for: what follows it on disk comes after it
        self.metrics.predictions.labels(version).inc(len(records))
        return PredictionsAnswer(predictions=answers)

    async def hear(self, request: FeedbackRequest) -> FeedbackAnswer:
        """Store an opinion; returns once it is on disk."""
        assert self.journal is not None
        opinion = Opinion(
            uuid4().hex, request.prediction, request.label, request.rating, request.comment, now()
        )
        _, model = self.engine.model(CHAMPION)
        check_opinion(opinion, set(model.labels))
        await asyncio.wrap_future(self.journal.write([]))  # the prediction itself may still be on its way
        await asyncio.to_thread(check_prediction, self.project.database, request.prediction)
        await asyncio.wrap_future(self.journal.write([opinion]))
        for kind in ("label", "rating", "comment"):
            if getattr(opinion, kind) is not None:
                self.metrics.opinions.labels(kind).inc()
        return FeedbackAnswer(id=opinion.id)

    def _checked(self, inputs: list[str]) -> list[str]:
        if len(inputs) > self.limits.max_inputs:
            raise TooLarge(
                f"{len(inputs)} inputs in one request, the limit serve.max_inputs is "
                f"{self.limits.max_inputs}; send fewer at a time",
                field="inputs",
            )
        texts = [clean(text) for text in inputs]
        for place, (text, raw) in enumerate(zip(texts, inputs, strict=True)):
            if not text:
                raise BadInput(f"inputs.{place} is blank; send text with words", field=f"inputs.{place}")
            if len(raw) > self.limits.max_characters:
                raise TooLarge(
                    f"inputs.{place} has {len(raw)} characters, the limit serve.max_characters is "
                    f"{self.limits.max_characters}; shorten it",
                    field=f"inputs.{place}",
                )
        return texts


class LimitBody:
    """ASGI middleware that refuses a body over the limit, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then hand it on whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= self.max_body_bytes:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > self.max_body_bytes:
            refusal = _refusal(
                TooLarge(f"the body is over serve.max_body_bytes = {self.max_body_bytes}; send less"), "body"
            )
            await refusal(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)


def create_app(project: Project, load: Load | None = None) -> FastAPI:
    """The service over a project.

    Args:
        project: an open project.
        load: makes a model of a version's name; the registry's own when not given.

    Returns:
        The application; it loads champion and challenger when it starts.
    """
    service = Service(project, load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.journal = Journal(project.database)
        await service.refresh()
        await service.engine.start()
        watching = asyncio.create_task(service.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await service.engine.stop()
        service.journal.close()

    app = FastAPI(
        title="Millwright", description="Predictions, and what users say of them.", lifespan=lifespan
    )
    app.state.service = service
    app.add_middleware(LimitBody, max_body_bytes=service.limits.max_body_bytes)
    _add_routes(app, service)
    _add_refusals(app)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "unknown")
        service.metrics.requests.labels(route, str(response.status_code)).inc()
        service.metrics.seconds.labels(route).observe(time.perf_counter() - start)
        return response

    return app


def serve(project: Project, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        project: a project with a champion.
        ready: called with the service's address once it listens.

    Raises:
        Busy: the port is in use.
        NotFound: there is no version to serve.
    """
    settings = project.settings.serve
    load_classifier(project, CHAMPION)  # refuse to start rather than start without a model
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise Busy(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); stop what uses it, or "
            "pass --port 0 for a free port"
        ) from None
    config = uvicorn.Config(create_app(project), log_level="warning", timeout_graceful_shutdown=30)
    server = _Announcing(config, lambda: ready(f"http://{settings.host}:{listener.getsockname()[1]}"))
    server.run(sockets=[listener])


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/predictions", responses=REFUSALS, response_model_exclude_none=True)
    async def predictions(request: PredictionRequest) -> PredictionsAnswer:
        """Classify texts; each answer has an id for feedback."""
        return await service.predict(request)

    @app.post("/v1/feedback", status_code=201, responses=REFUSALS)
    async def feedback(request: FeedbackRequest) -> FeedbackAnswer:
        """Say what was right, how good it was, or anything else; answered once it is on disk."""
        return await service.hear(request)

    @app.get("/v1/models")
    async def models() -> ModelsAnswer:
        """The versions that are served."""
        infos = await asyncio.to_thread(list_versions, service.project)
        return ModelsAnswer(
            models=[
                ModelAnswer(
                    name=info.name,
                    aliases=list(info.aliases),
                    method=info.method,
                    accuracy=info.accuracy,
                    labels=list(service.engine.model(info.name)[1].labels),
                )
                for info in infos
                if info.name in service.engine.loaded
            ]
        )

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": ErrorAnswer}})
    async def readyz() -> dict[str, str]:
        """A model is loaded and the worker runs."""
        if not service.engine.is_ready:
            raise Overloaded("no model is ready; try again in a moment")
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        service.metrics.queue.set(service.engine.waiting_inputs)
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(MillwrightError)
    async def millwright_error(_: Request, error: MillwrightError) -> Response:
        return _refusal(error, getattr(error, "field", None))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        value = None if first["type"] in ("missing", "json_invalid") else str(first.get("input"))[:80]
        remedy = (
            "send the fields that /docs lists" if first["type"] != "json_invalid" else "send a JSON object"
        )
        return _error(422, f"{field}: {first['msg'].lower()}", field, value, remedy)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        remedy = "see /docs for the routes and their methods"
        return _error(error.status_code, str(error.detail).lower(), "path", request.url.path[:80], remedy)


def _refusal(error: MillwrightError, field: str | None) -> JSONResponse:
    message, _, remedy = str(error).rpartition("; ")
    return _error(error.status, message or str(error), field, None, remedy)


def _error(status: int, message: str, field: str | None, value: str | None, remedy: str) -> JSONResponse:
    body = ErrorAnswer(error=ErrorDetail(message=message, field=field, value=value, remedy=remedy))
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(body.model_dump(), status, headers)


def _answer(prediction: Prediction, top: list[LabelProbability] | None) -> PredictionAnswer:
    return PredictionAnswer(
        id=prediction.id,
        label=prediction.label,
        probability=prediction.probability,
        version=prediction.version,
        ask=prediction.ask,
        top=top,
    )
