"""The cost of a stage: its own seconds and its own peak of memory."""

import resource

import pytest

from millwright.train import cost
from millwright.train.cost import Clock, peak_memory_bytes

BIG = 200_000_000


def test_a_stage_has_its_own_peak_and_the_whole_has_the_greatest():
    clock = Clock()
    with clock.stage("large", 10):
        held = bytearray(BIG)
    del held
    with clock.stage("small", 10):
        pass
    large, small = (clock.stages[name]["peak_memory_bytes"] for name in ("large", "small"))
    assert large - small > BIG / 2
    assert clock.peak_memory_bytes() >= large


def test_rows_a_second_are_rows_over_seconds():
    clock = Clock()
    with clock.stage("sum", 1_000):
        sum(range(2_000_000))
    found = clock.stages["sum"]
    assert (
        found["rows_per_second"] * found["seconds"] == 1_000
        or abs(found["rows_per_second"] * found["seconds"] - 1_000) < 1_000 * 0.0011 / found["seconds"]
    )


def test_a_stage_may_find_out_how_many_rows_it_has():
    clock, found = Clock(), []
    with clock.stage("read", lambda: len(found)):
        found += range(500_000)
    cost = clock.stages["read"]
    assert cost["rows_per_second"] * cost["seconds"] == pytest.approx(500_000, rel=0.2)


def test_a_stage_that_runs_again_over_its_rows_costs_both_runs():
    clock = Clock()
    for held in (BIG, 1):
        with clock.stage("features", 1_000):
            kept = bytearray(held)
            sum(range(2_000_000))
        del kept
        if held == BIG:
            first = clock.stages["features"]
    both = clock.stages["features"]
    assert both["seconds"] > first["seconds"]
    assert both["rows_per_second"] < first["rows_per_second"]
    assert both["peak_memory_bytes"] == first["peak_memory_bytes"]


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_of_all_time_is_in_bytes_on_every_system(tmp_path, monkeypatch, platform, unit):
    monkeypatch.setattr(cost, "_STATUS", tmp_path / "absent")
    monkeypatch.setattr(cost.sys, "platform", platform)
    assert peak_memory_bytes() == unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_where_the_peak_cannot_be_reset_a_stage_names_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_RESET", tmp_path / "absent" / "clear_refs")
    monkeypatch.setattr(cost, "_STATUS", tmp_path / "absent" / "status")
    clock = Clock()
    with clock.stage("any", 1):
        pass
    assert "peak_memory_bytes" not in clock.stages["any"]
    assert clock.peak_memory_bytes() == peak_memory_bytes() > 0
