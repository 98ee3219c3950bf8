"""The door of the service, around all routes: keys, ids, a limit on bodies, metrics, log lines, last answers.

Knows nothing of what the routes do. Log lines hold no personal data: ids, routes, statuses, durations.
"""

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millwright.errors import Forbidden, MillwrightError, TooLarge, TooSlow, Unavailable
from millwright.privacy.access import ADMIN, UNMASK, Guard
from millwright.privacy.patterns_contact import is_network_address
from millwright.serve.ids import new_id
from millwright.surfaces.hangup import HungUp, unless_hung_up
from millwright.surfaces.metrics import Metrics
from millwright.surfaces.refusals import fault, refusal

_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LIVES = "/healthz"
OPEN = {LIVES, "/readyz"}  # a supervisor that asks whether the process lives needs no key
NEEDED = {  # by how a path begins; other routes want any key
    "/v1/predictions": "predict",
    "/v1/feedback": "feedback",
    "/v1/surveys/": "feedback",
    "/v1/reviews": "review",
    "/v1/experiments": "review",
    "/v1/drift": "review",
    "/v1/turns": "review",
    "/v1/subjects/": ADMIN,
    "/v1/unmask": UNMASK,
}
PAGE = "/docs"
GONE = 499  # as others note that the client hung up; nobody reads it
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_POLICY = b"content-security-policy"
POLICY = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
PAGE_POLICY = (_POLICY, b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
LAST = (b"connection", b"close")
log = logging.getLogger(__name__)


class Door:
    """Wraps an application; the last place that can answer when something fails inside.

    While it `is_starting`, it says that the process lives and refuses all else; while it `is_closing`, each
    answer ends its connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        metrics: Metrics,
        *,
        body_s: float,
        guard: Guard,
        direct: Mapping[tuple[str, str], ASGIApp],
        any_host: bool,
    ) -> None:
        """Stand before an application.

        Args:
            app: what answers.
            max_body_bytes: the longest body that is let in.
            metrics: what requests are counted in.
            body_s: how long a body may take to come; who sends slowly holds a connection and its memory.
            guard: who says which key opens what.
            direct: what answers a method and a path without the application's router.
            any_host: whether to answer under any name where no key is needed.
        """
        self.app = app
        self.guard = guard
        self.direct = direct
        self.any_host = any_host
        self.max_body_bytes = max_body_bytes
        self.body_s = body_s
        self.metrics = metrics
        self.is_starting = self.is_closing = False
        self._reading = asyncio.Lock()
        # Their own thread: others may wait for the database, and nobody comes in without a look at the keys.
        self._reader = ThreadPoolExecutor(1, "keys")
        self._noting: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        headers = dict(scope["headers"])
        request_id = _id_of(headers.get(b"x-request-id"))
        scope["request_id"] = request_id

        async def answer(message: Message) -> None:
            """Note the status of the answer and give it the request's id."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                policy = PAGE_POLICY if scope["path"] == PAGE else POLICY
                own = ((b"x-request-id", request_id), *HEADERS, policy)
                last = (LAST,) if self.is_closing or status == TooSlow.status else ()
                message["headers"] = [*message.get("headers", ()), *own, *last]
            await send(message)

        try:
            await self._answer(scope, headers, receive, answer)
        except HungUp:
            status = GONE
        except asyncio.CancelledError:  # the server stops, and has waited long enough
            if not status:
                await refusal(Unavailable("the server is stopping; try again in a moment"))(
                    scope, receive, answer
                )
            raise
        except Exception as error:  # its message may hold what a user wrote: only its kind and place are told
            frames = "".join(traceback.format_tb(error.__traceback__))
            told = {"request": request_id.decode()}
            log.error("a request failed with %s at\n%s", type(error).__name__, frames, extra={"fields": told})
            if not status:
                await fault()(scope, receive, answer)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - start)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        try:
            if self.is_starting and scope["path"] != LIVES:
                raise Unavailable("the server is starting; try again in a moment")
            await self._check_key(scope, headers)
            body = await self._body(headers, receive)
        except MillwrightError as error:  # also that the keys cannot be read: then nobody comes in
            await refusal(error)(scope, receive, send)
            return
        direct = self.direct.get((scope["method"], scope["path"]))
        if direct is None:
            await self.app(scope, _Replay(body, receive), send)
        else:
            await unless_hung_up(direct(scope, _Replay(body, receive), send), receive)

    async def _check_key(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Refuse a request whose key does not let it in; else its id is in the scope."""
        path: str = scope["path"]
        if path in OPEN:
            return
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        given = token.strip() if kind.lower() == "bearer" else None
        if self.guard.is_stale:
            async with self._reading:  # whoever comes meanwhile waits for the same reading
                if self.guard.is_stale:
                    await asyncio.get_running_loop().run_in_executor(self._reader, self.guard.read)
        if self.guard.has_uses_to_note and (self._noting is None or self._noting.done()):
            self._noting = asyncio.create_task(asyncio.to_thread(self.guard.note_uses))
        if self.guard.is_open and not self.any_host:
            _check_host(headers.get(b"host", b"").decode("latin-1"))
        key = self.guard.check(given, _needed(path))
        scope["api_key"] = key and key.id

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        announced, body, is_whole = headers.get(b"content-length", b"0"), b"", False
        if announced.isdigit() and int(announced) > self.max_body_bytes:
            raise self._too_large(headers)
        try:
            async with asyncio.timeout(self.body_s):
                while not is_whole:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HungUp
                    body += message.get("body", b"")
                    is_whole = not message.get("more_body", False)
                    if len(body) > self.max_body_bytes:
                        raise self._too_large(headers)
        except TimeoutError:
            late = f"the body did not come within {self.body_s:g} s; send it at once"
            raise TooSlow(late, "body") from None
        return body

    def _too_large(self, headers: dict[bytes, bytes]) -> TooLarge:
        limit = f"the body is over serve.max_body_bytes = {self.max_body_bytes}; send less"
        return TooLarge(limit, "body", f"{headers.get(b'content-length', b'more').decode('latin-1')} bytes")

    def _note(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        path: str = scope["path"] if (scope["method"], scope["path"]) in self.direct else "unknown"
        route: str = getattr(scope.get("route"), "path", path)  # what was refused here met no route
        self.metrics.note(route, status, seconds)
        level = logging.INFO if status < 400 else logging.WARNING
        if log.isEnabledFor(level):
            fields = {
                "request": request_id.decode(),
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
            }
            log.log(level, "request", extra={"fields": fields})


class _Replay:
    """Hands on a body that was read already, then whatever else comes."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _needed(path: str) -> str:
    """The scope that a path wants, "" if any key will do."""
    return next((scope for start, scope in NEEDED.items() if path.startswith(start)), "")


def _check_host(given: str) -> None:
    """Refuse a name that is not this machine's: whoever owns it may point it here and ask from a browser."""
    if given and not _is_own_name(given):
        raise Forbidden(
            "without a key this machine is answered alone, by an address or as localhost; make a key with "
            "`millwright keys create`, or pass --without-keys",
            "host",
            given[:100],
        )


@lru_cache(maxsize=64)  # each request asks, and nearly all of them by one name
def _is_own_name(given: str) -> bool:
    if not _HOST.fullmatch(given):
        return False
    try:
        host = urlsplit(f"//{given}").hostname
    except ValueError:  # no address in the brackets
        return False
    return host is not None and (host == "localhost" or is_network_address(host))


def _id_of(given: bytes | None) -> bytes:
    """The caller's id where it is a plain word, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return new_id().encode()
