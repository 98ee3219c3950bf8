"""The head against the optimality condition of its own objective, and its determinism."""

import numpy as np
import pytest

from millwright.train.calibrate import softmax
from millwright.train.heads import DEFAULT_STRENGTH, STRENGTHS, choose_strength, fit_head, log_loss
from millwright.train.solver import WHITENING, coordinates_of, eigenbasis, one_thread_each, solve


def blobs(labels, rows=60, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.arange(rows) % labels
    return (generator.normal(size=(labels, 5))[truth] + generator.normal(size=(rows, 5))).astype(
        np.float32
    ), truth


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_the_gradient_of_the_objective_is_zero_at_the_solution(labels):
    feature, truth = blobs(labels)
    weight, bias = fit_head(feature, truth, labels, strength=2.0)
    error = softmax(feature @ weight.T + bias) - np.eye(labels)[truth]
    spectrum, rotation = np.linalg.eigh(np.cov(feature.T.astype(np.float64), bias=True))
    shape = rotation @ np.diag((spectrum / spectrum.mean()) ** WHITENING) @ rotation.T
    assert np.abs(error.T @ feature + weight @ shape / 2.0).max() < 0.1
    assert np.abs(error.sum(0)).max() < 0.1


def test_the_same_rows_give_the_same_bytes():
    feature, truth = blobs(4)
    first, second = fit_head(feature, truth, 4, 5.0), fit_head(feature, truth, 4, 5.0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_a_label_without_rows_never_wins():
    feature, truth = blobs(3)
    weight, bias = fit_head(feature, truth, 4, 5.0)
    assert (softmax(feature @ weight.T + bias)[:, 3] == 0).all()


def test_strength_is_the_one_with_the_least_validation_loss():
    train, validation = blobs(3, seed=1), blobs(3, seed=2)
    strength, temperature, accuracy, head = choose_strength(train, validation, 3)

    def loss(candidate):
        weight, bias = fit_head(*train, 3, candidate)
        temperatures = np.geomspace(0.1, 10, 400)
        logits = validation[0] @ weight.T + bias
        return min(log_loss(softmax(logits, t), validation[1]) for t in temperatures)

    assert strength == min(STRENGTHS, key=loss)
    assert temperature > 0
    weight, bias = fit_head(*train, 3, strength)
    right = (validation[0] @ weight.T + bias).argmax(1) == validation[1]
    assert accuracy == pytest.approx(right.mean(), abs=0.02)
    assert ((validation[0] @ head[0].T + head[1]).argmax(1) == validation[1]).mean() == accuracy


def test_a_head_that_starts_from_another_ends_where_one_from_zero_does_and_sooner():
    feature, truth = blobs(3, seed=2)
    cut = len(truth) * 9 // 10
    start = fit_head(feature[:cut], truth[:cut], 3, 5.0)
    with one_thread_each() as pool:
        basis = eigenbasis(feature, pool)
        cold, warm = (
            solve(basis, truth, 3, 5.0, pool, start_EC=start_EC)
            for start_EC in (None, coordinates_of(*start, basis))
        )
    assert warm.passes < cold.passes
    assert warm.loss == pytest.approx(cold.loss, abs=1e-5)
    for one, other in zip(
        fit_head(feature, truth, 3, 5.0, start), fit_head(feature, truth, 3, 5.0), strict=True
    ):
        assert np.abs(one - other).max() < 0.05


def test_a_head_that_lacks_a_label_of_the_rows_is_no_start():
    feature, truth = blobs(3)
    some = truth < 2
    lacking = fit_head(feature[some], truth[some], 3, 5.0)
    assert (
        fit_head(feature, truth, 3, 5.0, lacking)[0].tobytes()
        == fit_head(feature, truth, 3, 5.0)[0].tobytes()
    )


def test_without_validation_rows_the_default_is_taken():
    feature, truth = blobs(3)
    assert choose_strength((feature, truth), (feature[:0], truth[:0]), 3) == (
        DEFAULT_STRENGTH,
        1.0,
        None,
        None,
    )


def test_log_loss_is_the_mean_negative_logarithm():
    assert log_loss(np.array([[0.5, 0.5], [0.1, 0.9]]), [0, 1]) == pytest.approx(
        -(np.log(0.5) + np.log(0.9)) / 2
    )
