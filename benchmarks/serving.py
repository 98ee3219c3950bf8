"""Serving, against other servers with the same network: requests a second and latency.

    python benchmarks/serving.py                      # all peers; installs them into .bench on first use
    python benchmarks/serving.py --peers litserve ray --concurrency 64 --repeats 3
    python benchmarks/serving.py --tune               # try the peers' settings first

A head is tuned with Millwright on Banking77 and exported; every server answers its test sentences, one a
request. Before anything is timed, 500 answers are compared with the exported network in float32. Then
Millwright and a peer take turns, pair by pair, so that both see the same machine; who waits is paused,
since some servers poll while they are idle. Server and load generator share the machine's cores.
"""

import argparse
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from contestants import (
    ALL_PEERS,
    MILLWRIGHT,
    Contestant,
    ask,
    changed,
    install,
    running,
)
from load import Load, closed_loop, generator_name, open_loop
from record import BENCH, Row, print_table, read_rows, write_record
from servers import NotStarted, Server, only
from trained import export, messages, reference_labels, runtime, trained_project

CHECKED = 500
LEAST_AGREEMENT = 0.995
WARM_UP_S = 2
SHOWN = (
    "peer",
    "concurrency",
    "ours_per_s",
    "peer_per_s",
    "ratio",
    "ratio_low",
    "ratio_high",
    "ours_p50_ms",
    "peer_p50_ms",
    "ours_p99_ms",
    "peer_p99_ms",
    "ours_p99_ms_at_peers_rate",
    "errors",
)


@dataclass(frozen=True)
class Plan:
    """How long and how often is measured."""

    concurrency: tuple[int, ...]
    seconds: float
    repeats: int


@dataclass(frozen=True)
class Course:
    """What all contestants share: the trained network, the texts and what they should be answered."""

    project: Path
    model: Path
    texts: list[str]
    truth: list[str]
    runtime: str


def prepare_course(method: str) -> Course:
    """Train and export, or find what was trained before."""
    project = trained_project(method)
    model, texts = export(project), messages()
    return Course(project, model, texts, reference_labels(model, texts[:CHECKED]), runtime(project))


def bodies(contestant: Contestant, course: Course) -> Path:
    """A file with one request body a line for every test sentence."""
    path = BENCH / f"bodies-{contestant.name}.jsonl"
    path.write_text("".join(json.dumps(contestant.body(text)) + "\n" for text in course.texts))
    return path


def agreement(url: str, contestant: Contestant, course: Course) -> float:
    """Share of the checked texts whose label is that of the exported network in float32.

    Raises:
        NotStarted: a request failed.
    """
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(8) as pool:
        checked = course.texts[: len(course.truth)]
        try:
            answers = list(pool.map(lambda text: ask(client, url, contestant, text), checked))
        except httpx.HTTPError as error:
            raise NotStarted(f"a request failed: {error}".splitlines()[0]) from None
    return statistics.fmean(a == b for a, b in zip(answers, course.truth, strict=True))


def compare(peer: Contestant, course: Course, plan: Plan) -> list[Row]:
    """Both servers up, agreement checked, then pairs at each concurrency; one row a concurrency."""
    both = (MILLWRIGHT, peer)
    with ExitStack() as stack:
        servers = {one.name: stack.enter_context(running(one, course.project, course.model)) for one in both}
        files = {one.name: bodies(one, course) for one in both}
        agreed = {one.name: agreement(servers[one.name].url, one, course) for one in both}
        for name, share in agreed.items():
            print(f"{name} agrees with float32 on {share:.1%} of {len(course.truth)} texts", flush=True)
            if share < LEAST_AGREEMENT:
                raise NotStarted(f"{name} gives other answers than the network, so nothing was timed")
        rows = []
        load_before = round(os.getloadavg()[0], 1)
        for concurrency in plan.concurrency:
            pairs = _pairs(peer.name, servers, files, concurrency, plan)
            rate = statistics.median(theirs.requests_per_s for _, theirs in pairs)
            only(servers[MILLWRIGHT.name], servers.values())
            equal = open_loop(servers[MILLWRIGHT.name].url, files[MILLWRIGHT.name], rate, plan.seconds)
            about = {
                "ours_runtime": course.runtime,
                "seconds": plan.seconds,
                "load_before": load_before,
            }
            rows.append(_row(peer, concurrency, pairs, equal, agreed) | about)
        print_table(rows, SHOWN)
        return rows


def tune(peer: Contestant, course: Course, plan: Plan) -> list[tuple[Contestant, Plan]]:
    """What `settled` says, with the fastest of the settings that a peer has to try."""
    return [(fastest(one, course, part), part) for one, part in settled(peer, plan)]


def settled(peer: Contestant, plan: Plan) -> list[tuple[Contestant, Plan]]:
    """A peer with its settings for many connections and for one alone, each with its part of the plan."""
    alone = tuple(number for number in plan.concurrency if number == 1)
    many = tuple(number for number in plan.concurrency if number > 1)
    parts = ((changed(peer, peer.alone), alone), (peer, many))
    return [(one, replace(plan, concurrency=numbers)) for one, numbers in parts if numbers]


def fastest(peer: Contestant, course: Course, plan: Plan) -> Contestant:
    """Time a peer's settings in turns at the plan's highest concurrency; the peer with the fastest."""
    trials = [changed(peer, settings) for settings in peer.trials]
    file = bodies(peer, course)
    found: dict[int, list[Load]] = {}
    with ExitStack() as stack:
        servers: dict[int, Server] = {}
        for place, trial in enumerate(trials):
            try:
                server = stack.enter_context(running(trial, course.project, course.model))
                agreed = agreement(server.url, trial, course)
            except NotStarted as reason:
                print(f"{peer.name} with {trial.described()}: {reason}", flush=True)
                continue
            if agreed >= LEAST_AGREEMENT:
                servers[place], found[place] = server, []
            server.pause()
        for _ in range(1 + plan.repeats):  # the first round warms up
            for place, server in servers.items():
                only(server, servers.values())
                found[place].append(closed_loop(server.url, file, max(plan.concurrency), plan.seconds))
    best, most = peer, 0.0
    for place, loads in found.items():
        per_s = statistics.median(load.requests_per_s for load in loads[1:])
        p50_ms = statistics.median(load.p50_ms for load in loads[1:])
        print(f"{peer.name} with {trials[place].described()}: {per_s:.0f}/s, p50 {p50_ms:.0f} ms", flush=True)
        if per_s > most:
            best, most = trials[place], per_s
    return best


def _pairs(
    peer: str, servers: dict[str, Server], files: dict[str, Path], concurrency: int, plan: Plan
) -> list[tuple[Load, Load]]:
    """Ours and the peer's figures, pair by pair; who goes first alternates, the other is paused."""
    pairs = []
    for number in range(-1, plan.repeats):  # the first pair warms up
        order = (MILLWRIGHT.name, peer) if number % 2 == 0 else (peer, MILLWRIGHT.name)
        found = {}
        for name in order:
            only(servers[name], servers.values())
            seconds = WARM_UP_S if number < 0 else plan.seconds
            found[name] = closed_loop(servers[name].url, files[name], concurrency, seconds)
        if number >= 0:
            pairs.append((found[MILLWRIGHT.name], found[peer]))
    return pairs


def _row(
    peer: Contestant,
    concurrency: int,
    pairs: Sequence[tuple[Load, Load]],
    equal: Load,
    agreed: dict[str, float],
) -> Row:
    ratios = sorted(ours.requests_per_s / theirs.requests_per_s for ours, theirs in pairs)
    row: Row = {"peer": peer.key, "title": peer.title, "concurrency": concurrency, "pairs": len(pairs)}
    for side, name in enumerate(("ours", "peer")):
        loads = [pair[side] for pair in pairs]
        row[f"{name}_per_s"] = _median(load.requests_per_s for load in loads)
        for share in ("p50", "p95", "p99"):
            row[f"{name}_{share}_ms"] = _median(getattr(load, f"{share}_ms") for load in loads)
    return row | {
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "ours_p99_ms_at_peers_rate": equal.p99_ms if math.isfinite(equal.p99_ms) else None,
        "errors": sum(load.errors for pair in pairs for load in pair) + equal.errors,
        "ours_agreement": agreed[MILLWRIGHT.name],
        "peer_agreement": agreed[peer.name],
        "peer_settings": peer.described(),
        "load_generator": generator_name(),
    }


def _median(figures: object) -> float:
    return round(statistics.median(figures), 3)  # type: ignore[call-overload]


def main() -> None:
    """Measure what was asked for; rows of other peers that stand in the record stay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [peer.key for peer in ALL_PEERS]
    parser.add_argument("--peers", nargs="*", choices=names, default=names)
    parser.add_argument("--method", default="head", help="how the network is tuned: head or top")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement")
    parser.add_argument("--repeats", type=int, default=5, help="pairs at each concurrency")
    parser.add_argument(
        "--tune", action="store_true", help="first try each peer's settings, and take the fastest"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exception, so that servers are ended
    plan = Plan(tuple(given.concurrency), given.seconds, given.repeats)
    course = prepare_course(given.method)
    for peer in [peer for peer in ALL_PEERS if peer.key in given.peers]:
        start = time.perf_counter()
        found: dict[str, str] = {}
        try:
            found = install(peer)
            parts = tune(peer, course, plan) if given.tune else settled(peer, plan)
            rows = [row for one, part in parts for row in compare(one, course, part)]
        except NotStarted as reason:
            rows = [{"peer": peer.key, "title": peer.title, "missing": str(reason)}]
            print(f"{peer.title}: {reason}", flush=True)
        at = {peer.package: found[peer.package]} if peer.package in found else {}
        write_record("serving", _merged(read_rows("serving"), rows), at)
        print(f"{peer.title} took {time.perf_counter() - start:.0f} s", flush=True)


def _merged(earlier: list[Row], rows: list[Row]) -> list[Row]:
    """Rows of the record with new ones in their places, in the order of the peers."""
    peer = rows[0]["peer"]
    fresh = {row.get("concurrency") for row in rows}
    kept = [
        row
        for row in earlier
        if row["peer"] != peer or ("missing" not in row and row.get("concurrency") not in fresh)
    ]
    place = {one.key: number for number, one in enumerate(ALL_PEERS)}
    return sorted([*kept, *rows], key=lambda row: (place[str(row["peer"])], row.get("concurrency", 0)))


if __name__ == "__main__":
    main()
