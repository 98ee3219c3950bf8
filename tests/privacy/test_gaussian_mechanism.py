"""The Gaussian mechanism: its identity against integrals, composition, and the source of noise."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, norm

from millwright.errors import BadInput
from millwright.privacy.gaussian_mechanism import (
    composed,
    delta_of,
    epsilon_of,
    most_true_positives,
    mu_of,
    secure_normals,
)


def integrated_delta(mu: float, epsilon: float) -> float:
    """The integral of what N(mu, 1) has over e^epsilon times N(0, 1), which is delta by definition."""
    crosses = mu / 2 + epsilon / mu
    return quad(
        lambda at: norm.pdf(at - mu) - math.exp(epsilon) * norm.pdf(at), crosses, crosses + 20, epsabs=0
    )[0]


@pytest.mark.parametrize("mu", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_delta_is_the_integral_that_defines_it(mu, epsilon):
    assert delta_of(mu, epsilon) == pytest.approx(integrated_delta(mu, epsilon), rel=1e-6, abs=1e-13)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1.0, 1e-5), (3.0, 1e-6), (8.0, 1e-9)])
def test_the_noise_of_a_promise_just_keeps_it(epsilon, delta):
    mu = mu_of(epsilon, delta)
    assert integrated_delta(mu, epsilon) == pytest.approx(delta, rel=1e-4)
    assert integrated_delta(mu * 1.01, epsilon) > delta
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-6)


def test_the_noise_is_that_of_published_tables():
    assert 1 / mu_of(1.0, 1e-5) == pytest.approx(3.7306, rel=1e-4)


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 0.99])
def test_less_noise_is_needed_than_by_the_classical_bound(epsilon):
    classical = math.sqrt(2 * math.log(1.25 / 1e-6)) / epsilon
    assert 0.5 * classical < 1 / mu_of(epsilon, 1e-6) < classical


def test_releases_compose_as_their_privacy_losses_add_up():
    """The loss of a release is N(mu^2/2, mu^2); delta is the mean of (1 - e^(epsilon - loss)) over 0."""
    mus, epsilon = [0.3, 0.5, 0.7], 1.5
    mean = sum(mu * mu / 2 for mu in mus)
    losses = norm(mean, math.sqrt(2 * mean))
    most = mean + 12 * math.sqrt(2 * mean)
    expected = quad(lambda loss: (1 - math.exp(epsilon - loss)) * losses.pdf(loss), epsilon, most)[0]
    assert delta_of(composed(mus), epsilon) == pytest.approx(expected, rel=1e-6)


def test_a_mechanism_that_tells_nearly_nothing_has_epsilon_zero():
    assert epsilon_of(1e-7, 1e-6) == 0.0


def test_no_test_of_two_normals_beats_the_bound_and_the_best_one_reaches_it():
    threshold = norm.isf(0.02)
    assert most_true_positives(0.8, 0.02) == pytest.approx(norm.sf(threshold - 0.8))
    assert most_true_positives(0.8, 0.02) <= math.exp(2.0) * 0.02 + integrated_delta(0.8, 2.0)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 101.0, float("nan")])
def test_an_impossible_epsilon_is_named(epsilon):
    with pytest.raises(BadInput, match=f"epsilon must be over 0 and at most 100, got {epsilon!r}; pass"):
        mu_of(epsilon, 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1])
def test_an_impossible_delta_is_named(delta):
    with pytest.raises(BadInput, match=f"delta must be between 0 and 1, got {delta!r}; pass"):
        epsilon_of(1.0, delta)


def test_secure_numbers_are_standard_normal_and_never_the_same():
    first, second = secure_normals(50_000), secure_normals(50_000)
    assert kstest(first, "norm").pvalue > 1e-7
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / math.sqrt(50_000)
    assert np.isfinite(first).all()
