"""Evidence that may be looked at after every user: it exceeds 1/alpha with probability alpha at most, ever.

An e-process starts at one and is not expected to grow while the null hypothesis holds (Ville 1939).
Everything here is a logarithm of one, along the last axis.

Shape suffixes: T users in the order they came, K bets; leading axes are independent runs.
"""

from collections.abc import Sequence

import numpy as np

from millwright.experiment.scores import Scores

BETS = tuple(0.01 * 2.0**k for k in range(8))  # an effect over the outcome's variance, which a bet is best at
MOST_LOST = 0.9  # share of its money that a bet may lose at once
SMOOTHING = 0.18


def betting(scores: Scores, effect: float = 0.0, bets: Sequence[float] = BETS) -> np.ndarray:
    """Log evidence against "the challenger's effect is `effect` at most", after each user.

    The mean over bets c of the product of 1 + c p(1 - p) (Z - effect). Each product is a nonnegative
    supermartingale under that hypothesis since E[Z | past] is the effect, whatever the outcomes'
    distribution and however the shares changed, also by what was seen: a bet is known before its user.
    With outcomes 0 and 1 and Z centred by the running mean it is the likelihood ratio of two proportions
    that differ by c times the variance.

    Args:
        scores: of the effect; negate them to test harm.
        effect: the largest effect under the hypothesis, in [-1, 1].
        bets: sizes of bets; a bet near the effect over the outcome's variance grows fastest.

    Returns:
        The logarithm of the evidence [..., T].

    Source: Waudby-Smith and Ramdas 2024, arXiv:2010.09686, sections 4 and 5 (a grid of bets).
    """
    centred_T = scores.score_T - effect
    total_T: np.ndarray | None = None
    for bet in bets:
        step_T = np.minimum(bet * scores.weight_T, MOST_LOST / (scores.bound_T + abs(effect)))
        grown_T = np.cumsum(np.log1p(step_T * centred_T), axis=-1)
        total_T = grown_T if total_T is None else np.logaddexp(total_T, grown_T)
    assert total_T is not None, "no bet"
    mean_T: np.ndarray = total_T - np.log(len(bets))
    return mean_T


def two_proportions(
    success_T: np.ndarray, is_challenger_T: np.ndarray, propensity_T: np.ndarray
) -> np.ndarray:
    """Log evidence against "success does not depend on the arm", after each user.

    The product of p_w(y) / (q p_1(y) + (1 - q) p_0(y)), where p_1 and p_0 are the arms' smoothed rates
    among earlier users and q the logged probability of the challenger. Its expectation is exactly one
    if success does not depend on the arm, and it needs no effect size to look for.

    Args:
        success_T: outcomes 0 or 1.
        is_challenger_T: whether the user got the challenger.
        propensity_T: the probability with which the challenger was drawn.

    Returns:
        The logarithm of the evidence [..., T]; it does not tell which arm is better.

    Source: Turner, Ly and Gruenwald 2024, arXiv:2106.02693, for one user at a time.
    """
    success_T, arm_T = np.asarray(success_T, dtype=bool), np.asarray(is_challenger_T, dtype=bool)
    rates = []
    for own_T in (arm_T, ~arm_T):
        won_T = _before(success_T & own_T)
        rates.append((won_T + SMOOTHING) / (_before(own_T) + 2 * SMOOTHING))
    first_T, second_T = (np.where(success_T, rate_T, 1 - rate_T) for rate_T in rates)
    mixed_T = propensity_T * first_T + (1 - propensity_T) * second_T
    log_T: np.ndarray = np.cumsum(np.log(np.where(arm_T, first_T, second_T) / mixed_T), axis=-1)
    return log_T


def _before(flag_T: np.ndarray) -> np.ndarray:
    """How many of the earlier users have a flag."""
    count_T: np.ndarray = np.cumsum(flag_T, axis=-1) - flag_T
    return count_T
