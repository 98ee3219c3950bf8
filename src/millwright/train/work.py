"""What every method of a training needs: rows, settings, backbone, folders, whom to tell how far it is."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from millwright.errors import BadInput
from millwright.progress import Progress
from millwright.records import Row
from millwright.settings import Settings
from millwright.train.backbones import Backbone
from millwright.train.cost import Clock
from millwright.train.states import cached_features


@dataclass(frozen=True)
class Work:
    """What a training needs.

    `name` is that of the rows, in the names of runs; `precision` is that of the backbone's products;
    `all_rows` are training and validation rows in canonical order; `part` stands before the names of stages
    where a training has several parts.
    """

    name: str
    all_rows: tuple[Row, ...]
    settings: Settings
    backbone: Backbone
    precision: torch.dtype
    labels: tuple[str, ...]
    kept: Path
    progress: Progress
    clock: Clock
    part: str = ""

    def known_rows(self, split: str) -> list[Row]:
        """Rows of a split whose labels training has."""
        known = set(self.labels)
        return [row for row in self.all_rows if row.split == split and row.label in known]

    def rows(self, split: str) -> tuple[list[str], np.ndarray]:
        """Texts and label numbers of a split, rows with a label that training lacks left out."""
        rows = self.known_rows(split)
        return [row.text for row in rows], truth_of(rows, self.labels)

    def run_folder(self, method: str) -> Path:
        """One folder for the same rows, backbone, method and settings."""
        about: list[object] = [self.name, self.backbone.reading_sha256, method]
        about.append({**self.settings.train.model_dump(exclude={"cache_bytes"}), "method": method})
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        return self.kept / "runs" / f"{method}-{key}"

    def without(self, ids: set[str]) -> "Work":
        """The work without some rows; BadInput where too few labels are left."""
        rows = tuple(row for row in self.all_rows if row.id not in ids)
        check_labels(labels := labels_of(rows))
        return replace(self, all_rows=rows, labels=labels)

    def features(self, stage: str, texts: list[str]) -> tuple[np.ndarray, int]:
        """Features [N, D] of texts by the frozen backbone, and how many had to be run."""
        with self.stage(stage, len(texts)):
            feature_ND, made = cached_features(
                self.backbone,
                texts,
                self.precision,
                self.kept / "cache",
                self.teller(stage),
                self.settings.train.cache_bytes,
            )
        return feature_ND.numpy(), made

    def stage(self, name: str, rows: int) -> AbstractContextManager[None]:
        """Measure a stage; see `Clock.stage`."""
        return self.clock.stage(self.part + name, rows)

    def teller(self, name: str) -> Callable[[float], None]:
        """What tells how far a stage is, given the fraction done."""
        return lambda done: self.progress(self.part + name, done)


def truth_of(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    """Label numbers [N] of rows, -1 for a label that is not among `labels`."""
    number = {label: place for place, label in enumerate(labels)}
    return np.array([number.get(row.label, -1) for row in rows], dtype=np.int64)


def labels_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels that training rows have, sorted."""
    return tuple(sorted({row.label for row in rows if row.split == "train"}))


def check_labels(labels: Sequence[str]) -> None:
    """Refuse to train on fewer than two labels with a BadInput."""
    if len(labels) < 2:
        raise BadInput(f"training rows have the labels {list(labels)}; at least two are needed: add rows")
