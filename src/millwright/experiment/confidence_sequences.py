"""Intervals for an effect that hold at all times at once: look whenever you like, stop when you like.

Shape suffixes: T users in the order they came; leading axes are independent runs.
"""

from collections.abc import Callable

import numpy as np

from millwright.errors import BadInput
from millwright.experiment.eprocess import betting
from millwright.experiment.scores import Scores

MIN_PER_ARM = 100
TUNED_AT = 1_000
BISECTIONS = 30


def betting_interval(scores: Scores, alpha: float) -> tuple[float, float]:
    """Effects that no bet has refuted so far; exact at every sample size.

    Args:
        scores: of one run, in order.
        alpha: the chance that the true effect is ever outside.

    Returns:
        Lower and upper bound, in [-1, 1]: the running intersection of all intervals until now, so more
        data never widen it.

    Raises:
        BadInput: alpha is not between 0 and 1.

    Source: Waudby-Smith and Ramdas 2024, arXiv:2010.09686, section 4.
    """
    check_alpha(alpha)
    threshold = np.log(2 / alpha)
    low = _largest_refuted(lambda effect: bool(betting(scores, effect).max(initial=0.0) >= threshold))
    high = -_largest_refuted(lambda effect: bool(betting(-scores, effect).max(initial=0.0) >= threshold))
    return low, high


def empirical_bernstein(scores: Scores, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact intervals in closed form, after each user; wider than those of betting.

    Args:
        scores: of the effect.
        alpha: the chance that the true effect is ever outside.

    Returns:
        Lower and upper bounds [..., T], the running intersection.

    Raises:
        BadInput: alpha is not between 0 and 1.

    Source: Waudby-Smith and Ramdas 2024, arXiv:2010.09686, theorem 2, with a range a user, known before.
    """
    check_alpha(alpha)
    range_T = 2 * scores.bound_T
    unit_T = scores.score_T / range_T + 0.5
    t_T = np.arange(1, unit_T.shape[-1] + 1)
    mean_T = (0.5 + np.cumsum(unit_T, axis=-1)) / (t_T + 1)
    spread_T = (0.25 + np.cumsum((unit_T - mean_T) ** 2, axis=-1)) / (t_T + 1)
    mean_before_T, spread_before_T = _shifted(mean_T, 0.5), _shifted(spread_T, 0.25)
    bet_T = np.minimum(np.sqrt(2 * np.log(2 / alpha) / (spread_before_T * t_T * np.log(1 + t_T))), 0.5)
    surprise_T = (unit_T - mean_before_T) ** 2
    total_T = np.cumsum(bet_T / range_T, axis=-1)
    centre_T = np.cumsum(bet_T / range_T * scores.score_T, axis=-1) / total_T
    cost_T = np.cumsum(surprise_T * (-np.log1p(-bet_T) - bet_T), axis=-1)
    half_T = (np.log(2 / alpha) + cost_T) / total_T
    low_T = np.maximum.accumulate(centre_T - half_T, axis=-1)
    high_T = np.minimum.accumulate(centre_T + half_T, axis=-1)
    return np.maximum(low_T, -1.0), np.minimum(high_T, 1.0)


def asymptotic(
    scores: Scores, is_challenger_T: np.ndarray, alpha: float, tuned_at: int = TUNED_AT
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals whose promise holds for many users: for the eye, not for decisions.

    Args:
        scores: of the effect.
        is_challenger_T: which users got the challenger; with fewer than 100 in either arm nothing is
            said, that is bounds of -1 and 1.
        alpha: the chance that the true effect is ever outside, once there are many users.
        tuned_at: the number of users at which the interval is to be narrowest.

    Returns:
        Lower and upper bounds [..., T], not intersected.

    Raises:
        BadInput: alpha is not between 0 and 1.

    Source: Waudby-Smith et al. 2024, arXiv:2103.06476, theorem 2.2.
    """
    check_alpha(alpha)
    t_T = np.arange(1, scores.score_T.shape[-1] + 1)
    mean_T = np.cumsum(scores.score_T, axis=-1) / t_T
    variance_T = np.maximum(np.cumsum(scores.score_T**2, axis=-1) / t_T - mean_T**2, 0.0)
    squared = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / tuned_at
    known_T = t_T * squared + 1
    half_T = np.sqrt(
        variance_T * 2 * known_T / (t_T.astype(float) ** 2 * squared) * np.log(np.sqrt(known_T) / alpha)
    )
    challengers_T = np.cumsum(np.asarray(is_challenger_T, dtype=bool), axis=-1)
    is_early_T = np.minimum(challengers_T, t_T - challengers_T) < MIN_PER_ARM
    low_T, high_T = np.maximum(mean_T - half_T, -1.0), np.minimum(mean_T + half_T, 1.0)
    return np.where(is_early_T, -1.0, low_T), np.where(is_early_T, 1.0, high_T)


def check_alpha(alpha: float) -> None:
    """Raise BadInput unless alpha is a probability strictly between 0 and 1."""
    if not 0 < alpha < 1:
        raise BadInput(f"alpha must be between 0 and 1, got {alpha!r}; for 95 % intervals pass 0.05")


def _largest_refuted(is_refuted: Callable[[float], bool]) -> float:
    """The largest effect in [-1, 1] that is refuted; what is below a refuted one is refuted too."""
    low, high = -1.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def _shifted(value_T: np.ndarray, first: float) -> np.ndarray:
    return np.concatenate([np.full((*value_T.shape[:-1], 1), first), value_T[..., :-1]], axis=-1)
