"""A desk whose words a tiny random encoder knows: real projects that train in a fraction of a second."""

import json
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import torch
from transformers import PreTrainedTokenizerFast

from millwright.data.dataset import Dataset, seal_dataset, write_lines
from millwright.data.prepare import prepare
from millwright.project import Project, open_project
from millwright.records import SPLITS, Opinion, Prediction, Row
from millwright.registry.classifiers import register
from millwright.registry.versions import VersionInfo
from millwright.settings import FILENAME, TrainSection, check_settings, dump_settings
from millwright.store.database import now
from millwright.train.classifier import Classifier, assemble
from millwright.train.fit import Fitted
from millwright.train.metrics import evaluate
from millwright.train.network import feature_count
from tests.conftest import csv_of, keep
from tests.train.conftest import WORDS, make_backbone, tiny_tokenizer

LABELS = ("card", "pin", "transfer")
TELLING = {
    "card": ("card", "lost", "stolen"),
    "pin": ("pin", "forgot", "blocked"),
    "transfer": ("transfer", "pending", "money", "sent"),
}
FILLING = ("where", "please", "help", "my", "the", "is")


def save_encoder(folder: Path, family: str = "bert") -> Path:
    """A tiny encoder in the Hub's layout."""
    make_backbone(family).model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]").save_pretrained(folder)
    return folder


def telling_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different texts whose words tell the label, so that a frozen random encoder is enough to learn it."""
    chance, rows = random.Random(seed), {}
    while len(rows) < count:
        label = LABELS[len(rows) % 3]
        words = chance.choices(TELLING[label], k=2) + chance.choices(FILLING, k=chance.randint(1, 5))
        chance.shuffle(words)
        rows[" ".join(words)] = label
    return list(rows.items())


def puzzling_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different texts with labels by chance: nothing can be learnt."""
    chance, texts = random.Random(seed), set()
    while len(texts) < count:
        texts.add(" ".join(chance.choices(WORDS, k=chance.randint(3, 8))))
    return [(text, chance.choice(LABELS)) for text in sorted(texts)]


def make_desk(
    folder: Path, encoder: Path, rows: Sequence[Sequence[str]], *, header: Sequence[str] = ("text", "label"),
    data: dict[str, object] | None = None, train: dict[str, object] | None = None,
    turn: dict[str, object] | None = None,
) -> Project:  # fmt: skip
    """A project over a tiny encoder; near duplicates are meant to be there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text(csv_of(rows, header), encoding="utf-8")
    tree = {
        "data": {"files": ["rows.csv"], "near_duplicate_similarity": 1.0, **(data or {})},
        "backbone": {"name": str(encoder), "max_tokens": 32},
        "train": {"method": "head", "epochs": 2, "batch_size": 16, **(train or {})},
        "serve": {"runtime": "torch"},  # else each promotion measures four
        "turn": {"min_rows": 3, **(turn or {})},
    }
    (folder / FILENAME).write_text(dump_settings(check_settings(tree, "test")), encoding="utf-8")
    return open_project(folder)


def copy_desk(source: Path, folder: Path) -> Project:
    """A copy of a project that nobody has open."""
    shutil.copytree(source, folder)
    return open_project(folder)


def make_classifier(
    seed: int = 0, labels: Sequence[str] = LABELS, settings: TrainSection | None = None
) -> Classifier:
    """A head of chance on a tiny encoder."""
    backbone, chance = make_backbone("bert"), torch.Generator().manual_seed(seed)
    tuned = {
        "head.weight": torch.randn(len(labels), feature_count(backbone), generator=chance),
        "head.bias": torch.randn(len(labels), generator=chance),
    }
    return assemble(labels, "head", backbone, settings or TrainSection(), 1.5, torch.float32, tuned)


def fitted(seed: int = 0, labels: Sequence[str] = LABELS) -> Fitted:
    """What training would hand to the registry, of chance."""
    stages = {"head": {"seconds": 0.25, "rows_per_second": 400.0}}
    facts = {"taught_by": 30, "stages": stages, "peak_memory_bytes": 123_456_789}
    return Fitted(make_classifier(seed, labels), "head", "a test asks for it", facts)


def add_version(project: Project, seed: int = 0, dataset: Dataset | None = None) -> VersionInfo:
    """Register a version of chance, measured on the dataset's test rows."""
    dataset, made = dataset or prepare(project), fitted(seed)
    rows = dataset.split("test")
    truth = [made.classifier.labels.index(row.label) for row in rows]
    probabilities = made.classifier.probabilities([row.text for row in rows])
    evaluation = evaluate(probabilities, torch.tensor(truth).numpy(), made.classifier.labels, {})
    return register(project, dataset, made, evaluation)


def dataset_of(rows: Iterable[Row], folder: Path) -> Dataset:
    """A sealed dataset of rows as they are, whatever `prepare` would have made of them."""
    rows = sorted(rows, key=lambda row: row.id)
    lines = [json.dumps({**asdict(row), "slices": dict(row.slices)}).encode() + b"\n" for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = write_lines(folder / "rows.jsonl", lines)
    report = {
        "labels": dict.fromkeys({row.label for row in rows}, {}),
        "splits": {split: sum(row.split == split for row in rows) for split in SPLITS},
    }
    return seal_dataset(folder / "datasets", folder / "rows.jsonl", sha256, report, [])


def opine(
    project: Project, said: Iterable[tuple[str, str]], *, subject: str | None = None, ask: bool = False
) -> None:
    """Store predictions of v1, each with an opinion that gives the right label."""
    records = list[Prediction | Opinion]()
    for text, label in said:
        prediction = uuid4().hex
        records.append(Prediction(prediction, "v1", text, "card", 0.5, subject, ask, now()))
        records.append(Opinion(uuid4().hex, prediction, label, None, None, now()))
    keep(project, *records)


def texts_of(rows: Iterable[Row]) -> list[str]:
    return [row.text for row in rows]
