"""What the service costs besides its model, against bare uvicorn and bare Granian.

    python benchmarks/http_overhead.py [--only load|profile]

Millwright's service with a model that does nothing (noop_app.py), and applications that only parse and
answer JSON (echo_app.py: bare ASGI, and FastAPI for comparison), each hosted by uvicorn (httptools,
uvloop) and by Granian (uvloop), one worker; the load comes from wrk beside them on the same cores. All take
turns. Millwright validates, looks for personal data, batches, counts, and writes every prediction to its
database, sealed; the bare servers do none of it. What looking for personal data costs is told apart, and
http_stages.py says where the rest of the processor's time goes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from load import Load, closed_loop, generator_name
from record import BENCH, Row, print_table, read_rows, write_record
from servers import Server, free_port, only, started
from trained import messages, trained_project

HERE = Path(__file__).parent
HOSTS = {
    "uvicorn": [
        "uvicorn",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
    ],
    "granian": ["granian", "--interface", "asgi", "--loop", "uvloop", "--workers", "1", "--no-access-log"],
}
APPS = {
    "bare": "echo_app:app",
    "FastAPI": "echo_app:framed",
    "millwright": "noop_app:app",
    "millwright, not masking": "noop_app:app",
}
ROUTE = "/v1/predictions"
GRANIAN, GRANIAN_VERSION = BENCH / "granian", "2.8.7"
WARM_UP_S = 2
COLUMNS = (
    "app",
    "host",
    "concurrency",
    "per_s",
    "processor_us",
    "p50_ms",
    "p99_ms",
    "errors",
    "share_of_same_host",
    "share_low",
    "share_high",
    "share_of_best_bare",
)

Key = tuple[str, str]
Measured = tuple[Load, float]  # and the microseconds of processor that the server took for a request


def install_granian() -> None:
    """Put Granian into .bench, where this command alone finds it."""
    if not GRANIAN.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(GRANIAN), f"granian=={GRANIAN_VERSION}"], check=True)


@contextmanager
def hosted(app: str, host: str, project: Path) -> Iterator[Server]:
    """One application in one server, as a process."""
    port = free_port()
    flags = ["--app-dir", str(HERE)] if host == "uvicorn" else ["--working-dir", str(HERE)]
    command = [
        sys.executable,
        "-m",
        *HOSTS[host],
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *flags,
        APPS[app],
    ]
    url = f"http://127.0.0.1:{port}{ROUTE}"

    def answers(client: httpx.Client) -> None:
        answer = client.post(url, json={"inputs": ["Where is my card?"]}).raise_for_status().json()
        answer["predictions"][0]["label"]

    found = os.pathsep.join([str(GRANIAN), os.environ.get("PYTHONPATH", "")])
    mask = "no" if app.endswith("not masking") else "yes"
    own = {"PROJECT": str(project), "PYTHONPATH": found, "MASK": mask}
    with started(command, {**os.environ, **own}, url, answers) as server:
        yield server


def measure(
    servers: dict[Key, Server], file: Path, concurrency: int, seconds: float, rounds: int
) -> dict[Key, list[Measured]]:
    """All servers in turns, each round beginning with another."""
    keys = list(servers)
    found: dict[Key, list[Measured]] = {key: [] for key in keys}
    for number in range(rounds):
        first = number % len(keys)
        for key in keys[first:] + keys[:first]:
            only(servers[key], servers.values())
            if number == 0:
                closed_loop(servers[key].url, file, concurrency, WARM_UP_S)
            before = servers[key].processor_s()
            load = closed_loop(servers[key].url, file, concurrency, seconds)
            took = servers[key].processor_s() - before
            found[key].append((load, 1e6 * took / (load.requests_per_s * round(seconds))))
    return found


def rows_of(found: dict[Key, list[Measured]], concurrency: int) -> list[Row]:
    """One row a server; shares are of the bare application in the same round."""
    rates = {key: [load.requests_per_s for load, _ in measured] for key, measured in found.items()}
    best_bare = max((key for key in rates if key[0] == "bare"), key=lambda key: statistics.median(rates[key]))
    rows = []
    for (app, host), measured in found.items():
        loads = [load for load, _ in measured]
        own, same, best = rates[app, host], rates["bare", host], rates[best_bare]
        shares = [a / b for a, b in zip(own, same, strict=True)]
        rows.append(
            {
                "app": app,
                "host": host,
                "concurrency": concurrency,
                "per_s": statistics.median(own),
                "processor_us": statistics.median(took for _, took in measured),
                "p50_ms": statistics.median(load.p50_ms for load in loads),
                "p99_ms": statistics.median(load.p99_ms for load in loads),
                "errors": sum(load.errors for load in loads),
                "share_of_same_host": statistics.median(shares),
                "share_low": min(shares),
                "share_high": max(shares),
                "share_of_best_bare": statistics.median(a / b for a, b in zip(own, best, strict=True)),
                "rounds": len(loads),
                "load_generator": generator_name(),
            }
        )
    return rows


def load_rows(project: Path, concurrencies: Sequence[int], seconds: float, rounds: int) -> list[Row]:
    """All applications under load."""
    install_granian()
    file = BENCH / "bodies-http.jsonl"
    file.write_text("".join(json.dumps({"inputs": [text]}) + "\n" for text in messages()))
    rows: list[Row] = []
    with ExitStack() as stack:
        servers = {
            (app, host): stack.enter_context(hosted(app, host, project)) for app in APPS for host in HOSTS
        }
        for concurrency in concurrencies:
            found = measure(servers, file, concurrency, seconds, rounds)
            rows += rows_of(found, concurrency)
            print_table(rows[-len(servers) :], COLUMNS)
    return rows


def profile_rows(project: Path) -> list[Row]:
    """Processor time by stage, measured by a process of its own."""
    command = [sys.executable, str(HERE / "http_stages.py")]
    environment = {**os.environ, "PROJECT": str(project)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Row] = json.loads(done.stdout)
    print_table(rows, ("stage", "microseconds"))
    return rows


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=4, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("load", "profile"), help="keep the other part of the record")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exception, so that servers are ended
    project = trained_project("head")
    kept = read_rows("http_overhead") if given.only else []
    loads = [row for row in kept if "stage" not in row]
    stages = [row for row in kept if "stage" in row]
    if given.only != "profile":
        loads = load_rows(project, given.concurrency, given.seconds, given.rounds)
    if given.only != "load":
        stages = profile_rows(project)
    write_record("http_overhead", [*loads, *stages], {"granian": GRANIAN_VERSION})


if __name__ == "__main__":
    main()
