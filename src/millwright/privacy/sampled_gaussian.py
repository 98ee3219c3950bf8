"""What steps of noisy descent, each on people drawn by a coin, tell of a person, and what releases add up to.

What adds up are cumulants of the privacy loss, Renyi divergences times order less one; their sum is turned
into epsilon at the best order. Opacus chooses the noise by a finer
accountant, so one release comes out a little above what it promises; sums hold, and err on the safe side.

Source: Mironov, Talwar and Zhang 2019, arXiv:1908.10530, section 3, for the sampled Gaussian; Canonne,
Kamath and Steinke 2020, arXiv:2004.00010, proposition 12, for epsilon.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

ORDERS = np.geomspace(0.01, 255, 150)  # less one
POINTS_A_DEVIATION, FAR = 8, 12


@dataclass(frozen=True)
class Release:
    """What one version told: a Gaussian mechanism of `mu`, or of other people `steps` of noisy descent.

    `noise_multiplier` is noise over sensitivity of a step, `sample_rate` the chance of a person to be in it.
    """

    mu: float
    noise_multiplier: float = 1.0
    sample_rate: float = 0.0
    steps: int = 0


def cumulants(release: Release) -> np.ndarray:
    """The cumulants at ORDERS; of the two mechanisms of a release the greater, as each is of other people."""
    gaussian = ORDERS * (ORDERS + 1) * release.mu**2 / 2
    if not release.steps:
        return gaussian
    descent = release.steps * step_cumulants(release.noise_multiplier, release.sample_rate)
    greater: np.ndarray = np.maximum(gaussian, descent)
    return greater


def step_cumulants(noise_multiplier: float, sample_rate: float, orders: np.ndarray = ORDERS) -> np.ndarray:
    """Cumulants of one step: logarithms of the mean of ((1 - rate) + rate e^((2 x - 1) / 2 s^2))^order.

    The mean is over x of N(0, s^2): a sum at points so close, and so far out, that rounding alone is left of
    its error.

    Args:
        noise_multiplier: noise over sensitivity, s.
        sample_rate: the chance of a person to be drawn, in (0, 1].
        orders: less one, over 0.

    Returns:
        The cumulants at these orders.
    """
    order = (orders + 1)[:, None]
    step = noise_multiplier / POINTS_A_DEVIATION
    at = np.arange(-FAR * noise_multiplier, order.max() + FAR * noise_multiplier, step)[None]
    is_out = math.log1p(-sample_rate) if sample_rate < 1 else -math.inf
    is_in = math.log(sample_rate) + (2 * at - 1) / (2 * noise_multiplier**2)
    ratio = np.logaddexp(is_out, is_in)
    log_density = -0.5 * (at / noise_multiplier) ** 2 - math.log(noise_multiplier * math.sqrt(2 * math.pi))
    mean = logsumexp(order * ratio + log_density, axis=1) + math.log(step)
    found: np.ndarray = np.maximum(0.0, mean)
    return found


def epsilon_of_all(releases: Iterable[Release], delta: float) -> float:
    """An epsilon with which releases are (epsilon, delta)-differentially private, all together.

    Args:
        releases: each may have been chosen after the one before it.
        delta: in (0, 1).

    Returns:
        epsilon, at least 0.
    """
    total = np.sum([cumulants(release) for release in releases], axis=0)
    order = ORDERS + 1
    epsilon = total / ORDERS + np.log1p(-1 / order) - (math.log(delta) + np.log(order)) / ORDERS
    return max(0.0, float(epsilon.min()))


def most_found(epsilon: float, delta: float, false_positives: float) -> float:
    """The greatest rate at which a test finds a person, given the rate at which it accuses others.

    Source: Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, theorem 2.1.
    """
    return min(
        math.exp(epsilon) * false_positives + delta,
        1 - math.exp(-epsilon) * (1 - delta - false_positives),
        1.0,
    )
