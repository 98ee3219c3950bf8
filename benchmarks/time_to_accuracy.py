"""Time from a CSV to a saved, evaluated classifier, against the peers, on Banking77's own split.

    python benchmarks/time_to_accuracy.py                    everything (hours on two cores)
    python benchmarks/time_to_accuracy.py --only head top    some contestants; the rest of the record stays
    python benchmarks/time_to_accuracy.py --rounds 5         five times in turns

Contestants take turns. How many times faster the head is, is the median over the rounds of a contestant's
seconds until its own best accuracy over the head's in the same round; nothing is compared across runs.
Rows of other processors stay in the record.

Each contestant reads train.csv and test.csv and leaves a model on disk; its seconds count from the start of
its process, imports included, until the model is saved and measured once. For Millwright these are two
processes, `millwright new` and `millwright train` (prepare, train, evaluate, register), until the version's
manifest is on disk, with `serve.runtime` set to "torch", since measuring how to serve is no part of training.
Accuracy is on all rows of the test file, which no contestant trains on or chooses by.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from record import DATA, in_turns, print_table, processor, read_rows, write_record

HERE = Path(__file__).parent
TRAIN, TEST = DATA / "banking77" / "train.csv", DATA / "banking77" / "test.csv"
GOALS = (0.93, 0.94)
COLUMNS = (
    "contestant",
    "title",
    "seconds",
    "accuracy",
    "times_faster",
    "times_low",
    "times_high",
    "reached_93_s",
    "reached_94_s",
    "load",
)

Curve = list[tuple[float, float]]  # accuracy by seconds


@dataclass(frozen=True)
class Contestant:
    """Somebody who trains: `run` returns accuracy by seconds, the last one of the finished model."""

    name: str
    title: str
    run: Callable[[], Curve]


def millwright(method: str) -> Curve:
    """`millwright new` and `millwright train`."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        named = ["--text", "text", "--label", "category"]
        start = time.time()
        _millwright("new", str(project), "--data", str(TRAIN), "--test-data", str(TEST), *named)
        settings = project / "millwright.toml"
        settings.write_text(settings.read_text().replace('runtime = "auto"', 'runtime = "torch"'))
        _millwright("train", "--project", str(project), "--method", method)
        (manifest,) = project.glob(".millwright/versions/v1/manifest.json")
        seconds = manifest.stat().st_mtime - start
        measured = _millwright("evaluate", "--project", str(project), "--data", str(TEST))
    return [(seconds, json.loads(measured)["accuracy"]["value"])]


def trainer(*settings: str) -> Curve:
    """Hugging Face's Trainer over all layers; its curve has a point an epoch."""
    return _script("trainer.py", *settings)


def scikit_learn() -> Curve:
    """LogisticRegression on embeddings of sentence-transformers."""
    return _script("scikit_learn.py")


CONTESTANTS = (
    Contestant("head", "Millwright, method head", lambda: millwright("head")),
    Contestant("top", "Millwright, method top", lambda: millwright("top")),
    Contestant("scikit-learn", "sentence-transformers + LogisticRegression", scikit_learn),
    Contestant(
        "trainer-default",
        "Hugging Face Trainer, its defaults",
        lambda: trainer("--epochs", "3", "--rate", "5e-5"),
    ),
    *(
        Contestant(
            f"trainer-{rate}",
            f"Hugging Face Trainer, bfloat16, batches by length, rate {rate}",
            lambda rate=rate: trainer("--epochs", "6", "--rate", rate, "--tuned"),
        )
        for rate in ("1e-4", "3e-4", "5e-4")
    ),
)


def _script(name: str, *arguments: str) -> Curve:
    """Run benchmarks/trainers/NAME on the two files; each line it prints is [seconds, accuracy] in JSON."""
    started = {**os.environ, "MILLWRIGHT_STARTED": str(time.time())}
    command = [sys.executable, str(HERE / "trainers" / name), str(TRAIN), str(TEST), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=started)
    points = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return [(float(seconds), float(accuracy)) for seconds, accuracy in points]


def _millwright(*arguments: str) -> str:
    command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def summary(contestant: Contestant, found: list[Curve], heads: list[Curve]) -> dict[str, object]:
    """The median run of a contestant, when it first reached each goal, and how far the head was ahead."""
    ratios = [_seconds_to_best(own) / _seconds_to_best(head) for own, head in zip(found, heads, strict=False)]
    times = {} if found is heads else in_turns(ratios)
    found = sorted(found, key=lambda curve: curve[-1][0])
    curve = found[len(found) // 2]
    reached = {
        f"reached_{goal:.0%}_s".replace("%", ""): next((s for s, accuracy in curve if accuracy >= goal), None)
        for goal in GOALS
    }
    return {
        "contestant": contestant.name,
        "title": contestant.title,
        "processor": processor(),
        "seconds": round(curve[-1][0], 1),
        "seconds_range": [round(one[-1][0], 1) for one in (found[0], found[-1])],
        "runs": len(found),
        **times,
        "accuracy": round(curve[-1][1], 4),
        **{key: None if value is None else round(value, 1) for key, value in reached.items()},
        "curve": [[round(s, 1), round(accuracy, 4)] for s, accuracy in curve],
        "load": round(os.getloadavg()[0], 1),
    }


def _seconds_to_best(curve: Curve) -> float:
    """When a contestant first had the best accuracy that it ever had."""
    return min(seconds for seconds, accuracy in curve if accuracy == max(best for _, best in curve))


def main() -> None:
    """Measure who was asked for; what others left in the record stays."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each, in turns; the median counts")
    given = parser.parse_args()
    with TRAIN.open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["text", "category"], "the file is not Banking77's"
    rows = {(str(row["processor"]), str(row["contestant"])): row for row in read_rows("time_to_accuracy")}
    found: dict[str, list[Curve]] = {name: [] for name in names}
    for _ in range(given.rounds):
        for contestant in CONTESTANTS:
            if contestant.name not in given.only:
                continue
            curve = contestant.run()
            print(f"{contestant.name}: {curve[-1][0]:.1f} s, {curve[-1][1]:.2%}", flush=True)
            found[contestant.name].append(curve)
            rows[processor(), contestant.name] = summary(contestant, found[contestant.name], found["head"])
            ordered = [rows[key] for key in sorted(rows, key=lambda key: (key[0], names.index(key[1])))]
            write_record("time_to_accuracy", ordered)
    print_table(ordered, COLUMNS)


if __name__ == "__main__":
    main()
