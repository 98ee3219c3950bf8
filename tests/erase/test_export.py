"""A person's export: everything of theirs, nothing of others', and hashes that fit."""

import csv
import hashlib
import json

import pytest
from sqlalchemy import event

from millwright.data.prepare import prepare
from millwright.erase.export import export_subject
from millwright.erase.found import all_datasets
from millwright.errors import BadInput, Corrupt, NotFound
from millwright.feedback import propose_rows
from millwright.opinions.surveys import next_survey
from millwright.privacy.audit import audit_file, read_audit
from millwright.privacy.consent import OBJECTED, ConsentGiven, grant, restrict
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Failure, Shadow
from millwright.review.annotations import annotate
from millwright.review.exchange import export_corrections, export_queue
from millwright.review.items import Item, read_queue, write_queue
from millwright.store.database import now
from tests.conftest import csv_of, desk_rows, keep, place_version, read_predictions
from tests.desk import opine
from tests.serve.tiny import serving


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


def correct(project: Project) -> None:
    """Let a reviewer say another label of one of alma's rows than its file has."""
    (dataset,) = all_datasets(project)
    place_version(serving(project), "v1", dataset={"id": dataset.id}, labels=["card", "pin"])
    row = next(row for row in dataset.rows if row.label == "card" and row.subject == "alma")
    write_queue(project, [Item(f"row:{row.id}", row.text, "suspect", row.label, ())], {})
    annotate(project, f"row:{row.id}", "ada", "pin")


@pytest.mark.parametrize("what", ["subject", "queue", "corrections"])
def test_nothing_is_written_that_the_audit_log_cannot_note(desk, tmp_path, what):
    if what == "corrections":
        correct(desk)
    write = {
        "subject": lambda: export_subject(desk, "alma", tmp_path / "out" / "export"),
        "queue": lambda: export_queue(desk, tmp_path / "out" / "tasks.json", "argilla"),
        "corrections": lambda: export_corrections(desk, tmp_path / "out" / "rows.csv"),
    }[what]
    whole = audit_file(desk).read_bytes() if audit_file(desk).exists() else b""
    audit_file(desk).write_bytes(whole + b"no line of a log\n")
    with pytest.raises(Corrupt, match=r"audit\.jsonl"):
        write()
    assert not list(tmp_path.glob("out/**/*.*"))
    audit_file(desk).write_bytes(whole)
    write()
    assert list(tmp_path.glob("out/**/*.*"))
    assert read_audit(desk)[-1].action == "exported"


def test_an_export_of_the_queue_names_those_whose_rows_are_in_it_also_where_another_is_built(desk, tmp_path):
    given = {one.subject: one for one in read_predictions(open_vault(desk))}
    queues = {
        name: [Item(f"prediction:{one.id}", one.text, "margin", None, ())] for name, one in given.items()
    }
    write_queue(desk, queues["alma"], {})
    rebuilt = iter([queues["bob"]])

    def rebuild(_connection, _cursor, statement: str, *_) -> None:
        """Another process builds a queue as soon as this one has begun to read."""
        if statement.startswith("SELECT") and "FROM review_items" in statement:
            for queue in rebuilt:
                write_queue(desk, queue, {})

    event.listen(desk.database, "after_cursor_execute", rebuild)
    export_queue(desk, tmp_path / "tasks.json", "argilla")
    assert [task["fields"]["text"] for task in json.loads((tmp_path / "tasks.json").read_text())] == [
        "a canary text"
    ]
    assert read_audit(desk)[-1].subject == open_vault(desk).pseudonym("alma")
    assert [item.text for item in read_queue(desk)] == ["another text"]


def test_somebody_unknown_is_not_found_and_a_full_folder_is_left_alone(desk, tmp_path):
    with pytest.raises(NotFound, match="nothing in this project belongs to that person"):
        export_subject(desk, "adda", tmp_path / "export")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="is not empty"):
        export_subject(desk, "alma", tmp_path / "mine")
