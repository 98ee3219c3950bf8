"""Differential privacy by Gaussian noise: how much noise a promise needs, and what releases add up to.

A mechanism that adds noise of deviation s to something that one person can move by D in L2 norm has
mu = D / s, and everything that can be said of its privacy follows from mu.

Source: Balle and Wang 2018, arXiv:1805.06530, theorem 8; Dong, Roth and Su 2019, arXiv:1905.02383, for
composition.
"""

import math
import os
from collections.abc import Callable, Iterable

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from millwright.errors import BadInput

LEAST_MU, MOST_MU = 1e-6, 50.0
SUMMED = 4

Normals = Callable[[int], np.ndarray]
Uniforms = Callable[[int], np.ndarray]


def delta_of(mu: float, epsilon: float) -> float:
    """The least delta with which a Gaussian mechanism of `mu` is (epsilon, delta)-differentially private."""
    likely, unlikely = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
    return max(0.0, float(ndtr(likely) - math.exp(epsilon + log_ndtr(unlikely))))


def mu_of(epsilon: float, delta: float) -> float:
    """The greatest mu that keeps a promise; noise of deviation D / mu keeps it for sensitivity D.

    Args:
        epsilon: over 0.
        delta: in (0, 1).

    Returns:
        mu, at which `delta_of(mu, epsilon)` is `delta`.

    Raises:
        BadInput: epsilon or delta is outside its range.
    """
    _check(delta)
    if not 0 < epsilon <= 100:
        raise BadInput(f"epsilon must be over 0 and at most 100, got {epsilon!r}; pass 1 to 8", "epsilon")
    return float(brentq(lambda mu: delta_of(mu, epsilon) - delta, LEAST_MU, MOST_MU, xtol=1e-12))


def epsilon_of(mu: float, delta: float) -> float:
    """The least epsilon with which a Gaussian mechanism is (epsilon, delta)-differentially private.

    Args:
        mu: of the mechanism, over 0.
        delta: in (0, 1).

    Returns:
        epsilon, 0 where delta alone covers it.

    Raises:
        BadInput: delta is outside (0, 1).
    """
    _check(delta)
    if delta_of(mu, 0.0) <= delta:
        return 0.0
    most = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1  # more than zCDP needs
    return float(brentq(lambda epsilon: delta_of(mu, epsilon) - delta, 0.0, most, xtol=1e-10))


def composed(mus: Iterable[float]) -> float:
    """The mu of several Gaussian mechanisms on the same people, each free to look at those before it."""
    return math.sqrt(sum(mu * mu for mu in mus))


def most_true_positives(mu: float, false_positives: float) -> float:
    """The greatest rate at which any test can find a person, given the rate at which it accuses others."""
    return float(ndtr(ndtri(false_positives) + mu))


def secure_normals(count: int) -> np.ndarray:
    """Standard normal numbers [count] that nobody can foretell: each of four draws of `os.urandom`.

    Four are summed and halved, so that the gaps between doubles near one draw do not show which number was
    hidden; what doubles leak beyond that is not excluded.

    Source: Mironov 2012, doi:10.1145/2382196.2382264; Holohan and Braghin 2021, arXiv:2107.10138.
    """
    normal: np.ndarray = ndtri((_words(SUMMED * count) + 0.5) / 2.0**53).reshape(SUMMED, count)
    drawn: np.ndarray = normal.sum(0) / math.sqrt(SUMMED)
    return drawn


def secure_uniforms(count: int) -> np.ndarray:
    """Numbers in [0, 1) [count] that nobody can foretell, from `os.urandom`."""
    drawn: np.ndarray = _words(count) / 2.0**53
    return drawn


def _words(count: int) -> np.ndarray:
    """Random whole numbers below 2^53."""
    drawn: np.ndarray = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(11)
    return drawn


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise BadInput(f"delta must be between 0 and 1, got {delta!r}; pass 1e-6", "delta")
