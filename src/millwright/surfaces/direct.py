"""A route for what is asked thousands of times a second: JSON in, one function, JSON out.

It stands in the OpenAPI pages like any route of FastAPI; only the way from the socket to the function
is shorter (no dependencies, no second validation of the answer).
"""

import inspect
from functools import cached_property

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from millwright.errors import BadInput, MillwrightError
from millwright.surfaces.refusals import invalid, refusal


class DirectRoute(APIRoute):
    """A route whose function takes one message, the body, and returns another, sent without empty fields."""

    @cached_property
    def message(self) -> type[BaseModel]:
        """The model of the body."""
        (parameter,) = inspect.signature(self.endpoint).parameters.values()
        model: type[BaseModel] = parameter.annotation
        return model

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # says which methods there are
            return
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        try:
            if not _is_json(scope):
                raise BadInput(
                    "the body is not declared as JSON; send Content-Type: application/json", "body"
                )
            made = await self.endpoint(self.message.model_validate_json((await receive())["body"]))
        except ValidationError as error:
            return invalid(error.errors(include_url=False, include_context=False))
        except MillwrightError as error:
            return refusal(error)
        return Response(made.model_dump_json(exclude_none=True), media_type="application/json")


def _is_json(scope: Scope) -> bool:
    # A page of another site may post anything but this type without asking the browser first.
    return any(name == b"content-type" and b"json" in value.lower() for name, value in scope["headers"])
