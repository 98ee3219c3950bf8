"""When a turn is due, by hand-made standings, and that standings are what the tables say."""

from dataclasses import replace

import pytest
from sqlalchemy import insert

from millwright.drift.records import DriftRecord
from millwright.runner.due import Standing, awaits_users, is_drift_check_due, standing, why_turn
from millwright.settings import RunSection
from millwright.store.tables import drifts
from tests.desk import opine, telling_rows

MIN_ROWS = 10
QUIET = Standing(
    has_champion=True, waiting=50, hours_since_turn=5.0, hours_since_drift_check=5.0, drifted=False,
    experiment=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "settings", "words"),
    [
        ({}, {}, None),
        ({"waiting": 100}, {}, "users labelled 100 new predictions, run.rows is 100"),
        ({"waiting": 100, "has_champion": False}, {}, None),
        ({"waiting": 100, "experiment": "turn-2"}, {}, None),
        ({"drifted": True}, {}, "drift was found, and 50 new rows may help"),
        ({"drifted": True, "waiting": 9}, {}, None),
        ({}, {"hours": 5.0}, "run.hours is 5, and 50 rows are new"),
        ({}, {"hours": 5.1}, None),
        ({"waiting": 9}, {"hours": 5.0}, None),
        ({"hours_since_turn": None}, {"hours": 500.0}, "run.hours is 500, and 50 rows are new"),
    ],
)
def test_a_turn_is_due_on_rows_on_drift_or_on_time(found, settings, words):
    assert why_turn(replace(QUIET, **found), RunSection(**settings), MIN_ROWS) == words


@pytest.mark.parametrize(
    ("found", "due"),
    [
        ({}, False),
        ({"hours_since_drift_check": 24.0}, True),
        ({"hours_since_drift_check": None}, True),
        ({"hours_since_drift_check": None, "has_champion": False}, False),
    ],
)
def test_drift_is_looked_for_every_so_often(found, due):
    assert is_drift_check_due(replace(QUIET, **found)) == due


def test_a_standing_is_what_the_tables_say(desk):
    opine(desk, telling_rows(12, seed=5))
    checked = DriftRecord("v1", "traffic", 200, 200, "p", 1, 0.025, (), True, "2199-01-01T00:00:00.000+00:00")
    with desk.database.begin() as connection:
        record = {**vars(checked), "tests": []}
        connection.execute(insert(drifts).values(record=record, checked_at=checked.checked_at))
    found = standing(desk, "2199-01-01T12:00:00.000+00:00")
    assert found.hours_since_turn is not None
    assert found.hours_since_turn > 24 * 365
    assert replace(found, hours_since_turn=None) == Standing(
        has_champion=True, waiting=12, hours_since_turn=None, hours_since_drift_check=12.0, drifted=True,
        experiment=None,
    )  # fmt: skip
    assert awaits_users(desk) is None
