"""The head: multinomial logistic regression, solved from zero in the order given, so the same rows
give the same head. Shape suffixes: N rows, D features, C labels.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from millwright.train.calibrate import fit_temperature, softmax

STRENGTHS = (1.0, 5.0, 20.0)  # inverse regularisation; unit-length features want little
DEFAULT_STRENGTH = 5.0
MAX_ITERATIONS = 1_000


def fit_head(
    feature_ND: np.ndarray, truth_N: np.ndarray, labels: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [C, D] and bias [C] of the minimum of log loss plus |W|² / (2 strength).

    Args:
        feature_ND: float32 features.
        truth_N: label numbers; a label without rows gets a bias that never wins.
        labels: how many labels there are, C.
        strength: inverse of the penalty, over 0.

    Returns:
        Weights and bias in float32.
    """
    solved = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(feature_ND, truth_N)
    weight, bias = solved.coef_, solved.intercept_
    if len(solved.classes_) == 2:
        weight, bias = np.vstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    weight_CD = np.zeros((labels, feature_ND.shape[1]), np.float32)
    bias_C = np.full(labels, -1e4, np.float32)
    weight_CD[solved.classes_], bias_C[solved.classes_] = weight, bias
    return weight_CD, bias_C


def choose_strength(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], labels: int
) -> tuple[float, float]:
    """The strength and temperature with the least log loss on validation rows.

    Args:
        train: features and label numbers to fit on.
        validation: features and label numbers to choose by; without any, defaults are returned.
        labels: how many labels there are.

    Returns:
        The strength and the temperature that goes with it.
    """
    feature_MD, truth_M = validation
    known = np.isin(truth_M, np.unique(train[1]))
    feature_MD, truth_M = feature_MD[known], truth_M[known]
    if len(truth_M) < 2:
        return DEFAULT_STRENGTH, 1.0
    tried: list[tuple[float, float, float]] = []
    for strength in STRENGTHS:
        weight_CD, bias_C = fit_head(*train, labels, strength)
        logit_MC = feature_MD @ weight_CD.T + bias_C
        temperature = fit_temperature(logit_MC, truth_M)
        tried.append((log_loss(softmax(logit_MC, temperature), truth_M), strength, temperature))
    _, strength, temperature = min(tried)
    return strength, temperature


def log_loss(probability_NC: np.ndarray, truth_N: np.ndarray | Sequence[int]) -> float:
    """Mean negative log probability of the true labels."""
    chosen = probability_NC[np.arange(len(truth_N)), truth_N]
    return float(-np.log(np.clip(chosen, 1e-15, None)).mean())
