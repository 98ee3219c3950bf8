"""Sealed rows: bound to their place, one key a person, and old databases in the clear are sealed."""

import gc
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select, update

from millwright.errors import Corrupt
from millwright.privacy.sealed import read_opinions, read_proposed
from millwright.privacy.vault import Place, forget_vault, keep_vault, open_vault
from millwright.project import Project
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.settings import Settings
from millwright.store.database import MIGRATIONS
from millwright.store.tables import opinions, predictions
from tests.conftest import keep, read_predictions

HOUR = "2026-01-01T00:00:00.000+00:00"
SAID = {"text": "my PIN is 4711", "label": "pin"}


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path, Settings())


def test_what_was_sealed_is_what_is_opened_and_the_same_content_never_looks_the_same(project):
    vault = open_vault(project)
    place = Place("predictions", "p1", vault.pseudonym("ada"))
    one, other = vault.seal(place, SAID), vault.seal(place, SAID)
    assert one != other
    assert vault.unseal(place, one) == vault.unseal(place, other) == SAID
    assert b"4711" not in one


def test_who_keeps_a_vault_twice_keeps_the_one_that_is_open(project):
    kept = keep_vault(project)
    keys = kept.keys
    assert keep_vault(project).keys is open_vault(project).keys is keys
    forget_vault(project)
    assert open_vault(project).keys is not keys


def test_a_row_opens_in_its_place_only(project, tmp_path):
    vault = open_vault(project)
    ada, bob = vault.pseudonym("ada"), vault.pseudonym("bob")
    sealed = vault.seal(Place("predictions", "p1", ada), SAID)
    vault.seal(Place("predictions", "p1", bob), SAID)
    vault.seal(Place("predictions", "p1", None), SAID)
    for place in (
        Place("predictions", "p2", ada),
        Place("opinions", "p1", ada),
        Place("predictions", "p1", bob),
        Place("predictions", "p1", None),
    ):
        with pytest.raises(Corrupt, match="changed, moved, or sealed with another key"):
            vault.unseal(place, sealed)


def test_any_flipped_byte_is_refused(project):
    vault = open_vault(project)
    place = Place("predictions", "p1", None)
    sealed = vault.seal(place, SAID)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 0x40
        with pytest.raises(Corrupt):
            vault.unseal(place, bytes(changed))


def test_a_row_that_was_moved_to_another_person_in_the_database_does_not_open(project):
    keep(project, Prediction("p1", "v1", "hi", "pin", 0.5, "ada", False, HOUR))
    keep(project, Prediction("p2", "v1", "hi", "pin", 0.5, "bob", False, HOUR))
    vault = open_vault(project)
    with project.database.begin() as connection:
        connection.execute(
            update(predictions).where(predictions.c.id == "p1").values(subject=vault.pseudonym("bob"))
        )
    with pytest.raises(Corrupt):
        read_predictions(vault)


def test_all_that_is_kept_comes_back_and_nothing_of_it_is_on_disk(project):
    given = Prediction("p1", "v1", "canary-text", "canary-label", 0.25, "canary-subject", True, HOUR)
    said = Opinion("o1", "p1", "canary-right", 2, "canary-comment", HOUR)
    row = ProposedRow("p1", "o1", "canary-text", "canary-right", "canary-subject", "train", 2)
    nobody = Prediction("p2", "v1", "canary-nobody", "pin", 0.5, None, False, HOUR)
    keep(project, given, said, row, nobody)
    vault = open_vault(project)
    assert read_predictions(vault) == [given, nobody]
    assert read_opinions(vault) == [said]
    assert read_proposed(vault) == [row]
    assert read_predictions(vault, vault.pseudonym("canary-subject")) == [given]
    assert files_with(project.kept, b"canary") == []


def files_with(folder: Path, what: bytes) -> list[Path]:
    """Files below a folder that hold some bytes."""
    gc.collect()  # a database that is closed while files are read would take its log away
    return [path for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


def old_database(project: Project) -> None:
    """A database as the first release left it, with rows in the clear."""
    project.kept.mkdir()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{project.kept / 'store.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with sqlite3.connect(project.kept / "store.db") as connection:
        for number, subject in ((1, "canary-ada"), (2, None)):
            connection.execute(
                "INSERT INTO predictions VALUES (?, 'v1', ?, 'canary-label', 0.25, ?, 1, ?)",
                (f"p{number}", f"canary-text {number}", subject, HOUR),
            )
            connection.execute(
                "INSERT INTO opinions VALUES (?, ?, ?, 4, 'canary-comment', ?)",
                (f"o{number}", f"p{number}", "canary-right" if number == 1 else None, HOUR),
            )
        connection.execute(
            "INSERT INTO proposed_rows VALUES "
            "('p1', 'o1', 'canary-text 1', 'canary-right', 'canary-ada', 'train', 2)"
        )
    connection.close()


def test_rows_of_an_older_release_are_sealed_and_scrubbed_at_first_use(project):
    old_database(project)
    assert b"canary" in (project.kept / "store.db").read_bytes()
    vault = open_vault(project)
    assert read_predictions(vault) == [
        Prediction("p1", "v1", "canary-text 1", "canary-label", 0.25, "canary-ada", True, HOUR),
        Prediction("p2", "v1", "canary-text 2", "canary-label", 0.25, None, True, HOUR),
    ]
    assert read_opinions(vault) == [
        Opinion("o1", "p1", "canary-right", 4, "canary-comment", HOUR),
        Opinion("o2", "p2", None, 4, "canary-comment", HOUR),
    ]
    assert read_proposed(vault) == [
        ProposedRow("p1", "o1", "canary-text 1", "canary-right", "canary-ada", "train", 2)
    ]
    with project.database.connect() as connection:
        assert connection.scalars(select(opinions.c.has_label).order_by(opinions.c.id)).all() == [True, False]
        owners = connection.scalars(select(opinions.c.subject).order_by(opinions.c.id)).all()
    assert owners == [vault.pseudonym("canary-ada"), None]
    assert files_with(project.kept, b"canary") == []
