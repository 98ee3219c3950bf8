"""What counts of a user, by hand-made logs."""

from dataclasses import replace

import numpy as np
import pytest

from millwright.experiment.outcomes import METRICS, RESPONSE, Units, read_units
from millwright.project import Project
from millwright.records import Opinion, Prediction
from millwright.registry.traffic import current_traffic, start_traffic
from tests.conftest import csv_of, desk_rows, keep
from tests.experiment.logs import begun, exposed, failed, hour, said, with_versions

LONG_AGO = "2020-01-01T00:00:00.000+00:00"


@pytest.fixture
def project(make_project) -> Project:
    made = with_versions(make_project(csv_of(desk_rows(30))))
    begun(made)
    return made


def units(project: Project, *metrics: str, at: float = 100, only_asked: bool = False) -> Units:
    return read_units(project, "x", metrics, hour(at), window_hours=1, slow_s=1.0, only_asked=only_asked)


@pytest.mark.parametrize(
    ("metric", "opinion", "expected"),
    [
        ("accepted", {"label": "card"}, 1.0),
        ("accepted", {"label": "pin"}, 0.0),
        ("accepted", {"rating": 4}, 0.75),
        ("accepted", {"comment": "hm"}, None),
        ("not_corrected", {"comment": "hm"}, 1.0),
        ("not_corrected", {"label": "pin"}, 0.0),
        ("not_corrected", {"rating": 1}, 0.0),
        ("satisfaction", {"csat": 2}, 0.25),
        ("recommendation", {"nps": 9}, 1.0),
        ("recommendation", {"nps": 8}, 0.5),
        ("recommendation", {"nps": 6}, 0.0),
        ("resolved", {"outcome": "resolved"}, 1.0),
        ("resolved", {"outcome": "escalated"}, 0.0),
        ("escalations", {"outcome": "escalated"}, 1.0),
        ("bought", {"outcome": "bought"}, 1.0),
        ("complaints", {"csat": 2}, 1.0),
        ("complaints", {"rating": 3}, 0.0),
        ("errors", {"rating": 1}, 0.0),
    ],
)
def test_what_an_opinion_counts(project, metric, opinion, expected):
    exposed(project, "p", 0)
    said(project, "p", 0.1, **opinion)
    (found,) = units(project, metric).outcomes[metric]
    assert found == expected if expected is not None else np.isnan(found)


def test_every_metric_says_something_or_nothing_of_a_silent_user(project):
    exposed(project, "p", 0, seconds=2.0)
    found = units(project, *METRICS)
    silent = {name: found.outcomes[name][0] for name in METRICS}
    assert {name for name, value in silent.items() if np.isnan(value)} == {
        name for name, metric in METRICS.items() if metric.needs_answer
    }
    assert silent["slow"] == 1.0
    assert silent["not_corrected"] == 1.0
    assert found.outcomes[RESPONSE][0] == 0.0


def test_an_answer_from_memory_says_nothing_of_how_long_a_version_takes(project):
    exposed(project, "p", 0, seconds=None)
    found = units(project, "slow", "cost").outcomes
    assert np.isnan(found["slow"][0])
    assert np.isnan(found["cost"][0])


def test_the_newest_opinion_replaces_what_it_contradicts(project):
    exposed(project, "p", 0)
    said(project, "p", 0.1, label="pin")
    said(project, "p", 0.2, label="card")
    said(project, "p", 0.3, comment="thanks")
    assert units(project, "accepted").outcomes["accepted"] == [1.0]


def test_what_reviewers_said_teaches_and_judges_no_version(project):
    exposed(project, "p", 0)
    exposed(project, "q", 0)
    said(project, "p", 0.1, label="card")
    for prediction in ("p", "q"):
        said(project, prediction, 0.2, label="pin", key=f"review:{prediction}:0")
    found = units(project, "accepted", "not_corrected").outcomes
    assert found["accepted"] == pytest.approx([1.0, np.nan], nan_ok=True)
    assert list(found["not_corrected"]) == [1.0, 1.0]


def test_outcomes_add_up_where_scores_and_labels_replace_one_another(project):
    exposed(project, "p", 0)
    said(project, "p", 0.1, outcome="escalated", csat=1)
    said(project, "p", 0.2, outcome="resolved", csat=5)
    found = units(project, "escalations", "resolved", "satisfaction").outcomes
    assert [found[name][0] for name in ("escalations", "resolved", "satisfaction")] == [1.0, 1.0, 1.0]


def test_what_comes_after_the_window_changes_nothing_and_before_its_end_nothing_is_closed(project):
    exposed(project, "p", 0)
    said(project, "p", 0.5, label="card")
    said(project, "p", 1.5, label="pin")
    assert units(project, "accepted").outcomes["accepted"] == [1.0]
    assert list(units(project, "accepted", at=0.9).is_closed_N) == [False]
    assert list(units(project, "accepted", at=1.0).is_closed_N) == [True]


def test_a_user_is_one_row_with_the_arm_of_the_first_request(project):
    own = exposed(project, "a", 0, subject="ada")
    other = "v2" if own == "champion" else "champion"
    exposed(project, "b", 0.2, subject="ada")
    exposed(project, "c", 0.3, subject="ada", arm=other)  # as after a step: it tells of the other arm
    exposed(project, "d", 2.0, subject="ada")  # after the window
    said(project, "a", 0.4, label="card")
    said(project, "b", 0.4, label="pin")
    said(project, "c", 0.4, label="pin")
    said(project, "d", 2.1, label="pin")
    found = units(project, "accepted")
    assert list(found.arm_N) == [own]
    assert found.outcomes["accepted"] == [0.5]


def test_requests_after_the_shares_changed_count_for_nobody_not_even_where_the_arm_stays(project):
    own = exposed(project, "a", 0, subject="ada")
    said(project, "a", 0.1, label="card")
    current = current_traffic(project)
    assert current is not None
    with project.database.begin() as connection:
        start_traffic(connection, "x", current.salt, [replace(arm, share=0.5) for arm in current.arms])
    exposed(project, "b", 0.2, subject="ada", arm=own)
    said(project, "b", 0.3, label="pin")
    assert units(project, "accepted").outcomes["accepted"] == [1.0]


def test_failures_are_users_too_and_count_as_errors(project):
    failed(project, "f", 0, "v2", subject="ada")
    exposed(project, "p", 0.1, subject="ada", arm="v2")
    found = units(project, "errors", "accepted")
    assert found.outcomes["errors"] == [1.0]
    assert np.isnan(found.outcomes["accepted"]).all()


def test_a_user_whom_a_version_failed_is_no_good_news_in_any_metric(project):
    failed(project, "f", 0, "v2", subject="ada")
    exposed(project, "p", 0.1, subject="bob", arm="v2", seconds=0.25)
    failed(project, "g", 0.2, "v2", subject="bob")
    said(project, "p", 0.3, outcome="resolved")
    found = units(project, *METRICS).outcomes
    silent = [name for name, metric in METRICS.items() if not metric.needs_answer]
    assert {name: found[name][0] for name in silent} == {name: 1.0 - METRICS[name].is_good for name in silent}
    assert all(np.isnan(found[name][0]) for name in METRICS if name not in silent)
    halves = ("resolved", "not_corrected", "complaints", "escalations")
    assert {name: found[name][1] for name in halves} == dict.fromkeys(halves, 0.5)
    assert found["bought"][1] == 0.0
    assert [found[name][1] for name in ("errors", "slow", "cost")] == [0.0, 0.0, 0.25]  # of the first request


def test_what_the_server_knows_at_once_is_that_of_the_first_request_and_never_changes(project):
    exposed(project, "p", 0, subject="ada", arm="v2", seconds=0.25)
    before = units(project, "errors", "slow", "cost", at=0.01).outcomes
    failed(project, "q", 0.1, "v2", subject="ada")
    exposed(project, "r", 0.2, subject="ada", arm="v2", seconds=9.0)
    after = units(project, "errors", "slow", "cost").outcomes
    assert [before[name][0] for name in ("errors", "slow", "cost")] == [0.0, 0.0, 0.25]
    assert [after[name][0] for name in ("errors", "slow", "cost")] == [0.0, 0.0, 0.25]


def test_opinions_of_those_who_are_always_asked_alone_if_wished(project):
    exposed(project, "p", 0, ask=True)
    exposed(project, "q", 0.1, ask=False)
    for name in "pq":
        said(project, name, 0.2, label="card")
    assert units(project, "accepted", only_asked=True).outcomes["accepted"] == pytest.approx(
        [1.0, np.nan], nan_ok=True
    )


def test_what_a_user_did_before_the_experiment_is_known_and_what_came_later_is_not(make_project):
    project = with_versions(make_project(csv_of(desk_rows(30))))
    for name, person in (("a", "ada"), ("b", "ada"), ("c", "bob")):
        keep(project, Prediction(name, "v1", "card", "card", 0.9, person, False, LONG_AGO))
    told = {"rating": None, "comment": None, "created_at": LONG_AGO}
    keep(project, Opinion("1", "a", "card", **told), Opinion("2", "b", "pin", **told))
    begun(project)
    for at, person in enumerate(("ada", "bob", "cyd")):
        exposed(project, person, at, subject=person)
    keep(project, Opinion("3", "c", "card", None, None, hour(0.5)))  # said only after the start
    said(project, "ada", 0.1, label="card")
    found = units(project, "accepted", "not_corrected")
    assert found.before["accepted"] == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    assert found.before["not_corrected"] == pytest.approx([0.5, 1.0, np.nan], nan_ok=True)
    assert found.outcomes["accepted"] == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
