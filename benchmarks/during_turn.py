"""How long users wait while a turn trains: alone, beside a turn, and beside a turn that works gently.

    python benchmarks/during_turn.py

The built-in desk is served; messages arrive at random at a rate (open loop, latency counts from arrival).
Beside it runs nothing, `millwright turn`, or `millwright turn --gently` as `millwright run` starts it, each
over a copy of the desk with 800 labels by users, training the last layers (method top) so that it lasts. The
load begins a second after the turn and ends with it. The three take turns.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from load import Load, open_loop
from record import BENCH, Row, print_table, write_record

from millwright.data.load import read_table
from millwright.privacy.sealed import store_opinions, store_predictions, take_write_lock
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.records import Opinion, Prediction
from millwright.scaffold import new_project
from millwright.serve.process import serving
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.steps import train
from millwright.store.database import now

LABELS = 800
BESIDE = {"nothing": None, "a turn": (), "a gentle turn": ("--gently",)}
LOAD_S = 8.0
COLUMNS = (
    "rate",
    "beside",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "p99_range",
    "times_alone",
    "turn_seconds",
    "errors",
)


def main() -> None:
    """Serve, load, and write the record."""
    parser = argparse.ArgumentParser(description="Latency while a turn trains.")
    parser.add_argument("--rates", type=float, nargs="+", default=[20.0, 100.0], help="requests a second")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    desk = waiting_desk()
    bodies = write_bodies(desk)
    rows: list[Row] = []
    for rate in given.rates:
        found: dict[str, list[tuple[Load, float]]] = {name: [] for name in BESIDE}
        for _ in range(given.rounds):
            for name, flags in BESIDE.items():
                found[name].append(measured(desk, bodies, rate, flags))
        alone = statistics.median(load.p99_ms for load, _ in found["nothing"])
        rows += [row(rate, name, made, alone) for name, made in found.items()]
    print_table(rows, COLUMNS)
    print(write_record("during_turn", rows))


def waiting_desk() -> Project:
    """The built-in desk with a champion, and labels by users that no turn took."""
    folder = BENCH / "desk-waiting"
    shutil.rmtree(folder, ignore_errors=True)
    project, _ = new_project(folder, template="customer-desk")
    settings = change_settings(project.settings, "train", method="top", epochs=6, patience=6)
    (folder / FILENAME).write_text(dump_settings(settings))
    train(project)
    vault, rows = open_vault(project), read_table(folder / "later.csv").frame.to_dicts()[:LABELS]
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        given = [
            Prediction(row["ticket"], "v1", row["message"], row["intent"], 0.5, row["customer"], False, now())
            for row in rows
        ]
        store_predictions(connection, vault, given)
        said = [Opinion(f"o{one.id}", one.id, one.label, None, None, now()) for one in given]
        store_opinions(connection, vault, said)
    project.database.dispose()
    return open_project(folder)


def write_bodies(project: Project) -> Path:
    """A file with a request a line."""
    path = BENCH / "desk-bodies.jsonl"
    texts = read_table(project.folder / "later.csv").frame["message"].to_list()
    path.write_text("".join(json.dumps({"inputs": [text]}) + "\n" for text in texts))
    return path


def measured(desk: Project, bodies: Path, rate: float, flags: tuple[str, ...] | None) -> tuple[Load, float]:
    """Latency at a rate, and how long the turn beside it took."""
    folder = BENCH / "desk-turning"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(desk.folder, folder)
    with serving(folder) as address:
        url = f"{address}/v1/predictions"
        open_loop(url, bodies, rate, 1.0)
        if flags is None:
            return open_loop(url, bodies, rate, LOAD_S), float("nan")
        command = [
            sys.executable,
            "-m",
            "millwright.surfaces.cli",
            "turn",
            "--json",
            "--project",
            str(folder),
        ]
        start = time.perf_counter()
        with subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL) as turning:
            time.sleep(1.0)
            load = open_loop(url, bodies, rate, LOAD_S)
            assert turning.poll() is None, "the turn ended before the load; let it train for longer"
            assert turning.wait() == 0
        return load, time.perf_counter() - start


def row(rate: float, name: str, made: list[tuple[Load, float]], alone_ms: float) -> Row:
    """A line of the record: medians over the rounds."""
    loads = [load for load, _ in made]
    p99 = sorted(load.p99_ms for load in loads)
    return {
        "rate": rate,
        "beside": name,
        "p50_ms": round(statistics.median(load.p50_ms for load in loads), 2),
        "p95_ms": round(statistics.median(load.p95_ms for load in loads), 2),
        "p99_ms": round(statistics.median(p99), 2),
        "p99_range": f"{p99[0]:.1f} to {p99[-1]:.1f}",
        "times_alone": round(statistics.median(p99) / alone_ms, 2),
        "turn_seconds": None if name == "nothing" else round(statistics.median(s for _, s in made), 1),
        "errors": sum(load.errors for load in loads),
    }


if __name__ == "__main__":
    main()
