"""Labelled texts of several kinds, for choices that must hold on more than one: training rows alone.

All but the built-in help desk are read from the folder of datasets that README.md beside this names.
"""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from record import DATA, ROOT

from millwright.modalities.text import canonical

MOST_ROWS = 4_000
LEAST_ROWS_A_LABEL = 20

Labelled = Iterator[tuple[str, str]]


def banking77(name: str = "train.csv") -> Labelled:
    """Messages and intents of a file; the official test rows are in "test.csv"."""
    with (DATA / "banking77" / name).open(encoding="utf-8", newline="") as file:
        yield from ((row["text"], row["category"]) for row in csv.DictReader(file))


def sentences(name: str, encoding: str = "utf-8") -> Labelled:
    """Sentences of one of the sentiment files, each line a label, a space and the sentence."""
    for line in (DATA / "sentiment_sentences" / name).read_text(encoding).splitlines():
        label, _, text = line.partition(" ")
        yield text, label


def json_lines(name: str, text: str, label: str) -> Labelled:
    """Two fields of a gzipped file of JSON lines."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row[text], row[label]


def desk() -> Labelled:
    """Messages of the built-in help desk."""
    folder = ROOT / "src/millwright/templates/customer-desk"
    for name in ("tickets.csv", "later.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            yield from ((row["message"], row["intent"]) for row in csv.DictReader(file))


DATASETS: dict[str, Callable[[], Labelled]] = {
    "Banking77": banking77,
    "SST-2": lambda: sentences("stsa.binary.train"),
    "CR": lambda: sentences("custrev.all"),
    "IMDB": lambda: json_lines("imdb/train.jsonl.gz", "text", "label"),
    "MedQuAD question types": lambda: json_lines("qa_medquad/medquad.jsonl.gz", "question", "qtype"),
}


def sample(rows: Labelled) -> tuple[list[str], np.ndarray, list[str]]:
    """At most 4,000 rows, each text once, of labels with at least twenty: texts, labels [N], their names."""
    distinct = list({canonical(text): (text, label) for text, label in rows}.values())
    chosen = np.random.default_rng(0).permutation(len(distinct))[:MOST_ROWS]
    counts = Counter(distinct[place][1] for place in chosen)
    kept = [distinct[place] for place in chosen if counts[distinct[place][1]] >= LEAST_ROWS_A_LABEL]
    names = sorted({label for _, label in kept})
    return [text for text, _ in kept], np.array([names.index(label) for _, label in kept]), names
