"""Files of opinions: what is kept, what is refused and why, and that a file may come again."""

import json
import sqlite3
from contextlib import closing

import pytest

from millwright.errors import BadInput
from millwright.opinions.files import import_opinions
from millwright.privacy.mask import Masker
from millwright.privacy.sealed import read_opinions
from millwright.privacy.vault import open_vault
from millwright.project import Project
from tests.conftest import csv_of, desk_rows, place_version
from tests.serve.tiny import LABELS, serving
from tests.surfaces.test_cli import run, wrong
from tests.test_feedback import add_prediction

HEADER = ("prediction", "label", "rating", "csat", "outcome", "created_at", "key")
GOOD = [
    ("p1", "pin", "", "", "", "2026-01-02T10:00:00+02:00", ""),
    ("p1", "", "5", "4", "resolved", "", "k1"),
    ("p2", "", "", "", "escalated", "", ""),
]
BAD = [
    ("p9", "pin", "", "", "", "", ""),
    ("p1", "pni", "", "", "", "", ""),
    ("p1", "", "five", "", "", "", ""),
    ("p1", "", "", "6", "", "", ""),
    ("p1", "", "", "", "vanished", "", ""),
    ("p1", "pin", "", "", "", "yesterday", ""),
    ("p1", "pin", "", "", "", "2025-12-31", ""),
    ("p1", "", "", "", "", "", ""),
    ("p1", "", "4", "", "", "", "k1"),
]


@pytest.fixture
def project(make_project) -> Project:
    made = serving(make_project(csv_of(desk_rows(30))))
    place_version(made, "v1", labels=list(LABELS))
    for name in ("p1", "p2"):
        add_prediction(made, name, "card")
    return made


def test_rows_are_kept_once_with_their_hour_and_bad_ones_listed_with_the_reason(project):
    file = project.folder / "said.csv"
    file.write_text(csv_of([*GOOD, *BAD], HEADER))
    found = import_opinions(project, file)
    assert (found.new, found.repeated) == (3, 0)
    assert [item.row for item in found.refused] == [4, 5, 6, 7, 8, 9, 10, 11, 12]
    for item, words in zip(
        found.refused,
        ("no prediction 'p9'", "Did you mean 'pin'", "whole number, got 'five'", "from 1 to 5, got 6",
         "got 'vanished'", "a time like", "between the prediction", "says nothing", "its rating differs"),
        strict=True,
    ):  # fmt: skip
        assert words in item.reason
    rows = {one.label or one.outcome: one for one in read_opinions(open_vault(project))}
    assert rows["pin"].created_at == "2026-01-02T08:00:00.000+00:00"
    assert (rows["resolved"].rating, rows["resolved"].csat, rows["resolved"].key) == (5, 4, "k1")
    again = import_opinions(project, file)
    assert (again.new, again.repeated, len(again.refused)) == (0, 3, 9)


def test_a_file_of_other_columns_is_refused_with_those_that_may_be(project):
    file = project.folder / "said.csv"
    file.write_text(csv_of([("p1", "x")], ("prediction", "stars")))
    with pytest.raises(BadInput, match=r"may have label, .*; got prediction, stars; rename or remove"):
        import_opinions(project, file)


def test_the_verbs_import_and_show(project, capsys):
    file = project.folder / "said.jsonl"
    rows = [{"prediction": "p1", "label": "pin"}, *({"prediction": p, "csat": 3} for p in ("p2", "p3"))]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert run("feedback", "import", file, "--project", project.folder) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 new, 0 kept before, 1 refused\nrow 3: no prediction 'p3'")
    assert run("feedback", "status", "--project", project.folder) == 0
    said = capsys.readouterr().out
    assert "said: 1 label, 1 csat; 1 labelled predictions wait for the next turn" in said
    assert "csat: no score yet, 0 of 0 asked answered, 1 volunteered" in said
    assert run("feedback", "status", "--json", "--project", project.folder) == 0
    assert json.loads(capsys.readouterr().out)["kinds"]["csat"] == 1
    assert "no file" in wrong(capsys, "feedback", "import", "nowhere.csv", "--project", project.folder)


def test_a_slice_of_comments_is_masked_at_once_while_others_may_write(project, monkeypatch):
    masked, real = list[int](), Masker.mask_all

    def mask_all(self, texts, **options):
        with closing(sqlite3.connect(project.database.url.database, timeout=0)) as server:
            server.execute("BEGIN IMMEDIATE")
        masked.append(len(texts))
        return real(self, texts, **options)

    monkeypatch.setattr(Masker, "mask_all", mask_all)
    file = project.folder / "said.csv"
    rows = [("p1", "mail ada@example.com"), ("p2", "mail bob@example.com"), ("p9", "nowhere"), ("p2", "")]
    file.write_text(csv_of(rows, ("prediction", "comment")))
    assert import_opinions(project, file).new == 2
    assert masked == [3]


def test_comments_are_masked_and_still_kept_once(project):
    file = project.folder / "said.csv"
    file.write_text(
        csv_of([("p1", "mail ada@example.com"), ("p2", "all is well")], ("prediction", "comment"))
    )
    assert import_opinions(project, file).new == 2
    kept = read_opinions(open_vault(project))
    assert {one.comment for one in kept} == {"mail <EMAIL_ADDRESS>", "all is well"}
    assert import_opinions(project, file).repeated == 2
