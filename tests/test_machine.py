import os

import pytest

from millwright import machine


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 8), ("900000 100000\n", 8), ("", 8)],
)
def test_a_container_uses_no_more_cores_than_its_quota(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    assert machine.cores() == 8  # no file
    (tmp_path / "cpu.max").write_text(quota)
    assert machine.cores() == cores
