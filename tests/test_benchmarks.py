"""Benchmarks: which of them `make bench` runs, when and where each row was measured, which goals are met."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
NOT_BY_ITSELF = {"pages", "http_stages"}  # the one comes last, the other is run by http_overhead

SLOW, QUICK = {"accuracy": 0.93, "seconds": 300.0}, {"accuracy": 0.94, "seconds": 15.0}


@pytest.fixture
def load(monkeypatch):
    """Imports a module of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture
def record(load, tmp_path, monkeypatch):
    found = load("record")
    monkeypatch.setattr(found, "RECORDS", tmp_path)
    return found


def test_make_bench_runs_every_benchmark_once():
    listed = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()
    commands = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert sorted(listed) == sorted(commands - NOT_BY_ITSELF)


def test_every_record_has_a_section_with_a_picture_and_the_page_is_what_they_make(load):
    pages = load("pages")
    names = {path.stem for path in (ROOT / "docs" / "benchmarks").glob("*.json")}
    assert names <= set(pages.SECTIONS)
    assert all(section.picture for section in pages.SECTIONS.values())
    assert pages.page(pages.read_records()) == pages.PAGE.read_text()


def origins(record, name):
    return [row["measured_on"] for row in json.loads((record.RECORDS / f"{name}.json").read_text())["rows"]]


def test_a_row_that_an_earlier_run_measured_stays_that_runs(record, monkeypatch):
    left, again = {"what": "left", "seconds": 1.0}, {"what": "again", "seconds": 2.0}
    monkeypatch.setattr(record, "machine", lambda: {"processor": "old"})
    record.write_record("any", [left, again])
    monkeypatch.setattr(record, "machine", lambda: {"processor": "new"})
    rows = {row["what"]: row for row in record.read_rows("any")}
    rows["again"] = {"what": "again", "seconds": 3.0}
    for _ in range(2):  # a benchmark writes after each contestant
        record.write_record("any", list(rows.values()))
    assert [re.search("old|new", origin).group() for origin in origins(record, "any")] == ["old", "new"]


def test_a_row_that_is_measured_again_is_of_the_new_run_though_its_figures_are_the_same(record, monkeypatch):
    monkeypatch.setattr(record, "machine", lambda: {"processor": "old"})
    record.write_record("any", [{"what": "same", "seconds": 1.0}])
    monkeypatch.setattr(record, "machine", lambda: {"processor": "new"})
    record.write_record("any", [{"what": "same", "seconds": 1.0}])
    assert [re.search("old|new", origin).group() for origin in origins(record, "any")] == ["new"]


def test_every_row_of_every_record_says_when_and_where_it_was_measured():
    records = [json.loads(path.read_text()) for path in (ROOT / "docs" / "benchmarks").glob("*.json")]
    assert [
        record["name"] for record in records if any("measured_on" not in row for row in record["rows"])
    ] == []


def timed(contestant, row, times=None):
    turns = {} if times is None else {"times_faster": times, "times_low": times - 1, "times_high": times + 1}
    return {"contestant": contestant, "shots": 1, "processor": "one", **row, **turns}


@pytest.mark.parametrize(
    ("peer", "met"),
    [
        (timed("setfit", SLOW, 20.0), True),
        (timed("setfit", SLOW, 9.0), False),
        (timed("setfit", {"accuracy": 0.95, "seconds": 300.0}, 20.0), False),
        (timed("setfit", SLOW), None),
        ({"contestant": "setfit", "shots": 1, "missing": "pip refused"}, None),
    ],
)
def test_a_ratio_counts_only_if_its_contestants_took_turns(load, peer, met):
    rows = [{**timed("head", QUICK), "shots": shots} for shots in (1, 5, 10)]
    told = list(load("goals").goals({"few_shot": [*rows, peer]}))
    assert [met for _, _, met in told] == [met, None, None]


def test_the_best_trainer_is_the_one_that_is_most_accurate(load):
    rose_and_fell = {"accuracy": 0.93, "seconds": 200.0, "curve": [[150, 0.935], [200, 0.93]]}
    rows = [
        timed("head", QUICK),
        timed("trainer-default", SLOW, 40.0),
        timed("trainer-1e-4", {"accuracy": 0.90, "seconds": 100.0}, 7.0),
        timed("trainer-3e-4", rose_and_fell, 13.0),
        timed("trainer-5e-4", {"accuracy": 0.934, "seconds": 200.0}, 14.0),
    ]
    told = [
        measured for goal, measured, _ in load("goals").goals({"time_to_accuracy": rows}) if "best" in goal
    ]
    assert told == ["94.0% against 93.5%, 13 times (12 to 14)"]


def test_time_to_accuracy_compares_within_a_round_and_until_the_peers_best(load):
    module = load("time_to_accuracy")
    peer = module.CONTESTANTS[-1]
    heads = [[(10.0, 0.94)], [(20.0, 0.94)], [(10.0, 0.94)]]
    curves = [[(100.0, 0.93), (200.0, 0.92)], [(400.0, 0.93)], [(90.0, 0.90), (300.0, 0.93)]]
    row = module.summary(peer, curves, heads)
    assert (row["times_faster"], row["times_low"], row["times_high"]) == (20.0, 10.0, 30.0)
    assert "times_faster" not in module.summary(module.CONTESTANTS[0], heads, heads)


def test_few_rows_compare_the_draws_that_a_peer_took_in_turns_with_the_head(load):
    module = load("few_shot")
    head, slow = (2.0, 0.8), (30.0, 0.7)
    draws = [
        module.drawn("head", 5, 0, head, head),
        module.drawn("head", 5, 1, (4.0, 0.9), (4.0, 0.9)),
        module.drawn("setfit", 5, 0, slow, head),
        module.drawn("setfit", 10, 0, slow, None),  # by itself: no head of its run
    ]
    by_name = {(row["contestant"], row["shots"]): row for row in module.summaries(draws)}
    assert (by_name["head", 5]["accuracy"], by_name["head", 5]["draws"]) == (0.85, 2)
    assert (by_name["setfit", 5]["heads_accuracy"], by_name["setfit", 5]["times_faster"]) == (0.8, 15.0)
    assert not {"heads_accuracy", "times_faster"} & set(by_name["setfit", 10])
    shown = [{**by_name["head", 5], "shots": shots} for shots in (1, 10)]
    met = load("goals").goals({"few_shot": [*shown, by_name["head", 5], by_name["setfit", 5], *draws]})
    assert [told for _, told, _ in met][1] == "80.0% against 70.0%, 15 times (15 to 15)"
