"""The head: multinomial logistic regression, solved in the order given, so the same rows give the same
head. Shape suffixes: N rows, D features, C labels.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from millwright.train.calibrate import fit_temperature, softmax
from millwright.train.solver import Solution, coordinates_of, eigenbasis, one_thread_each, solve

STRENGTHS = (0.3, 1.0, 5.0, 20.0, 80.0)  # inverse regularisation, weakest penalty last
DEFAULT_STRENGTH = 5.0
FINAL_TOLERANCE = 1e-5
TRIAL_TOLERANCE = 1e-4
NO_ROWS_BIAS = -1e4

Head = tuple[np.ndarray, np.ndarray]  # weights [C, D] and bias [C]


def fit_head(
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    labels: int,
    strength: float,
    start: Head | None = None,
) -> Head:
    """Weights [C, D] and bias [C] of the minimum of log loss plus a penalty; see solver.py.

    Args:
        feature_ND: float32 features in canonical order of rows.
        truth_N: label numbers; a label without rows gets a bias that never wins.
        labels: how many labels there are, C.
        strength: inverse of the penalty, over 0.
        start: a head that learnt from some of the rows, to start from; None starts from zero.

    Returns:
        Weights and bias in float32.
    """
    present_P, place_N = np.unique(truth_N, return_inverse=True)
    with one_thread_each() as pool:
        basis, start_EC = eigenbasis(feature_ND, pool), None
        if start is not None and (start[1][present_P] > NO_ROWS_BIAS).all():
            start_EC = coordinates_of(start[0][present_P], start[1][present_P], basis)
        solution = solve(
            basis, place_N, len(present_P), strength, pool, tolerance=FINAL_TOLERANCE, start_EC=start_EC
        )
    return _spread(solution, present_P, labels)


def choose_strength(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    labels: int,
    strengths: Sequence[float] | None = None,
) -> tuple[float, float, float | None, Head | None]:
    """The strength and temperature with the least log loss on validation rows.

    Strengths are tried from the strongest penalty on, each from the solution before it, until one is
    worse than the one before.

    Args:
        train: features and label numbers to fit on.
        validation: features and label numbers to choose by; without any, defaults are returned.
        labels: how many labels there are.
        strengths: what is tried, weakest penalty last; STRENGTHS if not given.

    Returns:
        The strength, the temperature that goes with it, the accuracy on all validation rows, and the head
        that has it; without two validation rows the defaults, None and None.
    """
    feature_MD, truth_M = validation
    present_P, place_N = np.unique(train[1], return_inverse=True)
    known_M = np.isin(truth_M, present_P)
    if known_M.sum() < 2:
        return DEFAULT_STRENGTH, 1.0, None, None
    start_EC: Tensor | None = None
    least = np.inf
    best: tuple[float, float, float | None, Head | None] = DEFAULT_STRENGTH, 1.0, None, None
    with one_thread_each() as pool:
        basis = eigenbasis(train[0], pool)
        for strength in strengths or STRENGTHS:
            solution = solve(
                basis, place_N, len(present_P), strength, pool, tolerance=TRIAL_TOLERANCE, start_EC=start_EC
            )
            start_EC = solution.coordinates_EC
            weight_CD, bias_C = _spread(solution, present_P, labels)
            logit_MC = feature_MD @ weight_CD.T + bias_C
            temperature = fit_temperature(logit_MC[known_M], truth_M[known_M])
            loss = log_loss(softmax(logit_MC[known_M], temperature), truth_M[known_M])
            if loss > least:
                break
            accuracy = float((logit_MC.argmax(1) == truth_M).mean())
            least, best = loss, (strength, temperature, accuracy, (weight_CD, bias_C))
    return best


def log_loss(probability_NC: np.ndarray, truth_N: np.ndarray | Sequence[int]) -> float:
    """Mean negative log probability of the true labels."""
    chosen = probability_NC[np.arange(len(truth_N)), truth_N]
    return float(-np.log(np.clip(chosen, 1e-15, None)).mean())


def _spread(solution: Solution, present_P: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    weight_CD = np.zeros((labels, solution.weight_CD.shape[1]), np.float32)
    bias_C = np.full(labels, NO_ROWS_BIAS, np.float32)
    weight_CD[present_P], bias_C[present_P] = solution.weight_CD, solution.bias_C
    return weight_CD, bias_C
