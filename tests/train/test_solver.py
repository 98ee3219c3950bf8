"""The solver against scikit-learn's at the same optimum, and the same bytes from any number of threads."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from millwright.train.solver import ROWS_A_BLOCK, WHITENING, eigenbasis, one_thread_each, solve


def blobs(labels, rows, width=12, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(labels, size=rows)
    centre = generator.normal(size=(labels, width))
    spread = np.geomspace(1, 0.1, width)
    return ((centre[truth] + generator.normal(size=(rows, width))) * spread).astype(np.float32), truth


def solved(feature, truth, labels, strength, threads=2, tolerance=1e-8):
    with one_thread_each(threads) as pool:
        return solve(eigenbasis(feature, pool), truth, labels, strength, pool, tolerance=tolerance)


def penalised_loss(feature, truth, weight, bias, strength):
    """The objective written out: log loss a row, and the penalty in the eigenbasis of the covariance."""
    logit = feature.astype(np.float64) @ weight.T + bias
    top = logit.max(1, keepdims=True)
    log_p = logit - top - np.log(np.exp(logit - top).sum(1, keepdims=True))
    spectrum, rotation = np.linalg.eigh(np.cov(feature.T.astype(np.float64), bias=True))
    relative = (spectrum / spectrum.mean()) ** WHITENING
    penalty = (relative[:, None] * (rotation.T @ weight.T) ** 2).sum() / (2 * strength * len(truth))
    return -log_p[np.arange(len(truth)), truth].mean() + penalty


@pytest.mark.parametrize(("labels", "strength"), [(3, 1.0), (3, 50.0), (9, 5.0)])
def test_reaches_the_optimum_that_scikit_learn_finds(labels, strength):
    feature, truth = blobs(labels, 700)
    spectrum, rotation = np.linalg.eigh(np.cov(feature.T.astype(np.float64), bias=True))
    root = (spectrum / spectrum.mean()) ** (WHITENING / 2)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(feature @ rotation / root, truth)
    weight = (theirs.coef_ / root) @ rotation.T
    best = penalised_loss(feature, truth, weight, theirs.intercept_, strength)
    found = solved(feature, truth, labels, strength)
    assert found.loss == pytest.approx(best, abs=1e-5)
    written_out = penalised_loss(feature, truth, found.weight_CD, found.bias_C, strength)
    assert written_out == pytest.approx(best, abs=1e-5)


def test_the_same_rows_give_the_same_bytes_whatever_the_threads():
    feature, truth = blobs(5, 2 * ROWS_A_BLOCK + 300, width=96)
    before = torch.get_num_threads()
    found = []
    for torch_threads, pool_threads in ((1, 1), (2, 2), (2, 3)):
        torch.set_num_threads(torch_threads)
        found.append(solved(feature, truth, 5, 5.0, pool_threads, tolerance=1e-6))
    torch.set_num_threads(before)
    assert len({one.weight_CD.tobytes() + one.bias_C.tobytes() for one in found}) == 1


def test_a_start_from_a_neighbouring_solution_saves_passes_and_ends_at_the_same_loss():
    feature, truth = blobs(6, 900)
    with one_thread_each() as pool:
        basis = eigenbasis(feature, pool)
        near = solve(basis, truth, 6, 5.0, pool, tolerance=1e-7)
        cold = solve(basis, truth, 6, 6.0, pool, tolerance=1e-7)
        warm = solve(basis, truth, 6, 6.0, pool, tolerance=1e-7, start_EC=near.coordinates_EC)
    assert warm.loss == pytest.approx(cold.loss, abs=1e-5)
    assert warm.passes < cold.passes


def test_fewer_rows_than_features_are_solved_too():
    feature, truth = blobs(3, 6, width=40)
    found = solved(feature, np.array([0, 1, 2, 0, 1, 2]), 3, 20.0)
    assert ((feature @ found.weight_CD.T + found.bias_C).argmax(1) == [0, 1, 2, 0, 1, 2]).all()


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    with one_thread_each() as pool:
        pool.submit(torch.get_num_threads).result()
    assert torch.get_num_threads() == before
