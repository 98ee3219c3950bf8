"""A server of its own process for test_process.py: python -m tests.surfaces.serve_tiny PROJECT."""

import sys
from dataclasses import replace

from millwright.project import open_project
from millwright.settings import change_settings
from millwright.surfaces.web import serve
from tests.serve.tiny import Tiny

if __name__ == "__main__":
    opened = open_project(sys.argv[1])
    free = replace(opened, settings=change_settings(opened.settings, "serve", port=0))
    serve(free, lambda url: print(url, flush=True), load=lambda name: Tiny())  # noqa: T201, the test reads it
