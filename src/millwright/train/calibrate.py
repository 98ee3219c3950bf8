"""Temperature scaling: one number that makes probabilities mean what they say.

Shape suffixes: N rows, C labels. Source: Guo et al. 2017, arXiv:1706.04599.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def softmax(logit_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities [N, C] of logits divided by `temperature`; each row sums to one."""
    probability_NC: np.ndarray = np.exp(log_softmax(logit_NC.astype(np.float64) / temperature, axis=1))
    return probability_NC


def fit_temperature(logit_NC: np.ndarray, truth_N: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the least log loss; the arg-max stays what it is.

    Each row counts as right for (N + 1) / (N + 2) only: else a few rows that are all right would make the
    model as sure as it can be, and its first mistake infinitely costly.

    Args:
        logit_NC: logits of rows that training never saw.
        truth_N: their label numbers.

    Returns:
        The temperature; over 1 where the model was too sure.

    Source: Platt 1999, "Probabilistic outputs for support vector machines", section 2.2, for the targets.
    """
    doubt = 1 / (len(truth_N) + 2)

    def loss(log_temperature: float) -> float:
        """Mean log loss of the true labels at a temperature, each row in doubt."""
        log_NC = log_softmax(logit_NC.astype(np.float64) / np.exp(log_temperature), axis=1)
        right_N = np.minimum(log_NC[np.arange(len(truth_N)), truth_N], -1e-12)
        return float(-((1 - doubt) * right_N + doubt * np.log(-np.expm1(right_N))).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))
