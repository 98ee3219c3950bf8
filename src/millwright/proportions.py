"""Exact tests and intervals of a share; scipy.stats has them too, and takes .3 s to load."""

from math import sqrt

from scipy.special import bdtrc, ndtri


def chance_of_at_least(successes: int, trials: int, chance: float = 0.5) -> float:
    """How likely so many successes or more are if each trial succeeds by `chance`."""
    return float(bdtrc(successes - 1, trials, chance)) if successes > 0 else 1.0


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, which holds for few trials too.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Args:
        successes: how many trials succeeded.
        trials: how many there were, over 0.
        confidence: of the interval, in (0, 1).

    Returns:
        Its lower and its upper end.
    """
    z, share = float(ndtri(0.5 + confidence / 2)), successes / trials
    middle = share + z**2 / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = ((middle + side * half) / (1 + z**2 / trials) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)
