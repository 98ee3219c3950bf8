"""A server process of its own for test_durability.py: python served_for_killing.py PROJECT."""

import socket
import sys

import uvicorn

from millwright.project import open_project
from millwright.surfaces.web import create_app
from tests.surfaces.keyword_model import KeywordModel

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201, the test reads it
app = create_app(open_project(sys.argv[1]), lambda name: KeywordModel())
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
