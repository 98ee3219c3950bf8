"""Figures of spans against a count by hand and against one that goes span by span, row by row."""

import random
from collections import Counter

import numpy as np
import pytest

from millwright.errors import BadInput
from millwright.modalities.spans import FoundSpans, LabelledSpan, write_spans
from millwright.train.metrics import RESAMPLES
from millwright.train.span_metrics import measure_spans

Triple = tuple[int, int, str]


def said(*triples: Triple, sure: float = 0.5) -> FoundSpans:
    spans = tuple(LabelledSpan(*one) for one in sorted(triples))
    return FoundSpans(spans, (sure,) * len(spans), sure)


def written(*triples: Triple) -> str:
    return write_spans(LabelledSpan(*one) for one in triples)


def by_chance(rows: int, seed: int) -> tuple[list[set[Triple]], list[set[Triple]]]:
    """Truth and answers that agree often: right ones, wrong labels, wrong ends, and some left out."""
    chance, truths, answers = random.Random(seed), [], []
    for _ in range(rows):
        truth = {(4 * n, 4 * n + 3, chance.choice("ABC")) for n in range(chance.randint(0, 4))}
        answer = set()
        for start, end, label in truth:
            kind = chance.random()
            if kind < 0.6:
                answer.add((start, end, label))
            elif kind < 0.75:
                answer.add((start, end, chance.choice("ABCD")))
            elif kind < 0.9:
                answer.add((start, end - 1, label))
        truths.append(truth)
        answers.append(answer)
    return truths, answers


def f1_of(rows: list[tuple[set[Triple], set[Triple]]], label: str | None = None) -> float:
    """F1 of rows, each as often as it stands there, counted span by span."""
    both = there = given = 0
    for truth, answer in rows:
        for span in truth:
            there += label in (None, span[2])
        for span in answer:
            given += label in (None, span[2])
            both += label in (None, span[2]) and any(span == other for other in truth)
    return 2 * both / (there + given) if there + given else 0.0


def test_a_count_by_hand():
    truths = [written((0, 4, "PER"), (9, 12, "LOC")), written((2, 5, "LOC")), written()]
    answers = [said((0, 4, "PER"), (9, 13, "LOC")), said((2, 5, "PER")), said()]
    found = measure_spans(truths, answers)
    assert (found.rows, found.spans, found.found) == (3, 3, 3)
    # One of three answers is right: a wrong end and a wrong label are wrong altogether.
    assert (found.precision.value, found.recall.value, found.f1.value) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    per = {score.label: score for score in found.per_label}
    assert (per["PER"].precision.value, per["PER"].recall.value) == pytest.approx((1 / 2, 1))
    assert (per["LOC"].precision.value, per["LOC"].recall.value, per["LOC"].f1.value) == (0, 0, 0)
    assert found.macro_f1.value == pytest.approx((2 / 3 + 0) / 2)
    assert found.exact_rows.value == pytest.approx(1 / 3)
    assert found.calibration_error == pytest.approx(0.5 - 1 / 3)


def test_figures_are_those_of_a_count_span_by_span():
    truths, answers = by_chance(200, seed=1)
    rows = list(zip(truths, answers, strict=True))
    found = measure_spans([written(*one) for one in truths], [said(*one) for one in answers])
    assert found.f1.value == pytest.approx(f1_of(rows))
    labels = sorted({span[2] for one in (*truths, *answers) for span in one})
    assert [score.label for score in found.per_label] == labels == ["A", "B", "C", "D"]
    expected = [f1_of(rows, label) for label in labels]
    assert [score.f1.value for score in found.per_label] == pytest.approx(expected)
    assert found.macro_f1.value == pytest.approx(sum(expected) / 4)
    right = sum(len(truth & answer) for truth, answer in rows)
    assert found.precision.value == pytest.approx(right / sum(map(len, answers)))
    assert found.recall.value == pytest.approx(right / sum(map(len, truths)))
    counts = Counter(span[2] for one in truths for span in one)
    assert {score.label: score.spans for score in found.per_label} == {**counts, "D": 0}


def test_an_interval_bounds_what_samples_of_rows_give():
    truths, answers = by_chance(40, seed=2)
    rows = list(zip(truths, answers, strict=True))
    found = measure_spans([written(*one) for one in truths], [said(*one) for one in answers], seed=3)
    drawn, chance = [], np.random.default_rng(3)
    for often in chance.multinomial(40, np.full(40, 1 / 40), size=RESAMPLES):
        drawn.append(f1_of([row for row, count in zip(rows, often, strict=True) for _ in range(count)]))
    assert (found.f1.low, found.f1.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_slices_are_measured_apart():
    truths, answers = by_chance(60, seed=4)
    where = ["here" if row % 3 else "there" for row in range(60)]
    found = measure_spans(
        [written(*one) for one in truths], [said(*one) for one in answers], {"place": where}
    )
    for score in found.slices:
        inside = [row for row, one in enumerate(where) if score.label == f"place: {one}"]
        assert score.f1.value == pytest.approx(f1_of([(truths[row], answers[row]) for row in inside]))
    assert [score.label for score in found.slices] == ["place: here", "place: there"]


def test_rows_without_a_span_measure_nothing_and_say_so():
    found = measure_spans([written(), written()], [said(), said((0, 2, "PER"))])
    assert found.f1.value == 0
    assert found.exact_rows.value == 0.5
    assert found.notes == ("none of 2 rows has a span: precision and recall say nothing",)


def test_as_many_answers_as_rows_must_come():
    with pytest.raises(BadInput, match="got 1 answers for 2 rows"):
        measure_spans([written(), written()], [said()])
