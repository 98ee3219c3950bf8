"""Against scipy.stats, which computes them otherwise."""

import pytest
from scipy.stats import binomtest

from millwright.proportions import chance_of_at_least, wilson

CASES = [(0, 1), (1, 1), (0, 20), (3, 20), (13, 20), (20, 20), (950, 1_000), (51_000, 100_000)]


@pytest.mark.parametrize(("successes", "trials"), CASES)
@pytest.mark.parametrize("chance", [0.01, 0.5, 0.9])
def test_the_chance_of_so_many_or_more(successes, trials, chance):
    expected = binomtest(successes, trials, chance, alternative="greater").pvalue
    assert chance_of_at_least(successes, trials, chance) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("successes", "trials"), CASES)
def test_wilsons_interval(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)
