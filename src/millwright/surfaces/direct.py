"""A route for what is asked thousands of times a second: JSON in, one function, JSON out.

It stands in the OpenAPI pages like any route of FastAPI; only the way from the socket to the function
is shorter: the door calls it without asking the router, there are no dependencies, and the answer is not
validated again.
"""

import inspect
import re
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
        scope["route"] = self
        made = await self._respond(scope, receive)
        if isinstance(made, Response):
            await made(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(made))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": made})

    async def _respond(self, scope: Scope, receive: Receive) -> bytes | Response:
        """The body of an answer, or a whole refusal."""
        try:
            declared = _content_type(scope)
            if not _JSON.match(declared):
                raise BadInput(
                    "the body is not declared as JSON; send Content-Type: application/json",
                    "content-type",
                    declared,
                )
            made = await self.endpoint(self.message.model_validate_json((await receive())["body"]))
        except ValidationError as error:
            return invalid(error.errors(include_url=False, include_context=False))
        except MillwrightError as error:
            return refusal(error)
        answer: str = made.model_dump_json(exclude_none=True)
        return answer.encode()


# As FastAPI's other routes ask for.
_JSON = re.compile(r"\s*application/([\w.!#$&^-]+\+)?json\s*(;|$)", re.IGNORECASE)


def _content_type(scope: Scope) -> str:
    # A page of another site may post anything but JSON without asking the browser first.
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"), "")
