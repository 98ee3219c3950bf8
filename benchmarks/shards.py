"""What shards cost and save: accuracy, a training, an erasure. `python benchmarks/shards.py --rows 3000`

Banking77, training rows by chance, invented people with five rows each; the official test rows measure. The
last layers are tuned in one piece and in shards; a head beside them. Frozen states are cached before anything
is timed, so that a training is timed and not the first reading of texts. Then the same person is erased from
each project: with shards the person's alone is trained anew. Times are processor seconds, which others who
use the machine don't change.

Shape suffixes: N test rows.
"""

import argparse
import csv
import random
import shutil
import time
from pathlib import Path

import numpy as np
from labelled import banking77
from record import BENCH, Row, print_table, write_record
from transformers.utils.logging import disable_progress_bar

from millwright.data.dataset import open_dataset
from millwright.data.prepare import prepare
from millwright.erase.erasure import erase
from millwright.project import Project, open_project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import version_manifest
from millwright.settings import FILENAME, check_settings, dump_settings
from millwright.steps import train
from millwright.store.files import write_text
from millwright.train.metrics import calibration_error
from millwright.train.shards import shard_hashes

ROWS_A_PERSON, SHARDS, SEED = 5, (1, 2, 4), 0
FOLDER = BENCH / "shards"
COLUMNS = (
    "method",
    "shards",
    "train_s",
    "accuracy",
    "loss",
    "loss_low",
    "loss_high",
    "calibration_error",
    "megabytes",
    "erase_s",
    "trained_anew",
)


def write_rows(path: Path, count: int) -> int:
    """Write a sample of the training rows with invented people, and return how many there are."""
    rows = list(banking77())
    random.Random(SEED).shuffle(rows)
    rows = rows[:count]
    with path.open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        written.writerow(("text", "label", "person"))
        written.writerows((text, label, f"p{n // ROWS_A_PERSON}") for n, (text, label) in enumerate(rows))
    return len(rows)


def make(folder: Path, rows: Path, method: str, shards: int) -> Project:
    """A project over the rows."""
    folder.mkdir(parents=True)
    shutil.copy(rows, folder / "rows.csv")
    data = {"files": ["rows.csv"], "subject": "person", "group": "person", "test_share": 0.0}
    made = {"data": data, "train": {"method": method, "shards": shards}}
    made |= {"serve": {"runtime": "torch"}, "privacy": {"mask": False}}
    write_text(folder / FILENAME, dump_settings(check_settings(made, "benchmark")))
    return open_project(folder)


def measure(rows: Path, method: str, shards: int, cache: Path) -> tuple[Row, np.ndarray]:
    """Train, test and erase; the figures, and which test rows were answered right [N]."""
    project = make(FOLDER / f"{method}-{shards}", rows, method, shards)
    dataset = prepare(project)
    if cache.exists():
        shutil.copytree(cache, project.kept / "cache")
    start = time.process_time()
    info = train(project, dataset=dataset)
    train_s = time.process_time() - start
    shutil.copytree(project.kept / "cache", cache, dirs_exist_ok=True)
    texts, labels = zip(*banking77("test.csv"), strict=True)
    classifier = load_classifier(project, info.name)
    probability_NC = classifier.probabilities(texts)
    said = [classifier.labels[best] for best in probability_NC.argmax(1)]
    right_N = np.array([one == label for one, label in zip(said, labels, strict=True)])
    folder = project.kept / "versions" / info.name
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    before = shard_hashes(folder)
    person = next(row.subject for row in dataset.split("train") if row.subject)
    start = time.process_time()
    receipt = erase(project, person).receipt
    erase_s = time.process_time() - start
    made = receipt["versions"][info.name]
    after = shard_hashes(project.kept / "versions" / made["successor"])
    assert version_manifest(project, made["successor"])["method"] == method
    assert person not in {row.subject for row in open_dataset(project, made["successor_dataset"]).rows}
    anew = sum(before[name] != after[name] for name in before)
    assert anew == (1 if shards > 1 else 0)
    figures: Row = {
        "method": method,
        "shards": shards,
        "train_s": round(train_s, 1),
        "accuracy": round(float(right_N.mean()), 4),
        "calibration_error": round(calibration_error(probability_NC.max(1), right_N), 4),
        "megabytes": round(size / 1e6, 1),
        "erase_s": round(erase_s, 1),
        "trained_anew": f"{anew} of {shards}" if shards > 1 else "all",
    }
    return figures, right_N


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_003, help="training rows, by chance")
    asked = parser.parse_args()
    disable_progress_bar()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        count = write_rows(FOLDER / "rows.csv", asked.rows)
        cache = FOLDER / "cache"
        for method in ("head", "top"):  # what is cached is not timed
            warm = make(FOLDER / f"warm-{method}", FOLDER / "rows.csv", method, 1)
            warm_up(warm, cache)
        found = [measure(FOLDER / "rows.csv", "head", 1, cache)]
        found += [measure(FOLDER / "rows.csv", "top", shards, cache) for shards in SHARDS]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    whole_N = found[1][1]
    rows = [{"rows": count, **figures, **_lost(whole_N, right_N)} for figures, right_N in found]
    print_table(rows, COLUMNS)
    write_record("shards", rows)


def warm_up(project: Project, cache: Path) -> None:
    """Fill the cache with what a training reads, by the shortest training that there is."""
    tree = project.settings.model_dump()
    tree["train"] |= {"epochs": 1, "batch_size": 4096}
    short = Project(project.folder, check_settings(tree, "benchmark"))
    train(short, dataset=prepare(short))
    shutil.copytree(project.kept / "cache", cache, dirs_exist_ok=True)


def _lost(whole_N: np.ndarray, right_N: np.ndarray) -> Row:
    """Accuracy lost against the last layers in one piece, with the 95 % interval of paired differences."""
    difference_N = whole_N.astype(float) - right_N
    half = 1.96 * float(difference_N.std(ddof=1)) / len(difference_N) ** 0.5
    mean = float(difference_N.mean())
    return {"loss": round(mean, 4), "loss_low": round(mean - half, 4), "loss_high": round(mean + half, 4)}


if __name__ == "__main__":
    main()
