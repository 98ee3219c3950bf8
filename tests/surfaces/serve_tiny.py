"""A server of its own process for test_process.py: python -m tests.surfaces.serve_tiny PROJECT [PORT].

With a port, the model loads once a line stands on the standard input.
"""

import sys
from dataclasses import replace

from millwright.project import open_project
from millwright.settings import change_settings
from millwright.surfaces.web import serve
from tests.serve.tiny import Tiny


def load(_name: str) -> Tiny:
    if port:
        sys.stdin.readline()
    return Tiny()


if __name__ == "__main__":
    opened, port = open_project(sys.argv[1]), int("".join(sys.argv[2:3]) or 0)
    at_port = replace(opened, settings=change_settings(opened.settings, "serve", port=port))
    serve(at_port, lambda url: print(url, flush=True), load=load)  # noqa: T201, the test reads it
