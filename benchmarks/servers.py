"""Starts a server as a process, waits until it answers, and ends it with all that it started.

A server can be paused with all its processes, so that one that polls while it is idle takes nothing from
the one that is being timed.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

START_S = 240
STOP_S = 10


class NotStarted(Exception):
    """A server could not be installed or started; the message is the line that says why."""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A running server: where it answers, and its first process."""

    url: str
    pid: int

    def pause(self) -> None:
        """Stop the clock of all its processes."""
        for pid in (self.pid, *_descendants(self.pid)):
            _signal(pid, signal.SIGSTOP)

    def processor_s(self) -> float:
        """Seconds of processor that all its processes took until now, in user code and in the kernel."""
        return sum(map(_processor_s, (self.pid, *_descendants(self.pid))))

    def resume(self) -> None:
        """Let all its processes go on."""
        for pid in (*_descendants(self.pid), self.pid):
            _signal(pid, signal.SIGCONT)


def only(server: Server, servers: Iterable[Server]) -> None:
    """Pause all servers but one."""
    for other in servers:
        if other != server:
            other.pause()
    server.resume()


@contextmanager
def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    url: str,
    answers: Callable[[httpx.Client], object],
) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        command: what starts it.
        environment: all of its variables; SCRATCH and TMPDIR are set to a folder of its own.
        url: where it will answer.
        answers: raises while the server does not answer as it should.

    Yields:
        The server, which answers by then.

    Raises:
        NotStarted: it did not; its last line says why.
    """
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as scratch:
        log = Path(scratch) / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                command,
                env={**environment, "SCRATCH": scratch, "TMPDIR": scratch},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            server = Server(url, process.pid)
            try:
                _await_answer(process, answers, log)
                yield server
            finally:
                server.resume()
                _stop(process)


def _await_answer(
    process: subprocess.Popen[bytes], answers: Callable[[httpx.Client], object], log: Path
) -> None:
    end = time.monotonic() + START_S
    with httpx.Client(timeout=30) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                answers(client)
                return
            except (httpx.HTTPError, KeyError, TypeError, ValueError):
                time.sleep(0.5)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise NotStarted(f"did not start: {lines[-1].strip() if lines else 'it printed nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, politely at first."""
    family = _descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    for pid in family:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found
