"""Every refusal has one shape: {"error": {"message", "field", "value", "remedy"}}, and a status."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from millwright.errors import MillwrightError, TryLater, Unauthorised, Unavailable
from millwright.surfaces.messages import ErrorAnswer, ErrorDetail

SHOWN_CHARACTERS = 80


def add_refusals(app: FastAPI) -> None:
    """Answer every error of the app's routes in the one shape."""

    @app.exception_handler(MillwrightError)
    async def millwright_error(_: Request, error: MillwrightError) -> Response:
        """Answer an error of ours."""
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        """Answer a body that does not fit the route's message."""
        return invalid(error.errors())

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        """Answer an unknown route, a wrong method or a body that is no JSON."""
        if error.status_code == 400:  # FastAPI's word for a body that it cannot even decode
            return _error(422, "the body is not JSON in UTF-8", "body", None, "send a JSON object")
        remedy = "see /docs for the routes and their methods"
        answer = _error(error.status_code, str(error.detail).lower(), "path", request.url.path, remedy)
        answer.headers.update(error.headers or {})
        return answer


def refusal(error: MillwrightError) -> JSONResponse:
    """The answer to an error of ours: what stands after its last semicolon is the remedy."""
    message, _, remedy = str(error).rpartition("; ")
    value = None if error.value is None else str(error.value)
    answer = _error(error.status, message or str(error), error.field, value, remedy)
    if isinstance(error, Unauthorised):
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, (TryLater, Unavailable)):
        answer.headers["Retry-After"] = str(getattr(error, "retry_after_s", 1))
    return answer


def invalid(errors: Sequence[Any]) -> JSONResponse:
    """The answer to a body that pydantic refused: the first of its errors."""
    first = errors[0]
    if first["type"] == "json_invalid":
        where = first["msg"].removeprefix("Invalid JSON: ")  # a place and no content
        return _error(422, f"the body is not JSON in UTF-8: {where}", "body", None, "send a JSON object")
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    value = None if first["type"] == "missing" else str(first.get("input"))
    remedy = "send the fields that /docs lists, as Content-Type: application/json"
    return _error(422, f"{field}: {first['msg'].lower()}", field, value, remedy)


def fault() -> JSONResponse:
    """The answer to an error that we did not expect; nothing of it is told."""
    return _error(500, "the server failed on this request", None, None, "try again; then read its log")


def _error(status: int, message: str, field: str | None, value: str | None, remedy: str) -> JSONResponse:
    detail = ErrorDetail(
        message=_sendable(message),
        field=None if field is None else _sendable(field),
        value=None if value is None else _sendable(value[:SHOWN_CHARACTERS]),
        remedy=_sendable(remedy),
    )
    return JSONResponse(ErrorAnswer(error=detail).model_dump(), status)


def _sendable(text: str) -> str:
    """Half of a surrogate pair can stand in JSON but not in UTF-8."""
    return text.encode(errors="replace").decode()
