"""Two versions on the same held-out rows: an exact paired test and paired bootstrap intervals.

Shape suffixes: N rows, R resamples.
"""

from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput
from millwright.proportions import chance_of_at_least
from millwright.records import Interval

RESAMPLES = 2_000


@dataclass(frozen=True)
class Comparison:
    """Accuracies before and after, their difference, and the chance of it if neither were better."""

    before: Interval
    after: Interval
    difference: Interval
    only_before: int
    only_after: int
    p_value: float


def compare_paired(correct_before_N: np.ndarray, correct_after_N: np.ndarray, seed: int = 0) -> Comparison:
    """Compare two versions by which rows each got right.

    The p-value is that of the exact one-sided McNemar test: the chance that at least `only_after` of
    the rows on which the two differ favour the challenger, were either equally likely to be right.

    Args:
        correct_before_N: whether the champion was right, a row each.
        correct_after_N: whether the challenger was right, in the same order.
        seed: of the bootstrap.

    Returns:
        The comparison; 95 % percentile intervals from resampling rows in pairs.

    Raises:
        BadInput: no rows, or not the same number.

    Source: McNemar 1947, Psychometrika 12, 153-157.
    """
    before_N, after_N = np.asarray(correct_before_N, dtype=bool), np.asarray(correct_after_N, dtype=bool)
    if len(before_N) != len(after_N) or not len(before_N):
        raise BadInput(
            f"both versions must answer the same rows, got {len(before_N)} and {len(after_N)}; pass one "
            "value a row for each"
        )
    only_before, only_after = int((before_N & ~after_N).sum()), int((after_N & ~before_N).sum())
    discordant = only_before + only_after
    p_value = chance_of_at_least(only_after, discordant)
    generator = np.random.default_rng(seed)
    rates = np.array([only_before, only_after, int((before_N & after_N).sum())]) / len(before_N)
    neither = max(0.0, 1 - rates.sum())
    drawn_R4 = generator.multinomial(len(before_N), [*rates, neither], size=RESAMPLES) / len(before_N)
    before_R, after_R = drawn_R4[:, 0] + drawn_R4[:, 2], drawn_R4[:, 1] + drawn_R4[:, 2]
    return Comparison(
        before=_interval(float(before_N.mean()), before_R),
        after=_interval(float(after_N.mean()), after_R),
        difference=_interval(float(after_N.mean() - before_N.mean()), after_R - before_R),
        only_before=only_before,
        only_after=only_after,
        p_value=float(p_value),
    )


def _interval(value: float, drawn_R: np.ndarray) -> Interval:
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return Interval(value, float(low), float(high))
