"""Temperatures against grids and formulas; probabilities against a second library."""

import numpy as np
import pytest
import scipy.special

from millwright.train.calibrate import fit_temperature, softmax


def drawn(rows: int, labels: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and truths drawn from their softmax at a temperature: that is the one to be found."""
    generator = np.random.default_rng(seed)
    logits = 3 * generator.normal(size=(rows, labels))
    chance = scipy.special.softmax(logits / temperature, axis=1).cumsum(1)
    return logits, (generator.random((rows, 1)) > chance).sum(1).clip(max=labels - 1)


def mean_loss(logits: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    log_probability = scipy.special.log_softmax(logits / temperature, axis=1)
    return float(-log_probability[np.arange(len(truth)), truth].mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_softmax_is_that_of_scipy_at_the_temperature(temperature):
    logits = np.random.default_rng(1).normal(size=(7, 5)) * 9
    assert softmax(logits, temperature) == pytest.approx(scipy.special.softmax(logits / temperature, axis=1))


def test_softmax_of_large_logits_is_finite_and_sums_to_one():
    found = softmax(np.array([[1e4, -1e4, 0.0], [1e-9, 0.0, -1e-9]], dtype=np.float32))
    assert np.isfinite(found).all()
    assert found.sum(1) == pytest.approx([1, 1])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_the_temperature_that_made_the_truths_is_found(temperature):
    logits, truth = drawn(20_000, 5, temperature)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_on_many_rows_it_is_the_one_with_the_least_log_loss(seed):
    logits, truth = drawn(5_000, 4, 1.7, seed)
    grid = np.geomspace(0.05, 20, 2_000)
    best = min(grid, key=lambda candidate: mean_loss(logits, truth, candidate))
    assert fit_temperature(logits, truth) == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("rows", [2, 5, 15, 60])
def test_rows_that_are_all_right_make_it_as_sure_as_so_many_successes_do(rows):
    """Of two labels at one margin the best probability is known: that of Laplace's rule of succession."""
    logits = np.tile([4.0, 0.0], (rows, 1))
    found = softmax(logits, fit_temperature(logits, np.zeros(rows, int)))[0, 0]
    assert found == pytest.approx((rows + 1) / (rows + 2), abs=1e-3)


def test_rows_that_are_all_wrong_make_it_as_unsure_as_it_can_be():
    logits = np.tile([4.0, 0.0], (50, 1))
    assert fit_temperature(logits, np.ones(50, int)) == pytest.approx(20, rel=1e-3)


def test_the_best_answer_stays_the_best_answer():
    logits, truth = drawn(200, 6, 4.0)
    probability = softmax(logits, fit_temperature(logits, truth))
    assert (probability.argmax(1) == logits.argmax(1)).all()


def test_labels_without_rows_do_not_matter():
    logits, truth = drawn(500, 3, 1.5)
    wider = np.hstack([logits, np.full((500, 1), -1e4)])
    assert fit_temperature(wider, truth) == pytest.approx(fit_temperature(logits, truth), rel=1e-6)


def test_half_precision_logits_give_the_same_temperature():
    logits, truth = drawn(2_000, 4, 2.0)
    single = fit_temperature(logits.astype(np.float32), truth)
    assert single == pytest.approx(fit_temperature(logits, truth), rel=1e-3)
