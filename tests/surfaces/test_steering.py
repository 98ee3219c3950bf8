"""What a server's log says of the decisions that it makes while it serves."""

from dataclasses import replace

from millwright.experiment.rollout import DecisionRecord
from millwright.surfaces.steering import news_of

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
