"""Figures against scikit-learn and formulas, and their intervals against theory."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from millwright.errors import BadInput
from millwright.train.metrics import evaluate

LABELS = ["a", "b", "c", "d"]


def answers(rows=400, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, rows)
    probability = generator.dirichlet(np.ones(4), rows) + 0.6 * np.eye(4)[truth]
    return probability / probability.sum(1, keepdims=True), truth


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_precision_recall_and_f1_are_those_of_scikit_learn(average):
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {})
    expected = reference.precision_recall_fscore_support(truth, probability.argmax(1), average=average)[:3]
    ours = [getattr(found, f"{average}_{name}").value for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected)


def test_accuracy_and_log_loss_are_those_of_scikit_learn():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {})
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(truth, probability.argmax(1)))
    assert found.log_loss.value == pytest.approx(reference.log_loss(truth, probability))


def test_per_class_scores_are_those_of_scikit_learn():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {}).per_class
    expected = reference.precision_recall_fscore_support(truth, probability.argmax(1))
    assert [score.f1 for score in found] == pytest.approx(list(expected[2]))
    assert [score.rows for score in found] == list(expected[3])


def test_the_accuracy_interval_has_the_width_of_the_normal_approximation():
    probability, truth = answers(2000)
    found = evaluate(probability, truth, LABELS, {}).accuracy
    deviation = (found.value * (1 - found.value) / 2000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.12)


def test_probabilities_that_mean_what_they_say_have_no_calibration_error():
    probability = np.tile([0.8, 0.2], (100, 1))
    truth = np.array([0] * 80 + [1] * 20)
    assert evaluate(probability, truth, ["a", "b"], {}).calibration_error.value == pytest.approx(0)


def test_sure_and_wrong_is_a_calibration_error_of_the_confidence():
    probability = np.tile([0.9, 0.1], (10, 1))
    assert evaluate(probability, np.ones(10, int), ["a", "b"], {}).calibration_error.value == pytest.approx(
        0.9
    )


def test_a_label_that_the_model_does_not_know_is_always_wrong():
    probability = np.tile([0.9, 0.1], (4, 1))
    assert evaluate(probability, np.array([0, 0, -1, -1]), ["a", "b"], {}).accuracy.value == 0.5


def test_slices_and_confusions_count_rows():
    probability = np.eye(3)[[0, 1, 1, 2]] * 0.97 + 0.01
    truth = np.array([0, 0, 0, 2])
    found = evaluate(probability, truth, ["a", "b", "c"], {"channel": ["app", "app", "chat", "chat"]})
    assert [(s.value, s.rows, s.accuracy.value) for s in found.slices] == [("app", 2, 0.5), ("chat", 2, 0.5)]
    assert [(c.truth, c.predicted, c.count) for c in found.confused] == [("a", "b", 2)]


def test_no_rows_are_refused():
    with pytest.raises(BadInput, match="at least one"):
        evaluate(np.zeros((0, 2)), np.zeros(0, int), ["a", "b"], {})


@pytest.mark.parametrize("rows", [1, 16, 300])
def test_rows_that_are_all_right_show_no_more_than_the_exact_bound(rows):
    found = evaluate(np.tile([0.9, 0.1], (rows, 1)), np.zeros(rows, int), ["a", "b"], {})
    lower = binomtest(rows, rows, alternative="greater").proportion_ci(0.95, method="exact").low
    assert found.notes[0].endswith(f"an accuracy over {lower:.3f}")
    assert (found.accuracy.low, found.accuracy.high) == (1, 1)


def test_rows_of_which_one_is_wrong_need_no_note():
    found = evaluate(np.tile([0.9, 0.1], (16, 1)), np.array([1] + [0] * 15), ["a", "b"], {})
    assert found.notes == ()
