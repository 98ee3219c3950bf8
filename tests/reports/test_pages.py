"""Pages open without a network, escape what users wrote, and show the figures they were given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from millwright.records import Interval, TurnRecord
from millwright.reports.charts import turns_chart
from millwright.reports.pages import data_page, evaluation_page, turns_page
from millwright.train.metrics import evaluate

EVIL = "<script>alert(1)</script>"
EVALUATION = evaluate(
    np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
    np.array([0, 1, 1]),
    [EVIL, "pin"],
    {"channel": ["app", EVIL, "app"]},
)
REPORT = {
    "rows": 12,
    "splits": {"train": 8, "validation": 2, "test": 2},
    "labels": {EVIL: {"train": 8, "validation": 2, "test": 2}},
    "largest_over_smallest_label": 1.0,
    "characters": {"min": 1, "p05": 2, "median": 3, "p95": 4, "max": 5},
    "near_duplicates": {"pairs": 1, "across_splits": 0, "listed": [["file:a.csv:1", "file:a.csv:2", 0.9]]},
    "texts_in_more_than_one_split": {"count": 0, "listed": []},
    "groups_in_more_than_one_split": 0,
    "conflicting_labels": {"count": 0, "listed": []},
    "broken_texts": {"count": 0, "listed": []},
    "excluded": {"empty text": 3},
    "notes": [EVIL],
}


def record(number, before, after, promoted):
    return TurnRecord(
        number=number,
        dataset="d-1",
        rows=1000 * number,
        new_rows=100,
        champion="v1" if before else None,
        challenger=f"v{number}",
        before=Interval(before, before - 0.02, before + 0.02) if before else None,
        after=Interval(after, after - 0.02, after + 0.02),
        held_out=300,
        p_value=0.01 if before else None,
        promoted=promoted,
        reason=EVIL,
        created_at="2026-01-01T00:00:00.000+00:00",
    )


TURNS = [record(1, None, 0.6, True), record(2, 0.61, 0.7, True), record(3, 0.7, 0.69, False)]
PAGES = {
    "data": data_page(REPORT, EVIL),
    "evaluation": evaluation_page(EVALUATION, EVIL, {"version": "v1"}),
    "turns": turns_page(TURNS),
}


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and value.startswith("http")
        ]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_is_well_formed_fetches_nothing_and_escapes(name):
    parser = Balanced()
    parser.feed(PAGES[name])
    assert (parser.open, parser.fetched, parser.scripts) == ([], [], 0)
    assert "&lt;script&gt;" in PAGES[name]


def test_the_evaluation_page_shows_the_figures():
    assert f"{EVALUATION.accuracy.value:.4f}" in PAGES["evaluation"]
    assert f"{EVALUATION.log_loss.high:.4f}" in PAGES["evaluation"]


def test_the_data_page_counts_what_was_left_out():
    assert re.search(r"empty text</td><td class=\"n\">3<", PAGES["data"])


def test_the_chart_has_a_point_a_turn_and_says_who_was_kept():
    chart = turns_chart(TURNS)
    assert [f"turn {n}: v{n}" in chart for n in (1, 2, 3)] == [True] * 3
    assert chart.count("(kept champion)") == 1


def test_the_same_turns_give_the_same_bytes():
    assert turns_chart(TURNS) == turns_chart(TURNS)
