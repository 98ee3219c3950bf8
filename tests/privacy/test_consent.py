"""Consent at the gate: whose rows enter a dataset, and that each one left out is listed with the reason."""

import json

import pytest

from millwright.data.prepare import dataset_folder, prepare
from millwright.errors import BadInput, NotFound
from millwright.privacy.audit import read_audit
from millwright.privacy.consent import (
    HELD,
    OBJECTED,
    RESTRICTED,
    ConsentGiven,
    consents_of,
    grant,
    restrict,
    restrictions_of,
    withdraw,
)
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.settings import change_settings
from millwright.store.database import now
from tests.conftest import csv_of, desk_rows, keep

PEOPLE = ("ada", "bob", "eve")
HEADER = ("text", "label", "who", "may")


def desk(make_project, mode: str, wishes=("", "", ""), column: str | None = "may") -> Project:
    """Thirty rows of three people in turn, each with what the column says of their wishes."""
    rows = [(*row, PEOPLE[n % 3], wishes[n % 3]) for n, row in enumerate(desk_rows(30, ("card", "pin")))]
    project = make_project(csv_of(rows, HEADER), subject="who")
    privacy = {"consent": mode, "consent_column": column}
    return Project(project.folder, change_settings(project.settings, "privacy", **privacy))


def consent(project: Project, person: str, purpose: str = "training") -> None:
    grant(project, person, ConsentGiven(purpose, "consent", "web", now()))


def entered(project: Project) -> tuple[set[str | None], dict[str, int]]:
    """Whose rows are in the dataset, and how many rows are listed for each reason."""
    dataset = prepare(project)
    lines = (dataset_folder(project) / dataset.id / "excluded.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    assert len(dataset.rows) + len(lines) >= 30
    return {row.subject for row in dataset.rows}, {reason: reasons.count(reason) for reason in set(reasons)}


@pytest.mark.parametrize(
    ("mode", "wishes", "expected"),
    [
        ("not-required", ("no", "", "yes"), {"ada", "bob", "eve"}),
        ("opt-out", ("no", "", "yes"), {"bob", "eve"}),
        ("opt-in", ("no", "", "yes"), {"eve"}),
        ("opt-in", ("service", "service; training", "TRUE"), {"bob", "eve"}),
        ("opt-out", ("service", "0", ""), {"eve"}),
    ],
)
def test_the_column_decides_as_the_setting_says(make_project, mode, wishes, expected):
    people, reasons = entered(desk(make_project, mode, wishes))
    assert people == expected
    left_out = 10 * (3 - len(expected))
    assert reasons == ({"no consent to training": left_out} if left_out else {})


def test_noted_consent_lets_rows_in_and_withdrawing_keeps_them_out_whatever_the_column_says(make_project):
    project = desk(make_project, "opt-in", ("", "yes", "no"))
    consent(project, "ada")
    consent(project, "eve", purpose="service")
    assert entered(project)[0] == {"ada", "bob"}
    assert withdraw(project, "bob", "training") == 0
    assert entered(project) == (
        {"ada"},
        {"consent to training was withdrawn": 10, "no consent to training": 10},
    )
    consent(project, "bob")
    assert entered(project)[0] == {"ada", "bob"}


@pytest.mark.parametrize("mode", ["not-required", "opt-out", "opt-in"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(OBJECTED, "the person objected"), (RESTRICTED, "the person restricted processing")],
)
def test_an_objection_holds_in_every_mode_until_it_is_lifted(make_project, mode, kind, reason):
    project = desk(make_project, mode, ("yes", "yes", "yes"))
    assert restrict(project, "bob", kind)
    assert not restrict(project, "bob", kind)
    assert entered(project) == ({"ada", "eve"}, {reason: 10})
    assert restrict(project, "bob", kind, lift=True)
    assert entered(project) == ({"ada", "bob", "eve"}, {})


def test_what_users_said_passes_the_same_gate_and_is_listed_by_its_prediction(make_project):
    project = desk(make_project, "opt-in", ("yes", "yes", "yes"))
    for number, person in enumerate(("ada", "zoe", None)):
        name = f"p{number}"
        keep(
            project,
            Prediction(name, "v1", f"new text {name}", "pin", 0.5, person, False, now()),
            Opinion(name, name, "pin", None, None, now()),
            ProposedRow(name, name, f"new text {name}", "pin", person, "train", 2),
        )
    consent(project, "ada")
    dataset = prepare(project)
    assert {row.source for row in dataset.rows if row.source.startswith("feedback")} == {"feedback:p0"}
    listed = (dataset_folder(project) / dataset.id / "excluded.jsonl").read_text().splitlines()
    assert [tuple(json.loads(line).values()) for line in listed] == [
        ("feedback:p1", 0, "no consent to training"),
        ("feedback:p2", 0, "no consent to training"),
    ]


def test_a_legal_hold_keeps_nobody_from_teaching(make_project):
    project = desk(make_project, "not-required")
    restrict(project, "bob", HELD)
    assert entered(project)[0] == set(PEOPLE)
    assert list(restrictions_of(project, open_vault(project).keys.pseudonym("bob"))) == [HELD]


def test_a_consent_keeps_its_proof_and_its_end(make_project):
    project = desk(make_project, "opt-in")
    given = ConsentGiven("training", "consent", "web", now(), "ab" * 32, "2026-1", True)
    grant(project, "oleg", given)
    withdraw(project, "oleg", "training")
    (kept,) = consents_of(project, open_vault(project).keys.pseudonym("oleg"))
    assert kept.withdrawn_at is not None
    assert (kept.text_sha256, kept.text_version, kept.is_separate) == ("ab" * 32, "2026-1", True)
    assert [line.action for line in read_audit(project)] == ["consent granted", "consent withdrawn"]
    assert "oleg" not in (project.kept / "audit.jsonl").read_text()


@pytest.mark.parametrize(
    ("person", "purpose", "basis", "field"),
    [
        (" ", "training", "consent", "subject"),
        ("ada", "", "consent", "purpose"),
        ("ada", "training", "whim", "legal_basis"),
    ],
)
def test_a_consent_that_says_nothing_is_refused_and_the_field_named(
    make_project, person, purpose, basis, field
):
    project = desk(make_project, "opt-in")
    with pytest.raises(BadInput) as refused:
        grant(project, person, ConsentGiven(purpose, basis, "web", now()))
    assert refused.value.field == field


def test_a_consent_column_that_is_missing_is_named(make_project):
    project = desk(make_project, "opt-in", column="maybe")
    with pytest.raises(NotFound, match="privacy.consent_column.*'maybe'"):
        prepare(project)


def test_an_erased_person_stays_out_of_files_until_consenting_anew(make_project):
    project = desk(make_project, "not-required")
    keys = open_vault(project).keys
    keys.destroy(make_tombstone(keys, keys.pseudonym("bob"), now()))
    assert entered(project) == ({"ada", "eve"}, {"the person was erased": 10})
    late = ConsentGiven("training", "consent", "web", "2999-01-01T00:00:00.000+00:00")
    grant(project, "bob", late)
    assert entered(project)[0] == set(PEOPLE)
