"""The audit of a version: what was learnt by heart is found, other rows are not, and the card says it."""

import json
from pathlib import Path

import pytest

from millwright import membership
from millwright.data.dataset import open_dataset
from millwright.erase.erasure import erase
from millwright.errors import BadInput
from millwright.membership import RATES, audit_membership
from millwright.privacy.gaussian_mechanism import most_true_positives, mu_of
from millwright.project import Project
from millwright.registry.versions import version_manifest
from millwright.steps import train
from millwright.train import heads
from millwright.train.private_head import DELTA
from tests.desk import copy_desk, make_desk, puzzling_rows, telling_rows

DATA = {"test_share": 0.5, "validation_share": 0.05}
HALF = {"data": {**DATA, "subject": "who"}, "header": ("text", "label", "who")}


def desk(folder: Path, encoder: Path, rows: list, **train_settings: object) -> Project:
    """A trained desk of people who have a row each, half of whom taught it."""
    named = [(text, label, f"person {n}") for n, (text, label) in enumerate(rows)]
    project = make_desk(folder, encoder, named, train=train_settings, **HALF)
    train(project)
    return project


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory, encoder) -> Project:
    """A head without a penalty to speak of, of rows that hold nothing but what must be learnt by heart."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(heads, "STRENGTHS", (1e5,))
        return desk(tmp_path_factory.mktemp("by-heart") / "desk", encoder, puzzling_rows(400), method="head")


def test_a_version_that_learnt_by_heart_is_found(by_heart):
    audit, _ = audit_membership(by_heart, shadows=16)
    assert audit.worst.true_positives.low > 2 * audit.worst.false_positives.value
    assert all(attack.area.low > 0.6 for attack in audit.attacks)
    assert audit.notes == ()


def test_of_a_version_with_a_tuned_body_a_lower_bound_is_given(tmp_path, encoder):
    project = desk(tmp_path / "desk", encoder, puzzling_rows(260), method="top", epochs=1)
    audit, _ = audit_membership(project, shadows=8)
    assert ["lower bound" in note for note in audit.notes] == [True]


def test_the_record_and_the_card_say_what_was_found(by_heart):
    audit, path = audit_membership(by_heart, shadows=8)
    assert json.loads(path.read_text()) == json.loads(json.dumps(audit.to_json()))
    card = (by_heart.reports / "card-v1.md").read_text()
    part = card.split("## Membership inference\n", 1)[1].split("\n## ", 1)[0]
    dataset = open_dataset(by_heart, version_manifest(by_heart, "v1")["dataset"]["id"])
    assert f"{len(dataset.split('train', 'validation')):,} rows that taught" in part
    assert f"{len(dataset.split('test')):,} that did not" in part
    assert f"| margin | {audit.attacks[0].area.value:.4f} (" in part
    assert "| others too few |" in part  # not one in a thousand may be accused of so few


def test_a_version_that_learnt_what_all_rows_share_tells_of_nobody(tmp_path, encoder):
    """What words tell is not told of anybody."""
    project = desk(tmp_path / "desk", encoder, telling_rows(440), method="head")
    audit, _ = audit_membership(project, shadows=8)
    ratio = audit.attacks[1]
    assert ratio.points[RATES.index(0.01)].true_positives.low < 0.05


def test_a_private_version_is_found_no_more_often_than_it_promises(tmp_path, encoder):
    project = desk(tmp_path / "desk", encoder, puzzling_rows(560), method="private-head", epsilon=3.0)
    audit, _ = audit_membership(project, shadows=8)
    dataset = open_dataset(project, version_manifest(project, "v1")["dataset"]["id"])
    assert audit.members == len(dataset.split("train"))  # validation rows taught nothing but a temperature
    assert audit.promised == tuple(most_true_positives(mu_of(3.0, DELTA), rate) for rate in RATES)
    for attack in audit.attacks:
        at_1_percent = attack.points[RATES.index(0.01)]
        allowed = most_true_positives(mu_of(3.0, DELTA), at_1_percent.false_positives.high)
        assert at_1_percent.true_positives.low <= allowed


def test_too_few_test_rows_are_refused(tmp_path, encoder):
    project = desk(tmp_path / "desk", encoder, telling_rows(60), method="head")
    with pytest.raises(BadInput, match=r"an audit needs 100 test rows .* there are \d+; raise"):
        audit_membership(project)


def test_of_many_rows_those_that_taught_nothing_stay_enough(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(membership, "MOST_ROWS", 240)
    data = {"test_share": 0.3, "validation_share": 0.05}
    project = make_desk(tmp_path / "desk", encoder, telling_rows(480), data=data, train={"method": "head"})
    train(project)
    audit, _ = audit_membership(project, shadows=8)
    assert (audit.members, audit.others) == (120, 120)


def test_an_erasure_takes_the_record_and_the_card_along(by_heart, tmp_path):
    by_heart.database.dispose()
    project = copy_desk(by_heart.folder, tmp_path / "desk")
    audit_membership(project, shadows=8)
    assert {path.name for path in project.reports.glob("*-v1.*")} == {"membership-v1.json", "card-v1.md"}
    erase(project, "person 3")
    assert list(project.reports.glob("*-v1.*")) == []
