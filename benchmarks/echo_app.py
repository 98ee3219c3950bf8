"""What HTTP costs at least: ASGI applications that parse JSON and answer as many bytes as Millwright.

`app` is bare ASGI, `framed` the same in FastAPI with a checked request, as most services are written.
"""

import json

from fastapi import FastAPI
from pydantic import BaseModel

ANSWER = {
    "predictions": [
        {
            "id": "0123456789abcdef0123456789abcdef",
            "label": "card_arrival",
            "probability": 0.9876543210987654,
            "version": "v1",
            "ask": False,
        }
    ]
}
HEADERS = [(b"content-type", b"application/json")]


async def app(scope, receive, send):
    """Read a POST's body as JSON and answer it."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    text = json.loads(body)["inputs"][0]
    answer = json.dumps(ANSWER if isinstance(text, str) else None).encode()
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})


class Request(BaseModel):
    """What Millwright's route takes, at its simplest."""

    inputs: list[str]


framed = FastAPI()


@framed.post("/v1/predictions")
async def predictions(request: Request) -> dict:
    """Answer the same bytes."""
    return ANSWER
