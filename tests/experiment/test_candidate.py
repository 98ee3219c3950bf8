"""Values of a version that no user met, against what a brute force over the simulated users says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import update

from millwright.errors import BadInput
from millwright.experiment import candidate
from millwright.experiment.candidate import CandidateValue, estimate_candidate
from millwright.project import Project
from millwright.records import Opinion, Prediction
from millwright.registry.versions import retire
from millwright.settings import ProjectSection
from millwright.store.tables import predictions
from tests.conftest import csv_of, desk_rows, keep
from tests.experiment.logs import begun, exposure, hour, opinion, with_versions
from tests.serve.tiny import Tiny, point

LONG_AGO = "2020-01-01T00:00:00.000+00:00"
RIGHT = {"card": "card", "code": "pin", "wire": "transfer"}


class Reading(Tiny):
    """Knows besides what some words mean."""

    def __init__(self, **meanings: str) -> None:
        super().__init__()
        self.meanings = meanings

    def features(self, texts: Sequence[str]) -> np.ndarray:
        return super().features([self.meanings.get(text.split()[0], text) for text in texts])


# Tiny says card of what it does not know.
MODELS = {"v1": Reading(), "v2": Reading(code="pin", wire="transfer"), "v3": Reading(code="pin")}


def says(version: str, text: str) -> str:
    model = MODELS[version]
    return model.labels[model.probabilities(model.features([text]))[0].argmax()]


@pytest.fixture
def project(make_project) -> Project:
    return with_versions(make_project(csv_of(desk_rows(30))), 3)


def live(project: Project, users: int, seed: int = 0) -> list[str]:
    """Users of an experiment of v2 against v1 at even shares who judge truly; returns what they asked."""
    rng, records, asked = np.random.default_rng(seed), [], []
    for number in range(users):
        text, at = f"{rng.choice(list(RIGHT), p=[0.5, 0.3, 0.2])} {number}", 0.001 * number
        given = exposure(project, f"u{number}", at)
        given = replace(given, text=text, label=says(given.version, text))
        records += [given, opinion(given.id, at + 0.1, label=RIGHT[text.split()[0]])]
        asked.append(text)
    keep(project, *records)
    return asked


def estimated(project: Project, **how: object) -> CandidateValue:
    return estimate_candidate(project, "v3", at=hour(100), load=MODELS.__getitem__, **how)  # type: ignore[arg-type]


def test_a_version_that_nobody_met_is_valued_as_if_everybody_had(project):
    begun(project)
    asked = live(project, 600)
    found = estimated(project)
    truth = np.mean([says("v3", text) == RIGHT[text.split()[0]] for text in asked])
    assert truth == pytest.approx(0.8, abs=0.05)
    assert found.value.snips == pytest.approx(truth, abs=4 * found.value.snips_error)
    assert found.value.ips == pytest.approx(truth, abs=4 * found.value.ips_error)
    assert found.value.doubly_robust == pytest.approx(truth, abs=4 * found.value.doubly_robust_error)
    assert (found.requests, found.covered) == (600, 1.0)
    assert found.served == pytest.approx(0.5 + 0.5 * (0.3 + 0.2), abs=4 * found.served_error)


def test_where_all_served_versions_agree_an_answer_had_probability_one(project):
    begun(project)
    live(project, 600)
    found = estimated(project)
    # v1 and v2 say the same of cards alone, so the weights are 1 there and 0 or 2 elsewhere.
    shares = np.array([0.5, 0.25, 0.25])
    squared = (shares * [1, 4, 0]).sum()
    assert found.value.effective / 600 == pytest.approx(1 / squared, rel=0.1)
    assert found.agrees == pytest.approx(0.75, abs=0.06)


def test_answers_that_nobody_could_get_are_counted(project):
    records = []
    for number in range(150):
        name, word = f"p{number}", "code" if number % 5 == 0 else "card"
        given = Prediction(name, "v1", f"{word} {number}", "card", 0.8, None, False, hour(0))
        records += [given, opinion(name, 0.1, label=RIGHT[word])]
    keep(project, *records)
    found = estimated(project)
    assert (found.covered, found.agrees, found.requests) == (0.8, 0.8, 150)
    assert (found.served, found.value.snips) == (0.8, 1.0)


def test_requests_that_may_have_taught_it_do_not_judge_it(project):
    told, records = {"rating": None, "comment": None, "created_at": LONG_AGO}, []
    for number in range(30):
        name = f"p{number}"
        given = Prediction(name, "v1", f"card {number}", "card", 0.8, None, False, LONG_AGO)
        records += [given, Opinion(f"o{number}", name, "card", **told)]
    keep(project, *records)
    held_out = {"data": project.settings.data.model_copy(update={"validation_share": 0.0, "test_share": 0.0})}
    nobody = Project(project.folder, project.settings.model_copy(update=held_out))
    with pytest.raises(BadInput, match="no request that v3 did not learn from"):
        estimated(nobody)


def test_too_few_decisions_are_refused(project):
    begun(project)
    live(project, 60)
    with pytest.raises(BadInput, match="at least 100 are needed"):
        estimated(project)
    with pytest.raises(BadInput, match="must count what is good, got 'errors'"):
        estimated(project, metric="errors")


def test_users_who_only_correct_mistakes_mislead_and_those_who_are_asked_do_not(project):
    begun(project)
    rng, records = np.random.default_rng(1), []
    for number in range(1_200):
        text, at = f"{rng.choice(list(RIGHT))} {number}", 0.001 * number
        given = exposure(project, f"u{number}", at, ask=number % 2 == 0)
        given = replace(given, text=text, label=says(given.version, text))
        right = RIGHT[text.split()[0]]
        records.append(given)
        if given.ask or given.label != right:
            records.append(opinion(given.id, at + 0.1, label=right))
    keep(project, *records)
    asked, everyone = estimated(project, heard="asked"), estimated(project)
    assert asked.requests == 600
    assert asked.value.ips == pytest.approx(2 / 3, abs=4 * asked.value.ips_error)
    assert everyone.value.ips < 2 / 3 - 4 * everyone.value.ips_error


def test_times_when_a_version_served_that_was_erased_are_left_out_as_a_whole(project):
    begun(project)
    live(project, 200)
    point(project, "challenger", "v3")
    with project.database.begin() as connection:
        retire(connection, "v2", "v3", "e-1")
    with pytest.raises(BadInput, match="but for 200 from when v2 served too, retired since by an erasure"):
        estimated(project)
    records = []
    for number in range(300):  # later, when v1 served alone; of the first of them a request was left out
        given = Prediction(f"p{number}", "v1", f"card {number}", "card", 0.8, f"u{number}", False, hour(9))
        records += [given, opinion(given.id, 9.1, label="card")]
    keep(project, *records)
    found = estimated(project)
    assert (found.requests, found.left_out, found.gone) == (300, 200, ("v2",))
    assert found.value.snips == 1.0


def test_only_requests_that_may_judge_it_are_opened(project):
    begun(project)
    live(project, 300)
    before = Prediction("before", "v1", "card", "card", 0.8, "u0", False, LONG_AGO)
    silent = exposure(project, "silent", 1.0)
    late = exposure(project, "late", 99.0)
    keep(project, before, silent, late, opinion("late", 99.5, label="card"))
    told = {"rating": None, "comment": None, "created_at": LONG_AGO}
    keep(project, Opinion("of-before", "before", "card", **told))
    found = estimated(project)
    with project.database.begin() as connection:
        for name in ("before", "silent", "late"):
            damaged = update(predictions).where(predictions.c.id == name)
            connection.execute(damaged.values(sealed=b"\x01damaged"))
    assert estimated(project) == found


def test_a_desk_of_spans_is_refused(project):
    spans = project.settings.model_copy(update={"project": ProjectSection(task="token-classification")})
    with pytest.raises(BadInput, match="`millwright experiment estimate` knows texts with one label each"):
        estimated(Project(project.folder, spans))


def test_requests_whose_window_is_open_do_not_count(project):
    begun(project)
    live(project, 400)
    later = estimate_candidate(project, "v3", at=hour(24.2), load=MODELS.__getitem__)
    assert later.requests == 201  # of users in the order of a thousandth of an hour


def test_of_very_many_requests_the_newest_count(project, monkeypatch):
    records = []
    for number in range(300):  # the champion says card of everything, which was wrong of the first half
        name, word = f"p{number}", "code" if number < 150 else "card"
        given = Prediction(name, "v1", f"{word} {number}", "card", 0.8, None, False, hour(0.001 * number))
        records += [given, opinion(name, 0.5, label=RIGHT[word])]
    keep(project, *records)
    monkeypatch.setattr(candidate, "MOST_REQUESTS", 200)
    found = estimated(project)
    assert (found.requests, found.served) == (200, 0.75)
