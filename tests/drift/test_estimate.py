"""Accuracy without labels, on samples whose accuracy is known."""

import numpy as np
import pytest

from millwright.drift.estimate import estimated_accuracy
from millwright.errors import BadInput


def answers(rng: np.random.Generator, count: int, hard: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and answers that are right as often as the confidence says; `hard` lowers both."""
    confidence_N = np.clip(rng.beta(5 - 4 * hard, 1 + hard, count), 0.01, 0.99)
    return confidence_N, rng.random(count) < confidence_N


@pytest.mark.parametrize("hard", [0.0, 0.3, 0.6])
def test_texts_that_are_harder_than_before_are_found_out(hard):
    rng = np.random.default_rng(1)
    held_out, right = answers(rng, 4_000, 0.0)
    window, truth = answers(rng, 4_000, hard)
    found = estimated_accuracy(held_out, right, window)
    assert found.value == pytest.approx(truth.mean(), abs=0.03)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.1


def test_on_the_held_out_rows_themselves_it_is_what_was_measured():
    confidence = np.linspace(0.01, 1.0, 100)
    right = np.arange(100) >= 30
    assert estimated_accuracy(confidence, right, confidence).value == pytest.approx(0.7)
    assert estimated_accuracy(confidence, np.ones(100, bool), confidence).value == 1.0
    assert estimated_accuracy(confidence, np.zeros(100, bool), confidence).value == 0.0


def test_too_few_held_out_rows_are_refused():
    with pytest.raises(BadInput, match="needs 50 held-out rows and a text, got 49 and 3"):
        estimated_accuracy(np.ones(49), np.ones(49, bool), np.ones(3))
