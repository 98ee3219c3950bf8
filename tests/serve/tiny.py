"""The smallest real model: it knows three labels by their first letters. And a project that serves it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import delete, insert

from millwright.project import Project
from millwright.store.database import now
from millwright.store.tables import aliases, datasets, versions

LABELS = ("card", "pin", "transfer")


@dataclass(eq=False)
class Tiny:
    """Gives the label that a text begins with 0.8; the rest shares what is left. Counts its batches.

    It is its own body: a feature a label, 1 where the text begins with it.
    """

    labels: tuple[str, ...] = LABELS
    batches: list[list[str]] = field(default_factory=list)
    streams: int = 1
    runtime: str = "tiny"

    @property
    def body(self) -> "Tiny":
        return self

    def features(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        return np.array([[float(text.startswith(label)) for label in self.labels] for text in texts])

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        score_NC = np.where(feature_ND > 0, 8.0, 1.0)
        return score_NC / score_NC.sum(axis=1, keepdims=True)


@dataclass(eq=False)
class Gated(Tiny):
    """Waits at a gate, so that a test decides when a batch is done."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def features(self, texts: Sequence[str]) -> np.ndarray:
        self.entered.set()
        assert self.gate.wait(30)
        return super().features(texts)


class Failing(Tiny):
    """Cannot read a text that begins with "!", and repeats it in its complaint."""

    def features(self, texts: Sequence[str]) -> np.ndarray:
        if any(text.startswith("!") for text in texts):
            raise RuntimeError(f"cannot read {texts}")
        return super().features(texts)


class Deadly(Tiny):
    """Takes its thread with it when it reads "die"."""

    def features(self, texts: Sequence[str]) -> np.ndarray:
        if "die" in texts:
            raise SystemExit
        return super().features(texts)


@dataclass(eq=False)
class Headed:
    """A version with labels of its own over the body of another."""

    body: Tiny
    labels: tuple[str, ...]
    runtime: str = "tiny"

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        return self.body.probabilities(feature_ND)[:, [LABELS.index(label) for label in self.labels]]


def add_version(project: Project, number: int) -> str:
    """Add a line for a version to the registry's tables; its files are the loader's business."""
    name = f"v{number}"
    with project.database.begin() as connection:
        if number == 1:
            connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=30))
        connection.execute(
            insert(versions).values(
                name=name, number=number, dataset="d-1", method="head", accuracy=0.5, created_at=now()
            )
        )
    return name


def point(project: Project, alias: str, name: str) -> None:
    """Let an alias mean a version."""
    with project.database.begin() as connection:
        connection.execute(delete(aliases).where(aliases.c.alias == alias))
        connection.execute(insert(aliases).values(alias=alias, version=name, changed_at=now()))


def serving(project: Project) -> Project:
    """The project, with a version v1 that is champion."""
    point(project, "champion", add_version(project, 1))
    return project
