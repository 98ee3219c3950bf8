"""Membership inference: how well one who sees a model's answers can tell who taught it.

Two attacks give each row a score that is higher where the row seems to have taught: its margin, and a
likelihood ratio against shadow heads, half of which learnt from the row. What counts is how many members are
found while almost nobody is accused wrongly, not how often a guess is right on average.

Shape suffixes: N rows, M rows that taught nothing, K shadows, D features, C labels.
Source: Carlini et al. 2022, arXiv:2112.03570; DeLong et al. 1988, doi:10.2307/2531595, for the area.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binomtest, norm, rankdata

from millwright.errors import BadInput
from millwright.records import Interval

LEAST_SHADOWS = 8

Teach = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class OperatingPoint:
    """How many members are found at a rate of false accusations.

    Intervals are exact (Clopper and Pearson) at the threshold that was taken; `false_positives` has one as
    well, since the rows that set the threshold are a sample.
    """

    asked: float
    false_positives: Interval
    true_positives: Interval


def margins(logit_NC: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of each row's true label, exact where p is all but one."""
    logit_NC = logit_NC.astype(np.float64)
    rows_N = np.arange(len(truth_N))
    others_NC = logit_NC.copy()
    others_NC[rows_N, truth_N] = -np.inf
    margin_N: np.ndarray = logit_NC[rows_N, truth_N] - logsumexp(others_NC, axis=1)
    return margin_N


def area(member_N: np.ndarray, other_M: np.ndarray) -> Interval:
    """The chance that a member scores above another, ties counting half, with DeLong's 95 % interval."""
    members, others = len(member_N), len(other_M)
    both = rankdata(np.concatenate([member_N, other_M]))
    above_N = (both[:members] - rankdata(member_N)) / others
    below_M = 1 - (both[members:] - rankdata(other_M)) / members
    value = float(above_N.mean())
    half = norm.ppf(0.975) * math.sqrt(above_N.var(ddof=1) / members + below_M.var(ddof=1) / others)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def operating_point(member_N: np.ndarray, other_M: np.ndarray, asked: float) -> OperatingPoint | None:
    """The share of members above the threshold that at most a share `asked` of the others is above.

    Args:
        member_N: scores of rows that taught.
        other_M: scores of rows that did not.
        asked: the rate of false accusations, in (0, 1).

    Returns:
        The point; None with fewer than 1 / `asked` others, of whom not one may be accused.
    """
    allowed = math.floor(asked * len(other_M) + 1e-9)
    if not allowed:
        return None
    threshold = np.sort(other_M)[-allowed - 1]
    return OperatingPoint(
        asked,
        _share(int((other_M > threshold).sum()), len(other_M)),
        _share(int((member_N > threshold).sum()), len(member_N)),
    )


def shadow_margins(
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    person_N: Sequence[str],
    teach: Teach,
    shadows: int,
    progress: Callable[[float], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Margins of all rows under heads, each of which learnt from half of the people.

    Each person teaches exactly half of the heads, which half is chance with a fixed seed.

    Args:
        feature_ND: features of rows that taught the version and of rows that did not.
        truth_N: their label numbers.
        person_N: who each row is of; a person's rows teach together.
        teach: makes weights [C, D] and bias [C] of the rows at the given places.
        shadows: how many heads, an even number of at least LEAST_SHADOWS.
        progress: called with the fraction done.

    Returns:
        Margins [K, N], and which rows taught which head [K, N].

    Raises:
        BadInput: too few shadows, or an odd number of them.
    """
    if shadows < LEAST_SHADOWS or shadows % 2:
        raise BadInput(
            f"shadows must be even and at least {LEAST_SHADOWS}, got {shadows}; pass 32", "shadows"
        )
    chance = np.random.default_rng(0)
    people_P, place_N = np.unique(np.asarray(person_N, dtype=str), return_inverse=True)
    half = np.repeat([True, False], shadows // 2)
    taught_KP = chance.permuted(np.tile(half[:, None], (1, len(people_P))), axis=0)
    margin_KN, taught_KN = np.zeros((shadows, len(truth_N))), taught_KP[:, place_N]
    for shadow in range(shadows):
        weight_CD, bias_C = teach(np.flatnonzero(taught_KN[shadow]), chance)
        margin_KN[shadow] = margins(feature_ND @ weight_CD.T + bias_C, truth_N)
        progress((shadow + 1) / shadows)
    return margin_KN, taught_KN


def likelihood_ratios(margin_N: np.ndarray, shadow_KN: np.ndarray, taught_KN: np.ndarray) -> np.ndarray:
    """Log likelihood that a row's margin is one of heads that it taught, over that it is of the others.

    Both are normal with means of the row's own and variances that all rows share, which needs fewer shadows.
    The version learnt from more rows than a shadow: margins are shifted so that their median difference from
    the row's own middle is zero, which says nothing of who taught.

    Args:
        margin_N: of the version.
        shadow_KN: of the shadows.
        taught_KN: which rows taught which shadow.

    Returns:
        Scores [N].
    """
    inside_KN, outside_KN = (np.where(mask, shadow_KN, np.nan) for mask in (taught_KN, ~taught_KN))
    mean_in_N, mean_out_N = np.nanmean(inside_KN, axis=0), np.nanmean(outside_KN, axis=0)
    deviation_in = math.sqrt(np.nanmean((inside_KN - mean_in_N) ** 2)) or 1.0
    deviation_out = math.sqrt(np.nanmean((outside_KN - mean_out_N) ** 2)) or 1.0
    shifted_N = margin_N - np.median(margin_N - (mean_in_N + mean_out_N) / 2)
    ratio_N: np.ndarray = norm.logpdf(shifted_N, mean_in_N, deviation_in) - norm.logpdf(
        shifted_N, mean_out_N, deviation_out
    )
    return ratio_N


def relative_margins(margin_N: np.ndarray, shadow_KN: np.ndarray, taught_KN: np.ndarray) -> np.ndarray:
    """Margins over what heads that never saw the row make of it: for versions that shadows do not resemble.

    Source: Watson et al. 2022, arXiv:2111.08440.
    """
    relative_N: np.ndarray = margin_N - np.nanmean(np.where(taught_KN, np.nan, shadow_KN), axis=0)
    return relative_N


def _share(count: int, rows: int) -> Interval:
    exact = binomtest(count, rows).proportion_ci(method="exact")
    return Interval(count / rows, float(exact.low), float(exact.high))
