"""Sends POST requests and prints what came of them as one line of JSON. Standard library only.

    python -m millwright.bench.generator URL BODIES --connections 64 --seconds 10            # closed loop
    python -m millwright.bench.generator URL BODIES --connections 64 --seconds 10 --rate 200 # open loop

In the closed loop each connection sends its next request when the last was answered. In the open loop
requests arrive at random (exponential gaps, fixed seed) at the given rate whether or not earlier ones
were answered, and the latency counts from the moment of arrival, so a stall is charged to all whom it
kept waiting.
"""

import argparse
import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


class Connection:
    """One kept connection; opened again after an error."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, request: bytes) -> bytes | None:
        """Send a request and read its answer's body; None for an error or a status outside 2xx."""
        try:
            if self.writer is None or self.reader is None:
                self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
            self.writer.write(request)
            return await _read_answer(self.reader)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            if self.writer is not None:
                self.writer.close()
            self.writer = None
            return None


async def _read_answer(reader: asyncio.StreamReader) -> bytes | None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" in head:
        body = b""
        while (size := int(await reader.readline(), 16)) > 0:
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    return body if 200 <= status < 300 else None


async def closed_loop(
    connections: list[Connection], requests: Iterator[bytes], seconds: float
) -> tuple[list[float], int]:
    """Latencies in milliseconds of the answered requests, and the number of errors."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def send(connection: Connection) -> int:
        """Post on one connection until the end; the number of refusals."""
        errors = 0
        while (start := time.perf_counter()) < end:
            if await connection.post(next(requests)) is not None:
                latencies.append(1000 * (time.perf_counter() - start))
            else:
                errors += 1
        return errors

    return latencies, sum(await asyncio.gather(*map(send, connections)))


async def open_loop(
    connections: list[Connection], requests: Iterator[bytes], seconds: float, rate: float
) -> tuple[list[float], int]:
    """The same with arrivals at `rate` a second."""
    latencies: list[float] = []
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()  # one that rests for long the server closes
    for connection in connections:
        free.put_nowait(connection)
    chance = random.Random(0)
    errors = 0

    async def send(arrival: float, request: bytes) -> None:
        """Post at an arrival on the next free connection, and note how long it took."""
        nonlocal errors
        connection = await free.get()
        if await connection.post(request) is not None:
            latencies.append(1000 * (time.perf_counter() - arrival))
        else:
            errors += 1
        free.put_nowait(connection)

    start = time.perf_counter()
    arrival = start
    async with asyncio.TaskGroup() as sending:
        while (arrival := arrival + chance.expovariate(rate)) < start + seconds:
            if (wait := arrival - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            sending.create_task(send(arrival, next(requests)))
    return latencies, errors


def requests_of(url: str, bodies: Path) -> tuple[str, int, Iterator[bytes]]:
    """Host, port and an endless run of requests, one a line of the file; ValueError for another address."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise ValueError(f"{url} is no address to ask; pass http://HOST:PORT/PATH")
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    lines = bodies.read_bytes().splitlines()
    made = [f"{head}Content-Length: {len(line)}\r\n\r\n".encode() + line for line in lines]
    return parts.hostname, parts.port, itertools.cycle(made)


def percentile(ordered: list[float], per_cent: int) -> float:
    """The least value that so many per cent of the values do not exceed; `ordered` grows and has one."""
    return ordered[-(-len(ordered) * per_cent // 100) - 1]


def main() -> None:
    """Send, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="a file with one JSON body a line")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, help="requests a second; without it, a closed loop")
    given = parser.parse_args()
    try:
        host, port, requests = requests_of(given.url, given.bodies)
    except ValueError as error:
        parser.error(str(error))
    connections = [Connection(host, port) for _ in range(given.connections)]
    start = time.perf_counter()
    if given.rate:
        latencies, errors = asyncio.run(open_loop(connections, requests, given.seconds, given.rate))
    else:
        latencies, errors = asyncio.run(closed_loop(connections, requests, given.seconds))
    seconds = time.perf_counter() - start
    latencies.sort()
    share = {f"p{per_cent}_ms": percentile(latencies, per_cent) for per_cent in (50, 95, 99) if latencies}
    print(json.dumps({"requests_per_s": len(latencies) / seconds, "errors": errors, **share}))


if __name__ == "__main__":
    main()
