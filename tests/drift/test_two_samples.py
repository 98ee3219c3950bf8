"""The tests of drift against the textbook's, and how often they alarm where nothing or where much changed."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chi2

from millwright.drift.two_samples import classifier_test, confidence_test, label_test, mmd_test

RUNS, SIZE, ALPHA = 60, 60, 0.1
ALLOWED = ALPHA + 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5


def features(rng: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    return rng.normal(shift, 1, (SIZE, 4)).astype(np.float32)


def confidences(rng: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    return rng.dirichlet(np.array([1.0 + 3 * shift, 1.0, 1.0]), SIZE)


def labels(rng: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    return rng.choice(3, SIZE, p=[0.4 - 0.3 * shift, 0.3, 0.3 + 0.3 * shift])


TESTS = [
    (features, classifier_test),
    (features, lambda one, other: mmd_test(one, other, permutations=199)),
    (confidences, confidence_test),
    (labels, lambda one, other: label_test(one, other, 3)),
]


@pytest.mark.parametrize(("draw", "test"), TESTS)
def test_false_alarms_are_as_rare_as_promised_and_a_large_change_is_found(draw, test):
    rng = np.random.default_rng(0)
    same = [test(draw(rng), draw(rng))[1] <= ALPHA for _ in range(RUNS)]
    changed = [test(draw(rng), draw(rng, 1.0))[1] <= ALPHA for _ in range(10)]
    assert np.mean(same) <= ALLOWED
    assert np.mean(changed) >= 0.8


def test_mean_embeddings_are_those_of_the_definition_and_permutations_of_all_splits():
    rng = np.random.default_rng(1)
    pooled = np.concatenate([rng.normal(0, 1, (4, 2)), rng.normal(2, 1, (4, 2))])
    apart = [((one - other) ** 2).sum() for one, other in combinations(pooled, 2)]

    def kernel(one, other):
        return np.exp(-((one - other) ** 2).sum() / np.median(apart))

    def distance(first):
        second = [place for place in range(8) if place not in first]
        mean = lambda a, b: np.mean([kernel(pooled[i], pooled[j]) for i in a for j in b])  # noqa: E731
        return mean(first, first) + mean(second, second) - 2 * mean(first, second)

    found, p_value = mmd_test(pooled[:4], pooled[4:])
    every = [distance(first) for first in combinations(range(8), 4)]
    assert found == pytest.approx(distance((0, 1, 2, 3)))
    exact = np.mean([one >= found - 1e-12 for one in every])
    assert p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 10_000) ** 0.5)


def test_labels_are_compared_by_pearson_with_rare_ones_together():
    reference, window = np.repeat([0, 1, 2, 3], [60, 38, 1, 1]), np.repeat([0, 1, 2, 3], [30, 60, 5, 5])
    table = np.array([[60, 38, 2], [30, 60, 10]])
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    assert label_test(reference, window, 4) == pytest.approx((statistic, chi2.sf(statistic, 2)))
    assert label_test(np.zeros(50, int), np.zeros(50, int), 4) == (0.0, 1.0)


def test_samples_that_cannot_be_told_apart_are_told_right_half_the_time():
    accuracy, p_value = classifier_test(np.ones((200, 3)), np.ones((200, 3)))
    assert accuracy == 0.5
    assert p_value == pytest.approx(0.5, abs=0.05)
