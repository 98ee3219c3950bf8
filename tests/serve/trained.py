"""A project with trained versions over a tiny encoder in a local folder: the real path, in a second."""

import random
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from millwright.data.prepare import prepare
from millwright.project import Project, open_project
from millwright.registry.classifiers import register
from millwright.settings import FILENAME, change_settings, check_settings, dump_settings
from millwright.train.fit import fit
from tests.conftest import csv_of
from tests.train.conftest import WORDS, make_backbone, tiny_tokenizer


def quiet(_stage: str, _done: float) -> None:
    pass


def tiny_project(folder: Path, family: str = "bert", rows: int = 90) -> Project:
    """A project of `rows` texts of known words; the first word decides the label."""
    backbone = make_backbone(family)
    backbone.model.save_pretrained(folder / "encoder")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]")
    tokenizer.save_pretrained(folder / "encoder")
    chance = random.Random(0)
    labels = ("card", "pin", "transfer")
    lines = [
        (" ".join([labels[n % 3], *chance.choices(WORDS, k=chance.randint(1, 20))]), labels[n % 3])
        for n in range(rows)
    ]
    (folder / "rows.csv").write_text(csv_of(lines), encoding="utf-8")
    tree = {
        "data": {"files": ["rows.csv"]},
        "backbone": {"name": str(folder / "encoder"), "max_tokens": 32},
        "train": {"epochs": 1},
    }
    (folder / FILENAME).write_text(dump_settings(check_settings(tree, "test")), encoding="utf-8")
    return open_project(folder)


def add_trained(project: Project, method: str = "head", seed: int = 0) -> str:
    """Train and register a version, promoted to nothing."""
    dataset = prepare(project)
    settings = change_settings(project.settings, "train", method=method, seed=seed)
    fitted = fit(dataset, settings, kept=project.kept, progress=quiet)
    return register(Project(project.folder, settings), dataset, fitted, None).name
