"""Runs the server as a process of its own, on a free port of this machine, and stops it at the end."""

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millwright.errors import MillwrightError


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a project.

    Args:
        folder: the project's folder.

    Yields:
        The server's address, as "http://127.0.0.1:PORT", once it takes requests.

    Raises:
        MillwrightError: the server did not start; the message is what it printed.
    """
    command = [sys.executable, "-m", "millwright.surfaces.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        [*command, "--project", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if found := re.search(r"http://[\w.:]+", line):
                    # What it prints later is read and dropped: a full pipe would make it wait.
                    threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
                    yield found.group()
                    break
            else:
                raise MillwrightError(f"the server did not start: {''.join(printed).strip()}")
        finally:
            process.terminate()
