"""What another assignment of users would have brought, from the logs of the one that was in force.

Shape suffixes: N logged decisions, A actions (versions).
"""

from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput

MIN_EFFECTIVE = 100.0
FLOOR = 0.02


@dataclass(frozen=True)
class PolicyValue:
    """Mean outcome that a policy would have had, three ways, each with its standard error.

    `effective` is the number of decisions that the estimate is worth: (sum w)^2 / sum w^2.
    """

    ips: float
    snips: float
    doubly_robust: float | None
    ips_error: float
    snips_error: float
    doubly_robust_error: float | None
    effective: float


def policy_value(
    outcome_N: np.ndarray,
    action_N: np.ndarray,
    propensity_N: np.ndarray,
    target_NA: np.ndarray,
    predicted_NA: np.ndarray | None = None,
) -> PolicyValue:
    """Value of a policy by inverse propensities, self-normalised and, with a model, doubly robust.

    Args:
        outcome_N: what followed each decision.
        action_N: which action was taken, as its column.
        propensity_N: the logged probability of the action that was taken, at least 0.02.
        target_NA: the probability of each action under the policy to be valued.
        predicted_NA: a model's prediction of the outcome of each action; it may be wrong, but must not
            have seen these outcomes.

    Returns:
        The value by each estimator.

    Raises:
        BadInput: a propensity is below the floor, or the effective sample size is below 100.

    Source: Dudik, Langford and Li 2011, arXiv:1103.4601; Swaminathan and Joachims 2015 (self-normalised).
    """
    outcome_N, propensity_N = np.asarray(outcome_N, dtype=float), np.asarray(propensity_N, dtype=float)
    if not (propensity_N >= FLOOR).all():
        raise BadInput(
            f"a logged probability is {propensity_N.min():.4g}, the least that can be weighed is {FLOOR}; "
            "value only what was explored at least so often"
        )
    taken_N = np.take_along_axis(target_NA, np.asarray(action_N)[:, None], axis=1)[:, 0]
    weight_N = taken_N / propensity_N
    squares = float((weight_N**2).sum())
    effective = float(weight_N.sum()) ** 2 / squares if squares else 0.0
    if effective < MIN_EFFECTIVE:
        raise BadInput(
            f"the logs are worth {effective:.0f} decisions of this policy, at least {MIN_EFFECTIVE:.0f} are "
            "needed; give the version a larger share first"
        )
    ips_N = weight_N * outcome_N
    snips = float(ips_N.sum() / weight_N.sum())
    robust_N = (
        None if predicted_NA is None else _doubly_robust(ips_N, weight_N, action_N, target_NA, predicted_NA)
    )
    return PolicyValue(
        ips=float(ips_N.mean()),
        snips=snips,
        doubly_robust=None if robust_N is None else float(robust_N.mean()),
        ips_error=_error(ips_N),
        snips_error=_error(weight_N * (outcome_N - snips) / weight_N.mean()),
        doubly_robust_error=None if robust_N is None else _error(robust_N),
        effective=effective,
    )


def _doubly_robust(
    ips_N: np.ndarray,
    weight_N: np.ndarray,
    action_N: np.ndarray,
    target_NA: np.ndarray,
    predicted_NA: np.ndarray,
) -> np.ndarray:
    own_N = np.take_along_axis(predicted_NA, np.asarray(action_N)[:, None], axis=1)[:, 0]
    value_N: np.ndarray = (target_NA * predicted_NA).sum(axis=1) + ips_N - weight_N * own_N
    return value_N


def _error(value_N: np.ndarray) -> float:
    return float(value_N.std(ddof=1) / np.sqrt(len(value_N)))
