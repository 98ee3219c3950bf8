"""A desk whose rows belong to people, and the same desk that never saw one of them."""

import gc
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from millwright.erase.erasure import plan_erasures
from millwright.erase.found import Found, all_datasets
from millwright.opinions.surveys import next_survey
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Failure, Shadow
from millwright.review.annotations import annotate
from millwright.review.items import Item, write_queue
from millwright.steps import train
from millwright.store.database import now
from tests.conftest import keep, read_predictions
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


def plan_erasure(project: Project, person: str) -> Found:
    return plan_erasures(project, [person])[person]


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
    look_at(project, ("alma", "bob"))
    return project


def look_at(project: Project, people: Sequence[str]) -> None:
    """What experiments, surveys and reviews keep: of each person a failure, the rest about one prediction,
    and a review of a row of a file, too."""
    vault, queue, owners = open_vault(project), list[Item](), dict[str, str | None]()
    (dataset,) = all_datasets(project)
    for person in people:
        given = read_predictions(vault, vault.pseudonym(person))[0]
        next_survey(project, given.id, "csat")
        keep(
            project,
            Shadow(f"s-{person}", given.id, "v9", "pin", 0.5, 0.1, None, now()),
            Failure(f"f-{person}", 1, "v9", 0.5, None, person, "RuntimeError", now()),
        )
        row = next(row for row in dataset.rows if row.subject == person)
        owners[f"row:{row.id}"] = vault.pseudonym(person)
        queue.append(Item(f"prediction:{given.id}", given.text, "margin", None, (("pin", 0.5),)))
        queue.append(Item(f"row:{row.id}", row.text, "suspect", row.label, (("pin", 0.5),)))
    write_queue(project, queue, owners)
    for item in queue:
        annotate(project, item.id, "somebody", "pin")


KEPT = {  # how many rows a table has of alma
    "annotations": 2, "review_items": 2, "shadows": 1, "survey_asks": 1, "proposed_rows": 0,
    "opinions": len(SAID), "failures": 1, "vault_tokens": 0, "predictions": len(SAID),
}  # fmt: skip


class Killed(BaseException):
    """What a kill looks like to the code that it interrupts."""


def kill_at(stage: str) -> Callable[[str, float], None]:
    """A progress callback that kills as soon as a stage begins."""

    def progress(name: str, _fraction: float) -> None:
        if name == stage:
            raise Killed

    return progress


def read_files(folder: Path, but: Sequence[str] = ()) -> dict[str, bytes]:
    """What every file below a folder holds, those in use too, but for some names."""
    gc.collect()  # a database that is closed while files are read would take its log away
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }


def files_with(folder: Path, what: bytes, but: Sequence[str] = ()) -> list[str]:
    """Files below a folder that hold some bytes."""
    return [name for name, held in read_files(folder, but).items() if what in held]


def found_in(folder: Path, sought: Iterable[bytes]) -> set[bytes]:
    """Which of these bytes some file below a folder holds."""
    files = read_files(folder).values()
    return {what for what in sought if any(what in held for held in files)}
