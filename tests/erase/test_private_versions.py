"""Erasing a person whom a differentially private version learnt from: what is true of noise drawn anew."""

import math
import sys
from pathlib import Path

import pytest

from millwright.data.prepare import prepare
from millwright.erase.erasure import erase
from millwright.errors import Corrupt, MissingExtra
from millwright.privacy.audit import audit_file, read_audit
from millwright.privacy.gaussian_mechanism import delta_of, epsilon_of, mu_of
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.registry.budget import SPENT, spent
from millwright.registry.versions import CHAMPION, alias, promote, version_manifest
from millwright.settings import change_settings
from millwright.steps import train
from millwright.train.private_head import DELTA, LEAST_PEOPLE, SENSITIVITY
from tests.desk import copy_desk, telling_rows
from tests.erase.people import desk_of, plan_erasure

FEATURES = 96


def people() -> list[tuple[str, str, str]]:
    """Rows of alma and thirty others, four each."""
    names = ["alma", *(f"person {n}" for n in range(30))]
    return [(text, label, names[n % 31]) for n, (text, label) in enumerate(telling_rows(124))]


def teachers(project: Project) -> set[str | None]:
    return {row.subject for row in prepare(project).split("train")}


@pytest.fixture(scope="module")
def private_folder(tmp_path_factory, encoder) -> Path:
    """A desk with a private champion; people are few, so epsilon is large. Copy it, don't touch it."""
    folder = tmp_path_factory.mktemp("private") / "desk"
    project = desk_of(folder, encoder, people(), method="private-head", epsilon=60.0)
    train(project)
    project.database.dispose()
    return folder


@pytest.fixture
def private(tmp_path: Path, private_folder: Path) -> Project:
    """A copy of the test's own."""
    return copy_desk(private_folder, tmp_path / "desk")


def test_the_successor_spends_budget_again_and_the_receipt_says_so(private):
    receipt = erase(private, "alma").receipt
    how = receipt["versions"]["v1"]["how"]
    assert alias(private, CHAMPION) == "v2"
    together = epsilon_of(math.sqrt(2) * mu_of(60.0, DELTA), DELTA)
    assert "with noise drawn anew" in how
    assert f"epsilon = {together:.3g} with delta = 1e-06 after 2 releases" in how
    assert "not the same to the byte" in how


def test_the_ledger_outlives_the_versions_that_it_tells_of(private):
    erase(private, "alma")
    assert not (private.kept / "versions" / "v1").exists()
    told = [line.details["version"] for line in read_audit(private) if line.action == SPENT]
    assert told == ["v1", "v2"]
    manifest = version_manifest(private, "v2")
    assert manifest["spent"] == spent(private)
    assert manifest["spent"]["releases"] == 2
    assert manifest["facts"]["privacy"]["people"] == len(teachers(private))
    assert "alma" not in teachers(private)
    both = math.sqrt(2) * mu_of(60.0, DELTA)
    assert delta_of(both, manifest["spent"]["epsilon"]) == pytest.approx(DELTA, rel=1e-3)


def test_the_card_states_the_promise_its_unit_and_what_is_left_out(private):
    card = (private.kept / "versions" / "v1" / "README.md").read_text()
    part = card.split("## Differential privacy\n", 1)[1].split("\n## ", 1)[0]
    assert f"ε = 60, δ = 1e-06 (μ = {mu_of(60.0, DELTA):.4f}), for {len(teachers(private))} people" in part
    assert "all rows of one subject" in part
    assert "Not covered: the labels' names" in part
    assert "test rows" in part


def binomial_cumulant(noise_multiplier: float, rate: float, order: int) -> float:
    """Of one step of noisy descent, in closed form."""
    return math.log(sum(
        math.comb(order, drawn) * (1 - rate) ** (order - drawn) * rate**drawn
        * math.exp(drawn * (drawn - 1) / (2 * noise_multiplier**2))
        for drawn in range(order + 1)
    ))  # fmt: skip


def test_releases_of_both_methods_are_summed_and_the_card_tells_of_the_descent(private):
    trained = {"method": "private-lora", "epsilon": 40.0}
    project = Project(private.folder, change_settings(private.settings, "train", **trained))
    manifest = version_manifest(project, train(project).name)
    told, head, votes = manifest["facts"]["privacy"], mu_of(60.0, DELTA), mu_of(40.0, DELTA)
    multiplier, rate, steps = told["noise_multiplier"], told["sample_rate"], told["steps"]
    bounds = []
    for order in range(2, 9):
        descent = max(steps * binomial_cumulant(multiplier, rate, order), order * (order - 1) * votes**2 / 2)
        total = order * (order - 1) * head**2 / 2 + descent
        rest = math.log(1 - 1 / order) - (math.log(DELTA) + math.log(order)) / (order - 1)
        bounds.append(total / (order - 1) + rest)
    assert manifest["spent"] == spent(project)
    assert manifest["spent"]["releases"] == 2
    assert 60 < manifest["spent"]["epsilon"] <= min(bounds)
    card = (project.kept / "versions" / "v2" / "README.md").read_text()
    assert f"{steps} steps, sample rate {rate:g}, noise multiplier {multiplier:.4f}, gradients cut to" in card
    assert "Noise and draws come from the operating system's secure source." in card
    assert "settings that somebody chose by looking at rows" in card


def test_where_only_withdrawing_is_asked_for_no_budget_is_spent(private):
    receipt = erase(private, "alma", withdraw_only=True).receipt
    assert alias(private, CHAMPION) is None
    assert "would spend privacy budget again" in receipt["versions"]["v1"]["how"]
    assert spent(private)["releases"] == 1


def test_without_opacus_nothing_is_destroyed_before_that_is_told(private, monkeypatch):
    trained = {"method": "private-lora", "epsilon": 40.0}
    project = Project(private.folder, change_settings(private.settings, "train", **trained))
    promote(project, train(project).name, "to be tried")
    before = plan_erasure(project, "alma")
    monkeypatch.setitem(sys.modules, "opacus", None)  # as an import of what is not installed ends
    with pytest.raises(MissingExtra, match="private-lora needs Opacus"):
        erase(project, "alma")
    assert plan_erasure(project, "alma") == before
    assert open_vault(project).keys.tombstones() == {}
    erase(project, "alma", withdraw_only=True)
    assert alias(project, CHAMPION) is None


def test_a_version_that_too_few_people_are_left_for_is_withdrawn(tmp_path, encoder):
    project = desk_of(tmp_path / "desk", encoder, people(), method="private-head")
    them = teachers(project)
    assert "alma" in them
    mu = (
        SENSITIVITY * math.sqrt(FEATURES) * LEAST_PEOPLE / (len(them) - 0.5)
    )  # all are enough, one less is not
    train_settings = {"epsilon": epsilon_of(mu, DELTA)}
    project = Project(project.folder, change_settings(project.settings, "train", **train_settings))
    train(project)
    receipt = erase(project, "alma").receipt
    assert alias(project, CHAMPION) is None
    assert "no version can be trained on what is left (epsilon = " in receipt["versions"]["v1"]["how"]
    assert f"there are {len(them) - 1}" in receipt["versions"]["v1"]["how"]


def test_no_private_version_is_made_while_the_ledger_cannot_be_trusted(private):
    path = audit_file(private)
    path.write_bytes(path.read_bytes().replace(b'"epsilon":60.0', b'"epsilon":1.0'))
    with pytest.raises(Corrupt):
        train(private)
    assert [path.name for path in (private.kept / "versions").iterdir()] == ["v1"]
