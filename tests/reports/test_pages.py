"""Pages open without a network, escape what users wrote, and show the figures they were given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from millwright.data.prepare import prepare
from millwright.records import Interval, TurnRecord
from millwright.reports.charts import THEME, label_balance, turns_chart
from millwright.reports.pages import data_page, evaluation_page, turns_page, write_data_report
from millwright.train.metrics import evaluate
from tests.conftest import csv_of, desk_rows

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


@pytest.mark.parametrize("name", list(PAGES))
def test_every_colour_of_a_picture_is_the_pages_to_choose_in_the_dark(name):
    head, _, body = PAGES[name].partition("</head>")
    dark = head.partition("prefers-color-scheme: dark")[2]
    assert all(f"--chart-{variable}: #" in dark for variable in THEME.values())
    colours = re.findall(r"(?:fill|stroke): ([^;\"]+)", body)
    assert colours
    assert {colour.partition(",")[0] for colour in colours} <= {"none"} | {
        f"var(--chart-{variable}" for variable in THEME.values()
    }


def test_a_label_without_a_row_is_named_and_given_no_figure():
    found = evaluate(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ["card", "pin", "fee"], {})
    page = evaluation_page(found, "desk", {})
    assert "Without a row here, so not measured: pin, fee." in page
    assert "<td>card</td>" in page
    assert "<td>pin</td>" not in page


def test_what_to_know_before_believing_stands_above_the_figures():
    found = evaluate(np.array([[0.9, 0.1]]), np.array([0]), ["card", "pin"], {})
    page = evaluation_page(found, "desk", {})
    assert page.index("every row was right") < page.index("<h2>Figures")


def test_more_labels_than_a_picture_holds_are_all_in_the_table():
    labels = {f"label_{n}": {"train": n + 1, "validation": 0, "test": 0} for n in range(77)}
    page = data_page({**REPORT, "labels": labels}, "desk")
    assert "the 40 largest of 77" in page
    assert all(f"<td>label_{n}</td>" in page for n in range(77))


def test_a_label_of_any_length_leaves_room_for_the_bars():
    long = label_balance({"x" * 500: {"train": 1, "validation": 1, "test": 1}})
    assert "x" * 43 + "…" in long
    assert "x" * 44 not in long


def test_the_data_report_is_written_where_it_says(make_project):
    project = make_project(csv_of(desk_rows(60)))
    page = write_data_report(project, prepare(project))
    assert page.parent == project.reports
    assert "60: " in page.read_text(encoding="utf-8")
