"""Every refusal has one shape: {"error": {"message", "field", "value", "remedy"}}, and a status."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millwright.errors import BadInput, MillwrightError, TooLarge
from millwright.surfaces.messages import ErrorAnswer, ErrorDetail

SHOWN_CHARACTERS = 80


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
        body = None if _announced(scope) > self.max_body_bytes else await self._read(receive)
        if body is None:
            limit = f"the body is over serve.max_body_bytes = {self.max_body_bytes}; send less"
            await refusal(TooLarge(limit, field="body"))(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.max_body_bytes:
                return None
        return bytes(body)


def add_refusals(app: FastAPI) -> None:
    """Answer every error of the app's routes in the one shape."""

    @app.exception_handler(MillwrightError)
    async def millwright_error(_: Request, error: MillwrightError) -> Response:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _error(422, "the body is not JSON", "body", None, "send a JSON object")
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        value = None if first["type"] == "missing" else str(first.get("input"))
        remedy = "send the fields that /docs lists, as Content-Type: application/json"
        return _error(422, f"{field}: {first['msg'].lower()}", field, value, remedy)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # FastAPI's word for a body that it cannot even decode
            return _error(422, "the body is not JSON in UTF-8", "body", None, "send a JSON object")
        remedy = "see /docs for the routes and their methods"
        answer = _error(error.status_code, str(error.detail).lower(), "path", request.url.path, remedy)
        answer.headers.update(error.headers or {})
        return answer


def refusal(error: MillwrightError) -> JSONResponse:
    """The answer to an error of ours: what stands after its last semicolon is the remedy."""
    message, _, remedy = str(error).rpartition("; ")
    field = error.field if isinstance(error, BadInput) else None
    return _error(error.status, message or str(error), field, None, remedy)


def fault() -> JSONResponse:
    """The answer to an error that we did not expect; nothing of it is told."""
    return _error(500, "the server failed on this request", None, None, "try again; then read its log")


def _announced(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _error(status: int, message: str, field: str | None, value: str | None, remedy: str) -> JSONResponse:
    detail = ErrorDetail(
        message=_sendable(message),
        field=None if field is None else _sendable(field),
        value=None if value is None else _sendable(value[:SHOWN_CHARACTERS]),
        remedy=_sendable(remedy),
    )
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(ErrorAnswer(error=detail).model_dump(), status, headers)


def _sendable(text: str) -> str:
    """Half of a surrogate pair can stand in JSON but not in UTF-8."""
    return text.encode(errors="replace").decode()
