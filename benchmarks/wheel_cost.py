"""What a whole turn of the wheel costs, on the demo's data at 1, 10 and 100 times its rows.

    python benchmarks/wheel_cost.py                 # hours may pass at 100 times; see --scales
    python benchmarks/wheel_cost.py --scales 1 3 10

Stages: a project is made, a version trained, a server started, the later messages sent to it one a request
and answered, some corrected, the server stopped, and the wheel turned. A scaled file holds the demo's rows
and, for each further copy, every row with the beginning of its message and the end of another message of
the same intent, under a new customer: lengths and labels stay as they are, and two rows are near duplicates
only by chance. Time is taken by the clock and by the processor (of the process and all that it started),
peak memory is that of the process itself; the exponent is the slope of log cost over log rows.
"""

import argparse
import asyncio
import csv
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from feedback import request
from record import ROOT, Row, print_table, read_rows, write_record

from millwright.bench.generator import Connection

TEMPLATE = ROOT / "src" / "millwright" / "templates" / "customer-desk"
COLUMNS = ["ticket", "received_at", "channel", "customer", "message", "intent"]
CUTS = (0.3, 0.45, 0.6, 0.75)
CLIENTS = 32
POLL_S = 0.02
CORRECTED = 3  # every third message's writer says what was right
SHOWN = ("scale", "stage", "rows", "seconds", "processor_seconds", "peak_mib")


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds by the clock and the processor, and the most memory it held."""

    seconds: float
    processor_seconds: float
    peak_mib: float


def scaled(name: str, scale: int) -> list[dict[str, str]]:
    """The demo's rows of a file, `scale` times, each copy with other messages."""
    with (TEMPLATE / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_intent: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_intent.setdefault(row["intent"], []).append(row)
    found = list(rows)
    for copy in range(1, scale):
        for same in by_intent.values():
            step, cut = 1 + (copy - 1) % (len(same) - 1), CUTS[(copy - 1) // (len(same) - 1) % len(CUTS)]
            for place, row in enumerate(same):
                found.append(_varied(row, same[(place + step) % len(same)], cut, copy))
    return found


def _varied(row: dict[str, str], other: dict[str, str], cut: float, copy: int) -> dict[str, str]:
    first, second = row["message"].split(), other["message"].split()
    message = " ".join(first[: round(cut * len(first))] + second[round(cut * len(second)) :])
    own = {name: f"{row[name]}-{copy}" for name in ("ticket", "customer")}
    return row | own | {"message": message or row["message"]}


def verb(*arguments: str) -> Cost:
    """Run a verb of the command line as a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    return _ended(process, start, f"millwright {arguments[0]}")


def serve_and_hear(project: Path, messages: list[dict[str, str]]) -> Cost:
    """Serve, send every message, correct some, stop; the cost is the server's."""
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "millwright.surfaces.cli",
        "serve",
        "--port",
        "0",
        "--project",
        str(project),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://([\w.]+):(\d+)", line):
            break
    else:
        raise SystemExit("the server did not start")
    asyncio.run(_write_all(found.group(1), int(found.group(2)), messages))
    process.terminate()
    process.stdout.close()
    return _ended(process, start, "millwright serve")


async def _write_all(host: str, port: int, messages: list[dict[str, str]]) -> None:
    numbered = iter(enumerate(messages))
    await asyncio.gather(*(_write(Connection(host, port), numbered) for _ in range(CLIENTS)))


async def _write(connection: Connection, numbered: itertools.chain[tuple[int, dict[str, str]]]) -> None:
    for number, row in numbered:
        body = {"inputs": [row["message"]], "subject": row["customer"]}
        answer = await _post(connection, "/v1/predictions", body)
        if number % CORRECTED == 0:
            said = {"prediction": answer["predictions"][0]["id"], "label": row["intent"]}
            await _post(connection, "/v1/feedback", said)


async def _post(connection: Connection, path: str, body: object) -> dict[str, list[dict[str, str]]]:
    answer = await connection.post(request(path, body))
    if answer is None:
        raise SystemExit(f"POST {path} failed")
    return dict(json.loads(answer))


def _ended(process: subprocess.Popen[bytes] | subprocess.Popen[str], start: float, name: str) -> Cost:
    peak_mib, ended = 0.0, 0
    while not ended:  # the peak that `wait4` tells counts what this process held when it started that one
        peak_mib = max(peak_mib, _peak_mib(process.pid))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        time.sleep(0 if ended else POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, -15):
        raise SystemExit(f"{name} ended with {process.returncode}")
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, peak_mib)


def _peak_mib(process: int) -> float:
    _, _, after = Path(f"/proc/{process}/status").read_text().partition("VmHWM:")
    return int(after.split()[0]) / 1024 if after else 0.0  # one that has ended has no memory


def wheel(scale: int) -> list[Row]:
    """The whole wheel in a fresh folder; a row a stage, and one for all."""
    with tempfile.TemporaryDirectory() as folder:
        data, project = Path(folder) / "tickets.csv", Path(folder) / "project"
        rows, later = scaled("tickets.csv", scale), scaled("later.csv", scale)
        with data.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        named = ["--text", "message", "--label", "intent", "--group", "customer", "--subject", "customer"]
        costs = {
            "new": verb("new", str(project), "--data", str(data), *named),
            "train": verb("train", "--project", str(project)),
            "serve and hear": serve_and_hear(project, later),
            "turn": verb("turn", "--project", str(project)),
        }
    costs["all"] = Cost(
        sum(cost.seconds for cost in costs.values()),
        sum(cost.processor_seconds for cost in costs.values()),
        max(cost.peak_mib for cost in costs.values()),
    )
    return [
        {"scale": scale, "stage": stage, "rows": len(rows), "messages": len(later), **vars(cost)}
        for stage, cost in costs.items()
    ]


def exponents(rows: Sequence[Row]) -> list[Row]:
    """The slope of log cost over log rows for each stage, where there are two scales or more."""
    found: list[Row] = []
    for stage in dict.fromkeys(str(row["stage"]) for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        if len(own) < 2:
            continue
        size = np.log([float(str(row["rows"])) for row in own])
        slopes = {
            f"exponent_{name}": float(np.polyfit(size, np.log([float(str(row[name])) for row in own]), 1)[0])
            for name in ("seconds", "processor_seconds")
        }
        found.append({"stage": stage, **slopes})
    return found


def main() -> None:
    """Turn the wheel at each scale, print, write the record; other scales in the record stay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 10, 100])
    given = parser.parse_args()
    for scale in given.scales:
        fresh = wheel(scale)
        print_table(fresh, SHOWN)
        earlier = [row for row in read_rows("wheel_cost") if row.get("scale") not in (None, scale)]
        rows = sorted([*earlier, *fresh], key=lambda row: int(str(row["scale"])))
        write_record("wheel_cost", [*rows, *exponents(rows)])
    print_table(exponents(rows), ("stage", "exponent_seconds", "exponent_processor_seconds"))


if __name__ == "__main__":
    main()
