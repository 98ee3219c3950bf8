"""The cost of a stage: its own seconds and its own peak of memory."""

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


def test_where_the_peak_cannot_be_reset_a_stage_names_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_RESET", tmp_path / "absent" / "clear_refs")
    monkeypatch.setattr(cost, "_STATUS", tmp_path / "absent" / "status")
    clock = Clock()
    with clock.stage("any", 1):
        pass
    assert "peak_memory_bytes" not in clock.stages["any"]
    assert clock.peak_memory_bytes() == peak_memory_bytes() > 0
