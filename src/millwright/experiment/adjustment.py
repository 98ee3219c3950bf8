"""Predictions of an outcome from the past alone, which make the scores of an effect less noisy.

Sequential relatives of CUPED: whatever is known of a user before the assignment may be used, and what
the prediction is worth changes the width of an interval, never its validity.

Shape suffixes: T users in the order they came, D covariates; leading axes are independent runs.
"""

import numpy as np

PRIOR_ROWS = 1.0  # what the first guess, one half, weighs in rows
RIDGE = 1.0


def running_mean(outcome_T: np.ndarray) -> np.ndarray:
    """Mean outcome of the users before each one, one half for the first; in [0, 1] where outcomes are."""
    outcome_T = np.asarray(outcome_T, dtype=np.float64)
    before_T = np.cumsum(outcome_T, axis=-1) - outcome_T
    count_T = np.arange(outcome_T.shape[-1])
    mean_T: np.ndarray = (before_T + 0.5 * PRIOR_ROWS) / (count_T + PRIOR_ROWS)
    return mean_T


def predictable_regression(covariate_TD: np.ndarray, outcome_T: np.ndarray) -> np.ndarray:
    """Predict each outcome by ridge regression on the users before it.

    Args:
        covariate_TD: what was known of each user before the assignment, of about unit scale.
        outcome_T: outcomes in [0, 1].

    Returns:
        Predictions [T] clipped to [0, 1]; prediction t uses rows 0 to t - 1 only.

    Source: Deng et al. 2013 (CUPED), made predictable; the recursion is that of Sherman and Morrison 1950.
    """
    covariate_TD = np.asarray(covariate_TD, dtype=np.float64)
    design_TE = np.column_stack([np.ones(len(covariate_TD)), covariate_TD])
    inverse_EE = np.eye(design_TE.shape[1]) / RIDGE
    weight_E = np.zeros(design_TE.shape[1])
    weight_E[0] = 0.5
    predicted_T = np.empty(len(design_TE))
    for t, (row_E, outcome) in enumerate(zip(design_TE, outcome_T, strict=True)):
        predicted_T[t] = row_E @ weight_E
        gain_E = inverse_EE @ row_E
        gain_E = gain_E / (1 + row_E @ gain_E)
        weight_E = weight_E + gain_E * (outcome - predicted_T[t])
        inverse_EE = inverse_EE - np.outer(gain_E, row_E @ inverse_EE)
    clipped_T: np.ndarray = np.clip(predicted_T, 0.0, 1.0)
    return clipped_T
