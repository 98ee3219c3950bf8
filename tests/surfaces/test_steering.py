"""What a server's log says of the decisions that it makes while it serves, and how often it looks."""

import asyncio
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from millwright.experiment.rollout import DecisionRecord
from millwright.store.tables import experiments
from millwright.surfaces import steering
from millwright.surfaces.steering import news_of, steer
from tests.conftest import csv_of, desk_rows
from tests.experiment.logs import begun, with_versions

SHIP = DecisionRecord("spring", "ship", "v2 is better", {}, False, "2026-01-01T00:00:00.000+00:00")


def test_what_waits_for_a_person_is_said_once_and_not_as_if_it_was_done():
    waits = "experiment spring: ship: waits for `millwright experiment approve`: v2 is better"
    assert news_of(SHIP, None) == waits
    assert news_of(replace(SHIP, reason="v2 is better by more"), SHIP) is None
    assert news_of(SHIP, replace(SHIP, kind="hold", is_applied=True)) == waits
    assert news_of(SHIP, replace(SHIP, kind="advance")) == waits
    assert news_of(SHIP, replace(SHIP, experiment="winter")) == waits


def test_what_was_done_is_said_each_time_and_a_hold_never():
    done = replace(SHIP, kind="shift", reason="v2 70%", is_applied=True)
    assert news_of(done, done) == "experiment spring: shift: v2 70%"
    assert news_of(replace(done, kind="hold"), None) is None
    assert news_of(None, SHIP) is None


def test_a_review_that_took_its_time_and_failed_is_tried_again_as_late_as_one_that_did_not(
    make_project, monkeypatch
):
    project = with_versions(make_project(csv_of(desk_rows(30))))
    begun(project)
    with project.database.begin() as connection:
        connection.execute(update(experiments).values(plan={"nobody": "reads this"}))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    clock = count(0.0, 20.0)  # each look lasts 20 s
    monkeypatch.setattr(steering, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(steering, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(steer(project))
    assert waits == [project.settings.run.check_seconds, 400.0, 400.0]  # 20 s are 5 % of 400 s
