"""Opinions a second over HTTP, each acknowledged only once it is on disk; then the server is killed.

    python benchmarks/feedback.py [--seconds 10]

The built-in desk is served, predictions are made, and clients send labels, ratings and comments in a closed
loop. In the last round the server is killed with SIGKILL while they write; then every acknowledged opinion is
looked for in the database. As a measure of the disk, a file is written and synced by itself, one write after
another: what is faster than that shares a sync with others.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from record import Row, print_table, write_record
from sqlalchemy import select

import millwright
from millwright.bench.generator import Connection
from millwright.project import open_project
from millwright.store.tables import opinions

NAME = "feedback"
COLUMNS = ("what", "connections", "per_s", "p50_ms", "p99_ms", "acknowledged", "refused", "lost")
CONNECTIONS = (1, 16, 64)
PREDICTIONS, AT_ONCE = 1_024, 64
SYNCED_BYTES, SYNC_S = 4_096, 2.0
SAYS: tuple[dict[str, object], ...] = (
    {"label": "card_swallowed"},
    {"rating": 5},
    {"rating": 1, "comment": "that was not what I asked, it is about my card in the machine"},
    {"csat": 4, "outcome": "resolved"},
)


@dataclass
class Heard:
    """What was acknowledged: latencies in milliseconds, ids; how many messages were not."""

    latencies_ms: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    refused: int = 0


def main() -> None:
    """Serve, send, kill, look, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        project, _ = millwright.new(Path(folder) / "desk", template="customer-desk")
        millwright.train(project)
        rows = [synced(Path(folder) / "synced", SYNC_S)]
        process, host, port = served(project.folder)
        try:
            named = asyncio.run(predicted(host, port))
            for connections in CONNECTIONS:
                heard = asyncio.run(send(host, port, named, connections, seconds))
                rows.append(row("opinions", connections, heard, seconds, project.folder))
            heard = asyncio.run(send(host, port, named, CONNECTIONS[-1], seconds, killed=process))
            rows.append(row("opinions until SIGKILL", CONNECTIONS[-1], heard, seconds / 2, project.folder))
        finally:
            process.kill()
            process.wait()
    print_table(rows, COLUMNS)
    write_record(NAME, rows)


def synced(path: Path, seconds: float) -> Row:
    """Writes a second that are synced one by one."""
    content, took = bytes(SYNCED_BYTES), list[float]()
    end = time.perf_counter() + seconds
    with path.open("wb") as file:
        while (start := time.perf_counter()) < end:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            took.append(1000 * (time.perf_counter() - start))
    return {"what": "the disk, a sync a write", "per_s": len(took) / seconds, **quantiles(took)}


def served(folder: Path) -> tuple[subprocess.Popen[str], str, int]:
    """The server as a process of its own, its host and port."""
    command = [sys.executable, "-m", "millwright.surfaces.cli", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--project", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://([\w.]+):(\d+)", line):
            return process, found.group(1), int(found.group(2))
    raise SystemExit("the server did not start")


async def predicted(host: str, port: int) -> list[str]:
    """Ids of predictions to speak about."""
    connection, named = Connection(host, port), list[str]()
    for start in range(0, PREDICTIONS, AT_ONCE):
        texts = [f"my card is stuck in machine {start + number}" for number in range(AT_ONCE)]
        answer = await connection.post(request("/v1/predictions", {"inputs": texts}))
        if answer is None:
            raise SystemExit("predictions were refused")
        named += [one["id"] for one in json.loads(answer)["predictions"]]
    return named


async def send(
    host: str, port: int, named: list[str], connections: int, seconds: float,
    killed: "subprocess.Popen[str] | None" = None,
) -> Heard:  # fmt: skip
    """Send opinions in a closed loop; a process named is killed half-way."""
    heard, begun = Heard(), time.perf_counter()
    messages = bodies(named)

    async def client() -> None:
        """One connection."""
        connection = Connection(host, port)
        while (start := time.perf_counter()) < begun + seconds:
            answer = await connection.post(next(messages))
            if answer is None:
                heard.refused += 1
                if killed is not None and killed.poll() is not None:
                    return
                continue
            heard.latencies_ms.append(1000 * (time.perf_counter() - start))
            heard.ids.append(json.loads(answer)["id"])

    async def killer() -> None:
        """Ends the server without a warning."""
        if killed is not None:
            await asyncio.sleep(seconds / 2)
            killed.send_signal(signal.SIGKILL)
            killed.wait()

    await asyncio.gather(killer(), *(client() for _ in range(connections)))
    return heard


def bodies(named: list[str]) -> Iterator[bytes]:
    """Requests without end."""
    for prediction, says in zip(itertools.cycle(named), itertools.cycle(SAYS), strict=False):
        yield request("/v1/feedback", {"prediction": prediction, **says})


def request(path: str, body: object) -> bytes:
    """A POST of JSON."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return f"{head}\r\n\r\n".encode() + content


def row(what: str, connections: int, heard: Heard, seconds: float, folder: Path) -> Row:
    """A round, with how many of its acknowledged opinions are not in the database."""
    project = open_project(folder)
    with project.database.connect() as connection:
        kept = set(connection.scalars(select(opinions.c.id)))
    project.database.dispose()
    return {
        "what": what, "connections": connections, "per_s": len(heard.ids) / seconds,
        **quantiles(heard.latencies_ms), "acknowledged": len(heard.ids), "refused": heard.refused,
        "lost": len(set(heard.ids) - kept),
    }  # fmt: skip


def quantiles(took_ms: list[float]) -> Row:
    """The median and the 99th percentile."""
    if not took_ms:
        return {"p50_ms": None, "p99_ms": None}
    half, most = np.quantile(took_ms, [0.5, 0.99])
    return {"p50_ms": float(half), "p99_ms": float(most)}


if __name__ == "__main__":
    main()
