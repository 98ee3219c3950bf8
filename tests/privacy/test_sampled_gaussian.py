"""Noisy descent's accountant: against the binomial sum, exact integrals, the Gaussian alone, and Opacus."""

import math

import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.integrate import quad
from scipy.stats import norm

from millwright.privacy.gaussian_mechanism import composed, delta_of, epsilon_of
from millwright.privacy.sampled_gaussian import (
    ORDERS,
    Release,
    cumulants,
    epsilon_of_all,
    most_found,
    step_cumulants,
)


def binomial_cumulant(noise_multiplier: float, rate: float, order: int) -> float:
    """The closed form at a whole order: how many times the person was drawn in so many draws."""
    mean = sum(
        math.comb(order, drawn) * (1 - rate) ** (order - drawn) * rate**drawn
        * math.exp(drawn * (drawn - 1) / (2 * noise_multiplier**2))
        for drawn in range(order + 1)
    )  # fmt: skip
    return math.log(mean)


def exact_delta(noise_multiplier: float, rate: float, epsilon: float) -> float:
    """Delta of one step by its definition, the person being in it by a coin."""

    def gap(at: float) -> float:
        without = norm.pdf(at, scale=noise_multiplier)
        with_one = (1 - rate) * without + rate * norm.pdf(at, 1, noise_multiplier)
        return max(0.0, with_one - math.exp(epsilon) * without)

    return quad(gap, -9 * noise_multiplier, 1 + 9 * noise_multiplier, limit=500, points=[0, 1, 2])[0]


@pytest.mark.parametrize(("noise_multiplier", "rate"), [(0.5, 0.1), (1.0, 0.01), (2.0, 0.3), (8.0, 1.0)])
def test_cumulants_are_the_binomial_sums_at_whole_orders(noise_multiplier, rate):
    found = step_cumulants(noise_multiplier, rate, np.arange(1.0, 17))
    expected = [binomial_cumulant(noise_multiplier, rate, order) for order in range(2, 18)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_step_that_everybody_is_in_is_the_gaussian_mechanism():
    mu = 0.7
    assert cumulants(Release(0.0, 1 / mu, 1.0, 1)) == pytest.approx(cumulants(Release(mu)), rel=1e-9)


def test_nobody_is_told_of_by_a_step_that_draws_nobody():
    assert epsilon_of_all([Release(0.0)], 1e-6) < 0.06  # orders end somewhere


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("noise_multiplier", "rate"), [(1.0, 0.2), (0.6, 0.05), (2.0, 0.9)])
def test_no_step_tells_more_than_it_is_said_to(noise_multiplier, rate, epsilon):
    delta = exact_delta(noise_multiplier, rate, epsilon)
    assert epsilon_of_all([Release(0.0, noise_multiplier, rate, 1)], delta) >= epsilon


def test_gaussian_releases_come_out_near_their_exact_sum_and_never_below():
    mus, delta = [0.2, 0.5, 0.4], 1e-6
    exact = epsilon_of(composed(mus), delta)
    assert exact <= epsilon_of_all(map(Release, mus), delta) <= 1.1 * exact


@pytest.mark.parametrize(("noise_multiplier", "steps"), [(4.5, 100), (1.85, 100), (1.0, 30)])
def test_steps_add_up_as_opacus_says(noise_multiplier, steps):
    rdp, prv = RDPAccountant(), PRVAccountant()
    rdp.history = prv.history = [(noise_multiplier, 0.1, steps)]
    found = epsilon_of_all([Release(0.0, noise_multiplier, 0.1, steps)], 1e-6)
    assert found == pytest.approx(rdp.get_epsilon(1e-6, alphas=ORDERS + 1), rel=0.01)
    assert 0.98 * prv.get_epsilon(1e-6) <= found <= 1.15 * prv.get_epsilon(1e-6)


def test_of_two_mechanisms_of_a_release_the_one_that_tells_more_counts():
    steps = Release(0.0, 1.85, 0.1, 100)
    assert epsilon_of_all([Release(0.1, 1.85, 0.1, 100)], 1e-6) == epsilon_of_all([steps], 1e-6)
    assert epsilon_of_all([Release(2.0, 1.85, 0.1, 100)], 1e-6) == epsilon_of_all([Release(2.0)], 1e-6)


@pytest.mark.parametrize("false_positives", [0.001, 0.01, 0.3, 0.9])
def test_the_most_that_is_found_bounds_the_best_test_of_a_gaussian_with_the_same_promise(false_positives):
    mu, epsilon = 0.9, 2.0
    delta = delta_of(mu, epsilon)
    best = norm.cdf(norm.ppf(false_positives) + mu)
    assert best <= most_found(epsilon, delta, false_positives) <= 1
    assert most_found(0.0, 0.0, false_positives) == pytest.approx(false_positives)
