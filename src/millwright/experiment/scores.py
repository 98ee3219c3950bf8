"""What one user's outcome says of the difference between two arms, whatever the shares were.

Shape suffixes: T users in the order they came; leading axes, if any, are independent runs.
"""

from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput


@dataclass(frozen=True)
class Scores:
    """Unbiased scores of the difference, one a user, and what a bet on them may lose.

    `score_T` has, given the past, the mean of the challenger's outcome less the champion's. `weight_T`
    is p(1 - p), by which bets are scaled so that users of a lopsided assignment count for what they
    tell. `bound_T` is the largest absolute value that a user's score can have. Both hang on the shares
    of that user alone: shares that follow outcomes, as Thompson sampling's, would else tell bets of what
    comes after them.
    """

    score_T: np.ndarray
    weight_T: np.ndarray
    bound_T: np.ndarray

    def __neg__(self) -> "Scores":
        """Scores of the champion less the challenger, which bet on harm."""
        return Scores(-self.score_T, self.weight_T, self.bound_T)


def effect_scores(
    outcome_T: np.ndarray, is_challenger_T: np.ndarray, propensity_T: np.ndarray, centre_T: np.ndarray
) -> Scores:
    """Scores whose mean, given the past, is the effect of the challenger.

    Z = (W - p) / (p (1 - p)) * (Y - m), with W the arm that was drawn with the logged probability p and
    m any prediction of the outcome that was made before the user was assigned.

    Args:
        outcome_T: outcomes in [0, 1], by time of first exposure.
        is_challenger_T: whether the user got the challenger.
        propensity_T: the probability of the challenger that was in force for this user, in (0, 1).
        centre_T: m, in [0, 1]; from `adjustment.py`.

    Returns:
        The scores.

    Raises:
        BadInput: an outcome is outside [0, 1], or a probability is not strictly between 0 and 1.

    Source: Horvitz and Thompson 1952; Waudby-Smith et al. 2024, arXiv:2103.06476, section 3.
    """
    outcome_T = np.asarray(outcome_T, dtype=np.float64)
    propensity_T = np.broadcast_to(np.asarray(propensity_T, dtype=np.float64), outcome_T.shape)
    _check_unit("outcome", outcome_T)
    _check_unit("centre", np.asarray(centre_T))
    inside_T = (propensity_T > 0) & (propensity_T < 1)
    if not inside_T.all():
        raise BadInput(
            f"a probability of assignment must be strictly between 0 and 1, got "
            f"{propensity_T[~inside_T].flat[0]}; leave out users who could only get one version"
        )
    weight_T = propensity_T * (1 - propensity_T)
    score_T = (np.asarray(is_challenger_T) - propensity_T) / weight_T * (outcome_T - centre_T)
    return Scores(score_T, weight_T, 1 / np.minimum(propensity_T, 1 - propensity_T))


def _check_unit(name: str, value_T: np.ndarray) -> None:
    bad_T = ~((value_T >= 0) & (value_T <= 1))
    if bad_T.any():
        raise BadInput(f"{name} must be in [0, 1], got {value_T[bad_T].flat[0]}; rescale it by its range")
