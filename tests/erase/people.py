"""A desk whose rows belong to people, and the same desk that never saw one of them."""

import gc
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from millwright.project import Project
from millwright.steps import train
from tests.desk import make_desk, opine, telling_rows

PEOPLE = ("alma", "bob", "cyd", "dan", "eve")
HEADER = ("text", "label", "who")
DATA = {"subject": "who", "test_share": 0.2}
SAID = [
    ("card canary lost please", "card"),
    ("pin canary forgot is", "pin"),
    ("money canary sent", "transfer"),
]

Rows = Sequence[tuple[str, str, str]]


def owned_rows(count: int = 90) -> list[tuple[str, str, str]]:
    return [(text, label, PEOPLE[n % len(PEOPLE)]) for n, (text, label) in enumerate(telling_rows(count))]


def without(rows: Rows, person: str) -> list[tuple[str, str, str]]:
    return [row for row in rows if row[2] != person]


def shuffled(rows: Rows, seed: int) -> list[tuple[str, str, str]]:
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed


def desk_of(folder: Path, encoder: Path, rows: Rows, **train_settings: object) -> Project:
    return make_desk(folder, encoder, rows, header=HEADER, data=DATA, train=train_settings)


def served(folder: Path, encoder: Path, **train_settings: object) -> Project:
    """A desk with a champion, and what alma and bob said to it."""
    project = desk_of(folder, encoder, owned_rows(), **train_settings)
    train(project)
    opine(project, SAID, subject="alma")
    opine(project, [("please help my card", "card")], subject="bob")
    return project


class Killed(BaseException):
    """What a kill looks like to the code that it interrupts."""


def kill_at(stage: str) -> Callable[[str, float], None]:
    """A progress callback that kills as soon as a stage begins."""

    def progress(name: str, _fraction: float) -> None:
        if name == stage:
            raise Killed

    return progress


def files_with(folder: Path, what: bytes, but: Sequence[str] = ()) -> list[str]:
    """Files below a folder that hold some bytes."""
    gc.collect()  # a database that is closed while files are read would take its log away
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but and what in path.read_bytes()
    ]
