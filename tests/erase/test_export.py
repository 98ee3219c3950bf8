"""A person's export: everything of theirs, nothing of others', and hashes that fit."""

import csv
import hashlib
import json

import pytest

from millwright.data.prepare import prepare
from millwright.erase.export import export_subject
from millwright.errors import BadInput, NotFound
from millwright.feedback import propose_rows
from millwright.opinions.surveys import next_survey
from millwright.privacy.audit import read_audit
from millwright.privacy.consent import OBJECTED, ConsentGiven, grant, restrict
from millwright.privacy.sealed import read_predictions
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Failure, Shadow
from millwright.review.items import Item, write_queue
from millwright.store.database import now
from tests.conftest import csv_of, desk_rows, keep
from tests.desk import opine


@pytest.fixture
def desk(make_project) -> Project:
    rows = [(*row, ("alma", "bob")[n % 2]) for n, row in enumerate(desk_rows(40, ("card", "pin")))]
    project = make_project(csv_of(rows, ("text", "label", "who")), subject="who")
    opine(project, [("a canary text", "card")], subject="alma")
    opine(project, [("another text", "pin")], subject="bob")
    propose_rows(project, 2)
    vault = open_vault(project)
    for person in ("alma", "bob"):
        (given,) = read_predictions(vault, vault.pseudonym(person))
        next_survey(project, given.id, "csat")
        keep(
            project,
            Shadow(f"s-{given.id}", given.id, "v2", "transfer", 0.5, 0.1, None, now()),
            Failure(f"f-{given.id}", 1, "v2", 0.5, None, person, "RuntimeError", now()),
        )
    queue = [Item(f"prediction:{one.id}", one.text, "margin", None, ()) for one in read_predictions(vault)]
    write_queue(project, queue, {})
    prepare(project)
    grant(project, "alma", ConsentGiven("training", "consent", "web", now()))
    restrict(project, "alma", OBJECTED)
    return project


def test_an_export_has_every_kind_of_row_of_the_person_and_of_nobody_else(desk, tmp_path):
    export_subject(desk, "alma", tmp_path / "export")
    everything = json.loads((tmp_path / "export" / "everything.json").read_text())
    assert [row["text"] for row in everything["predictions"]] == ["a canary text"]
    assert [row["label"] for row in everything["opinions"]] == ["card"]
    assert [row["text"] for row in everything["proposed_rows"]] == ["a canary text"]
    assert [row["label"] for row in everything["shadows"]] == ["transfer"]
    assert [row["kind"] for row in everything["failures"]] == ["RuntimeError"]
    assert [row["survey"] for row in everything["survey_asks"]] == ["csat"]
    assert [row["text"] for row in everything["review_items"]] == ["a canary text"]
    assert [row["text"] for row in everything["file_rows"]] == [text for text, _ in desk_rows(40)[::2]]
    assert {row["row"] for row in everything["file_rows"]} == set(range(1, 41, 2))
    assert len(everything["dataset_rows"]) == 21
    assert [row["purpose"] for row in everything["consents"]] == ["training"]
    assert [row["kind"] for row in everything["restrictions"]] == [OBJECTED]
    for path in (tmp_path / "export").iterdir():
        assert "bob" not in path.read_text(), path


def test_hashes_and_counts_of_the_manifest_are_those_of_the_files(desk, tmp_path):
    manifest = export_subject(desk, "alma", tmp_path / "export")
    written = {path.name for path in (tmp_path / "export").iterdir()}
    assert written == {*manifest["files"], "manifest.json"}
    for name, about in manifest["files"].items():
        content = (tmp_path / "export" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == about["sha256"]
        if name.endswith(".csv"):
            assert len(list(csv.DictReader(content.decode().splitlines()))) == about["rows"]
    assert json.loads((tmp_path / "export" / "manifest.json").read_text()) == manifest
    assert read_audit(desk)[-1].action == "exported"


def test_somebody_unknown_is_not_found_and_a_full_folder_is_left_alone(desk, tmp_path):
    with pytest.raises(NotFound, match="nothing in this project belongs to that person"):
        export_subject(desk, "adda", tmp_path / "export")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="is not empty"):
        export_subject(desk, "alma", tmp_path / "mine")
