"""The paired comparison against a brute force over coin tosses, and its false alarms."""

from itertools import product

import numpy as np
import pytest

from millwright.errors import BadInput
from millwright.experiment.compare import compare_paired


def answers(both, only_before, only_after, neither):
    before = [True] * (both + only_before) + [False] * (only_after + neither)
    after = [True] * both + [False] * only_before + [True] * only_after + [False] * neither
    return np.array(before), np.array(after)


@pytest.mark.parametrize(("only_before", "only_after"), [(0, 5), (2, 7), (4, 4), (6, 1)])
def test_the_p_value_is_the_share_of_coin_tosses_at_least_as_favourable(only_before, only_after):
    tosses = list(product([0, 1], repeat=only_before + only_after))
    expected = sum(sum(toss) >= only_after for toss in tosses) / len(tosses)
    assert compare_paired(*answers(20, only_before, only_after, 5)).p_value == pytest.approx(expected)


def test_equal_versions_are_no_evidence():
    found = compare_paired(*answers(30, 0, 0, 10))
    assert (found.p_value, found.difference.value, found.only_before, found.only_after) == (1.0, 0.0, 0, 0)


def test_figures_are_those_of_the_rows():
    found = compare_paired(*answers(50, 10, 20, 20))
    assert (found.before.value, found.after.value) == (0.6, 0.7)
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.low < 0.1 < found.difference.high


def test_the_interval_of_the_difference_has_the_width_of_the_formula():
    found = compare_paired(*answers(500, 100, 200, 200))
    deviation = ((0.1 + 0.2 - 0.1**2) / 1000) ** 0.5
    assert found.difference.high - found.difference.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_false_promotions_are_no_more_often_than_alpha():
    generator = np.random.default_rng(0)
    runs = 2000
    alarms = sum(
        compare_paired(*(generator.random((2, 120)) < 0.7), seed=run).p_value <= 0.05 for run in range(runs)
    )
    assert alarms / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_rows_must_match(before, after):
    with pytest.raises(BadInput, match="must answer the same rows"):
        compare_paired(np.array(before), np.array(after))
