"""Whether users reach the arms in the shares that were meant; a wrong ratio voids every other figure.

Shape suffixes: T users in the order they came; leading axes are independent runs.
"""

from itertools import pairwise

import numpy as np
from scipy.special import gammaln

from millwright.experiment.confidence_sequences import check_alpha

CONCENTRATION = 100.0
ALPHA = 0.001


def mismatch_evidence(challengers: np.ndarray, users: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Log evidence against "each user got the challenger with probability `share`".

    The likelihood of the counts under a Beta prior around the share, over their likelihood under the
    share itself; an e-process, so it may be looked at after every user.

    Args:
        challengers: users who got the challenger.
        users: users in all.
        share: the challenger's share, in (0, 1).

    Returns:
        The logarithm of the evidence, in the shape of the arguments.

    Source: Lindon and Malek 2022, arXiv:2011.03567, section 3.
    """
    first, second = CONCENTRATION * np.asarray(share), CONCENTRATION * (1 - np.asarray(share))
    others = np.asarray(users) - challengers
    evidence: np.ndarray = (
        gammaln(CONCENTRATION)
        - gammaln(CONCENTRATION + users)
        + gammaln(first + challengers)
        - gammaln(first)
        + gammaln(second + others)
        - gammaln(second)
        - challengers * np.log(share)
        - others * np.log1p(-np.asarray(share))
    )
    return evidence


def is_mismatched(is_challenger_T: np.ndarray, propensity_T: np.ndarray, alpha: float = ALPHA) -> bool:
    """True if the arms' counts could hardly come from the probabilities that were logged.

    Users are taken by stretches in which the probability was the same; the evidence of the stretches
    multiplies. A true assignment raises this alarm with probability alpha at most, however often asked.

    Args:
        is_challenger_T: whether each user got the challenger.
        propensity_T: the probability with which that was to happen.
        alpha: the chance of a false alarm.

    Returns:
        Whether to stop and look for the fault.

    Raises:
        BadInput: alpha is not between 0 and 1.
    """
    check_alpha(alpha)
    log_evidence, highest = 0.0, 0.0
    is_challenger_T, propensity_T = np.asarray(is_challenger_T), np.asarray(propensity_T)
    starts = np.flatnonzero(np.diff(propensity_T, prepend=np.nan))
    for start, end in pairwise([*starts, len(propensity_T)]):
        came_T = np.cumsum(is_challenger_T[start:end])
        grown_T = mismatch_evidence(came_T, np.arange(1, end - start + 1), propensity_T[start])
        highest = max(highest, log_evidence + float(grown_T.max()))
        log_evidence += float(grown_T[-1])
    return bool(highest >= -np.log(alpha))
