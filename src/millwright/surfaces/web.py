"""The HTTP service: parses, calls one function, answers. Routes and errors are in docs/http.md."""

import asyncio
import errno
import logging
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from threadpoolctl import threadpool_limits

from millwright.errors import BadInput, Busy, MillwrightError, Unavailable
from millwright.opinions.surveys import Survey
from millwright.privacy.access import Guard, has_keys_for_service
from millwright.privacy.vault import keep_vault
from millwright.project import Project
from millwright.registry.versions import CHAMPION, resolve
from millwright.reports.routes import routes_page
from millwright.runner.lead import lead
from millwright.serve.available import check_runtime
from millwright.serve.engine import Answering
from millwright.serve.loading import Loader
from millwright.surfaces.direct import DirectRoute
from millwright.surfaces.door import PAGE, Door
from millwright.surfaces.experiments_http import experiments_router
from millwright.surfaces.messages import (
    ErrorAnswer,
    FeedbackAnswer,
    FeedbackRequest,
    ModelsAnswer,
    PredictionRequest,
    PredictionsAnswer,
    SpanPredictionsAnswer,
    SurveyAnswer,
)
from millwright.surfaces.refusals import add_refusals
from millwright.surfaces.reviews_http import reviews_router
from millwright.surfaces.service import Load, Service
from millwright.surfaces.steering import steer
from millwright.surfaces.subjects import subject_routes
from millwright.surfaces.unmask_http import unmask_router

LINGER_S = 1.0  # from the signal to the last new connection: who watches /readyz goes elsewhere by then
SETTLE_S = 0.5  # from there to the end of idle connections: most end with an answer, and none while one comes
SWITCH_S = 0.0005
SIGNAL_S = 0.1  # how soon a signal is heeded while a model is loaded
log = logging.getLogger(__name__)
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer}
    for status in (401, 403, 404, 408, 409, 413, 422, 429, 500, 501, 503, 504, 507)
}


@dataclass(frozen=True)
class Tls:
    """PEM files of a certificate with its chain, and of its key."""

    certificate: Path
    key: Path


def create_app(
    project: Project,
    load: Load | None = None,
    *,
    turns: bool = False,
    max_membership: float | None = None,
    any_host: bool = False,
) -> "_Doored":
    """The service over a project.

    Args:
        project: an open project.
        load: makes a model of a version's name; the registry's own when not given.
        turns: whether to keep the wheel turning, too.
        max_membership: as of a turn; None audits no challenger.
        any_host: whether to answer under any name where no key is needed, not as localhost alone.

    Returns:
        The application; it loads champion and challenger when it starts.
    """
    service = Service(project, load or Loader(project).load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Start the service with the application and stop it with it."""
        await service.start()
        tasks = [asyncio.create_task(steer(project))]
        if turns:
            tasks.append(asyncio.create_task(lead(project, service.leading, max_membership=max_membership)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.stop()

    app = _Doored(
        title="Millwright",
        description="Predictions, and what users say of them.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages fetch scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    direct = _add_predictions(app, service)
    app.door = Door(
        app.inside,
        service.limits.max_body_bytes,
        service.metrics,
        body_s=service.limits.deadline_s,
        guard=Guard(project),
        direct=direct,
        any_host=any_host,
    )
    app.include_router(experiments_router(project), responses=REFUSALS)
    app.include_router(reviews_router(project), responses=REFUSALS)
    _add_routes(app, service)
    _add_operation(app, service)
    app.include_router(subject_routes(project, service.vault), responses=REFUSALS)
    app.include_router(unmask_router(service.vault), responses=REFUSALS)
    add_refusals(app)
    return app


class _Doored(FastAPI):
    """An application that a request enters by its door, before any middleware costs time."""

    door: Door
    is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the application's life."""
        await self.door(scope, receive, send)

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI itself does."""
        await super().__call__(scope, receive, send)


def note_address(url: str) -> None:
    """Log where the service listens."""
    log.info("serving %s", url)


def serve(
    project: Project,
    ready: Callable[[str], None] = note_address,
    load: Load | None = None,
    *,
    tls: Tls | None = None,
    without_keys: bool = False,
    turns: bool = False,
    max_membership: float | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        project: a project with a champion.
        ready: called with the service's address once it listens; the address is logged when not given.
        load: makes a model of a version's name; the registry's own when not given.
        tls: the certificate to serve HTTPS with; HTTP if None.
        without_keys: listen beyond this machine although there is no key, so that anybody may ask.
        turns: whether to keep the wheel turning, too.
        max_membership: as of a turn; None audits no challenger.

    Raises:
        BadInput: it would listen beyond this machine and there is no key; or the certificate is none.
        Busy: the port is in use.
        NotFound: there is no version to serve, or the master key or the model of `privacy.names` is missing.
        Corrupt: the champion is damaged.
        MissingExtra: `serve.runtime` names a runtime whose packages are missing.
        MillwrightError: the service could not start.
    """
    check_runtime(project.settings)
    threadpool_limits(1, user_api="blas")  # workers compute side by side: more threads would only wait
    sys.setswitchinterval(SWITCH_S)  # the event loop must not wait long for a worker's turn to end
    host, load = project.settings.serve.host, load or Loader(project).load
    _check_open(project, host, tls, without_keys)
    with closing(_listener(host, project.settings.serve.port)) as listener:
        champion = resolve(project, CHAMPION)
        _ = keep_vault(project).keys  # a master key that is missing should be told, not only logged
        loaded: dict[str, Answering] = {}

        app = create_app(
            project,
            lambda name: loaded.pop(name) if name in loaded else load(name),
            turns=turns,
            max_membership=max_membership,
            any_host=without_keys,
        )

        def prepare() -> None:
            """Load what answers need before the application starts: an error raised there is only logged."""
            loaded[champion] = load(champion)
            app.state.service.warm()

        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,  # nobody need know what serves
            proxy_headers=False,  # nobody asks who the client is
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=ceil(project.settings.serve.deadline_s) + 1,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        scheme = "https" if tls else "http"
        address = f"{scheme}://{_shown(host)}:{listener.getsockname()[1]}"
        server = _Server(config, prepare, lambda: ready(address), app)
        with suppress(SystemExit):  # how Uvicorn ends where the application does not start
            server.run(sockets=[listener])
        if not server.started:
            raise MillwrightError("the service did not start; what stands above says why")


def _check_open(project: Project, host: str, tls: Tls | None, without_keys: bool) -> None:
    if tls is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.certificate, tls.key)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(
                f"{tls.certificate} and {tls.key} are no certificate and its key ({error}); pass PEM files"
            ) from None
    if _is_this_machine(host):
        return
    if not has_keys_for_service(project) and not without_keys:
        raise BadInput(
            f"serve.host = {host!r} is open to other machines and there is no key: anybody could ask; make "
            "one with `millwright keys create`, or pass --without-keys",
            field="serve.host",
        )
    if tls is None:
        log.warning("keys and texts travel in the clear to %s; pass --tls-cert and --tls-key", host)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    where = f"{_shown(host)}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.sort(key=lambda one: one[0] != socket.AF_INET)  # "localhost" has both
        family, _, _, _, address = found[0]
        listener = socket.socket(family)
    except OSError as error:
        raise _cannot_listen(where, error) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()  # now, so that a second server learns at once that the port is taken
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Busy(
                f"cannot listen on {where} ({error.strerror}); stop what uses it, or pass --port 0 for a "
                "free port"
            ) from None
        raise _cannot_listen(where, error) from None
    return listener


def _cannot_listen(where: str, error: OSError) -> BadInput:
    return BadInput(
        f"cannot listen on {where} ({error.strerror}); pass an address of this machine with --host, or a "
        "port over 1023",
        field="serve.host",
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """Refuses what comes while it starts, says when it has, and drops no request when it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        prepare: Callable[[], None],
        ready: Callable[[], None],
        app: _Doored,
    ) -> None:
        super().__init__(config)
        self._prepare = prepare
        self._ready = ready
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Prepare and start the application, listening all the while; then say so."""
        self._app.door.is_starting = True
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        early = [
            await loop.create_server(self._protocol, sock=listener.dup(), ssl=tls)
            for listener in sockets or ()
        ]
        try:
            preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))
            while not preparing.done() and not self.should_exit:
                await asyncio.wait([preparing], timeout=SIGNAL_S)
            if not self.should_exit:
                await preparing
                await super().startup(sockets)
        finally:
            for server in early:  # Uvicorn's own listen by now; open connections stay
                server.close()
        self._app.door.is_starting = False
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be no longer ready, then take no new connections, end the others, answer what is under way.

        Uvicorn alone would at once close connections on which a request is arriving.
        """
        self._app.is_stopping = True
        await asyncio.sleep(LINGER_S)
        last = [connection for listener in sockets or () for connection in self._close(listener)]
        self._app.door.is_closing = True
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        let_in = (loop.connect_accepted_socket(self._protocol, one, ssl=tls) for one in last)
        _ = asyncio.gather(*let_in, return_exceptions=True)
        await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)

    def _close(self, listener: socket.socket) -> list[socket.socket]:
        """Stop listening; the connections that the system has taken meanwhile, which closing would reset."""
        taken = []
        with closing(listener.dup()) as rest:
            rest.setblocking(False)
            for server in self.servers:
                server.close()
            with suppress(OSError):  # nobody waits any more
                while True:
                    taken.append(rest.accept()[0])
        return taken

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _add_predictions(app: FastAPI, service: Service) -> dict[tuple[str, str], ASGIApp]:
    """Add the route; what the door may call for it without the router."""
    router = APIRouter(route_class=DirectRoute)

    @router.post("/v1/predictions", responses=REFUSALS)
    async def predictions(request: PredictionRequest) -> PredictionsAnswer | SpanPredictionsAnswer:
        """Classify texts, or find spans in them; each answer has an id for feedback."""
        return await service.predict(request)

    app.include_router(router)
    return {
        (method, route.path): route.handle
        for route in router.routes
        if isinstance(route, DirectRoute)
        for method in route.methods or ()
    }


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


def _add_operation(app: _Doored, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": ErrorAnswer}})
    async def readyz() -> dict[str, str]:
        """A model is loaded and the worker runs."""
        if app.is_stopping or not service.is_ready:
            raise Unavailable("no model is ready, or the server is stopping; try again in a moment")
        return {"status": "ready"}

    @app.get(PAGE, include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The routes, for people."""
        return HTMLResponse(routes_page(app.openapi()))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        told = service.metrics.read(service.engine, service.leading)
        return Response(told, media_type="text/plain; version=0.0.4")
