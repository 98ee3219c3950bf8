"""Puts a server under load from another process: wrk where it is installed, else our own generator.

The closed loop keeps a number of connections busy; the open loop lets requests arrive at a rate, which
wrk cannot do, so that is always our generator.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TIMEOUT_S = 30


@dataclass(frozen=True)
class Load:
    """What a server did under load. Latencies are NaN where nothing was answered."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


def generator_name() -> str:
    """What sends the requests of the closed loop here."""
    return "wrk" if shutil.which("wrk") else "millwright.bench.generator"


def closed_loop(url: str, bodies: Path, connections: int, seconds: float) -> Load:
    """Keep `connections` busy for some seconds.

    Args:
        url: where to POST.
        bodies: a file with one JSON body a line.
        connections: each sends its next request when the last was answered.
        seconds: how long.

    Returns:
        What came of it.
    """
    if generator_name() != "wrk":
        return _own(url, bodies, ["--connections", str(connections), "--seconds", str(seconds)])
    flags = ["-t1", f"-c{connections}", f"-d{round(seconds)}s", f"--timeout={TIMEOUT_S}s"]
    done = subprocess.run(
        ["wrk", *flags, "-s", str(HERE / "requests.lua"), url],
        env={**os.environ, "BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    requests, microseconds, p50, p95, p99, errors = map(float, line.split()[1:])
    return Load(1e6 * (requests - errors) / microseconds, p50, p95, p99, int(errors))


def open_loop(url: str, bodies: Path, rate: float, seconds: float) -> Load:
    """Let requests arrive at random at `rate` a second; latency counts from their arrival."""
    flags = ["--connections", "256", "--seconds", str(seconds), "--rate", str(rate)]
    return _own(url, bodies, flags)


def _own(url: str, bodies: Path, flags: list[str]) -> Load:
    command = [sys.executable, "-m", "millwright.bench.generator", url, str(bodies), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return Load(**{"p50_ms": float("nan"), "p95_ms": float("nan"), "p99_ms": float("nan")} | found)
