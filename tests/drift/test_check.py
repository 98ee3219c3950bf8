"""Checks over a real trained project: quiet, then other topics, and what each check may spend."""

import json

import httpx
import pytest
from sqlalchemy import update

from millwright.drift.check import ALPHA, check_drift
from millwright.drift.records import list_drifts
from millwright.errors import BadInput
from millwright.project import Project
from millwright.records import Prediction
from millwright.registry.versions import promote
from millwright.steps import train
from millwright.store.database import now
from millwright.store.tables import alias_changes
from tests.conftest import keep
from tests.desk import LABELS, telling_rows
from tests.surfaces.test_cli import run, wrong
from tests.surfaces.test_service import run as serve

START = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture
def project(desk) -> Project:
    with desk.database.begin() as connection:
        connection.execute(update(alias_changes).values(changed_at=START))
    return desk


def answered(project: Project, count: int, labels=LABELS, seed: int = 1, subject: str | None = None) -> None:
    """Predictions on texts of some labels, after all earlier ones."""
    texts = [text for text, label in telling_rows(count * 3 // len(labels) + 9, seed) if label in labels]
    made = [
        Prediction(
            f"{seed:03d}-{number:05d}", "v1", text, "card", 0.9, subject, False,
            f"2026-02-{seed:02d}T00:00:{number // 1000:02d}.{number % 1000:03d}+00:00",
        )
        for number, text in enumerate(texts[:count])
    ]  # fmt: skip
    keep(project, *made)


def test_what_stays_the_same_is_quiet_and_other_topics_are_drift(project):
    answered(project, 120, seed=1)
    answered(project, 120, seed=2)
    quiet = check_drift(project, 120)
    assert not quiet.is_drifting
    assert (quiet.number, quiet.alpha, quiet.reference_size, quiet.window_size) == (1, ALPHA / 2, 120, 120)
    assert [test.name for test in quiet.tests] == [
        *("classifier on features", "mean embedding of features", "confidences", "labels")
    ]
    answered(project, 120, labels=("pin",), seed=3)
    loud = check_drift(project, 120)
    assert loud.is_drifting
    assert all(test.is_drifting for test in loud.tests)
    assert (loud.number, loud.alpha) == (2, pytest.approx(ALPHA / 6))
    assert list_drifts(project) == [quiet, loud]


def test_a_check_spends_nothing_while_little_is_new(project):
    answered(project, 240, seed=1)
    first = check_drift(project, 120)
    answered(project, 50, seed=2)
    assert check_drift(project, 120) == first
    answered(project, 20, seed=3)
    assert check_drift(project, 120).number == 2


def test_all_checks_of_a_version_together_spend_alpha():
    spent = [ALPHA / (number * (number + 1)) for number in range(1, 10_000)]
    assert sum(spent) == pytest.approx(ALPHA, rel=1e-3)
    assert sum(spent) < ALPHA


def test_the_reference_follows_a_promotion(project):
    answered(project, 120, seed=1)
    answered(project, 240, labels=("pin",), seed=3)
    assert check_drift(project, 120).is_drifting
    promote(project, train(project).name, "again")
    with project.database.begin() as connection:
        last = update(alias_changes).where(alias_changes.c.version == "v2")
        connection.execute(last.values(changed_at="2026-02-03T00:00:00.000+00:00"))
    found = check_drift(project, 120)
    assert (found.version, found.number, found.is_drifting) == ("v2", 1, False)


def test_one_person_counts_once_a_day(project):
    answered(project, 400, seed=1, subject="ada")
    with pytest.raises(BadInput, match=r"1 users were answered since v1 was promoted, 220 are needed"):
        check_drift(project, 120)


def test_the_verb_says_what_differs_and_what_to_do(project, capsys):
    at = ("--project", project.folder)
    assert "0 users were answered since v1" in wrong(capsys, "drift", *at)
    assert "window must be at least 100 predictions, got 5" in wrong(capsys, "drift", "--window", "5", *at)
    assert "no reference named 'past'" in wrong(capsys, "drift", "--reference", "past", *at)
    assert "held-out rows, 100 are needed" in _with_traffic(project, capsys, at)
    answered(project, 120, labels=("transfer",), seed=5)
    assert run("drift", "--window", "120", *at) == 0
    said = capsys.readouterr().out
    assert said.startswith("DRIFT: 120 users against 120 (traffic), v1, check 1 at alpha 0.025")
    assert "labels: differs" in said
    assert "next: millwright review build" in said
    assert run("drift", "--history", "--json", *at) == 0
    (record,) = json.loads(capsys.readouterr().out)["checks"]
    assert record["checked_at"] <= now()

    async def scenario(client: httpx.AsyncClient, _) -> None:
        assert (await client.get("/v1/drift")).json() == {"checks": [record]}

    serve(project, scenario)


def _with_traffic(project: Project, capsys, at) -> str:
    answered(project, 120, seed=1)
    return wrong(capsys, "drift", "--reference", "data", *at)
