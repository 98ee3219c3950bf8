"""How right a model is on texts that nobody labelled, from how sure it is of them.

Shape suffixes: N held-out rows, M texts of the window, R resamples.
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression

from millwright.errors import BadInput
from millwright.records import Interval

LEAST = 50
RESAMPLES = 200


def estimated_accuracy(
    confidence_N: np.ndarray, right_N: np.ndarray, confidence_M: np.ndarray, seed: int = 0
) -> Interval:
    """Accuracy on a window: the mean chance of its answers to be right, given how sure the model is.

    That chance is read off held-out rows by isotonic regression. Sound where confidence goes with being
    right as it did there; where the same words come to mean another label, no estimate without labels can
    see it.

    Args:
        confidence_N: probability of the answer on held-out rows.
        right_N: whether it was right.
        confidence_M: probability of the answer on texts of the window.
        seed: of the bootstrap over both samples.

    Returns:
        The estimate with its 95 % interval.

    Raises:
        BadInput: there are fewer than 50 held-out rows, or no text.

    Source: Bialek et al. 2024, arXiv:2407.08649 (confidence-based performance estimation).
    """
    if len(confidence_N) < LEAST or not len(confidence_M):
        raise BadInput(
            f"an estimate needs {LEAST} held-out rows and a text, got {len(confidence_N)} and "
            f"{len(confidence_M)}; hold out more rows"
        )
    confidence_N, right_N = np.asarray(confidence_N, float), np.asarray(right_N, bool)
    confidence_M, rng = np.asarray(confidence_M, float), np.random.default_rng(seed)
    held_out_RN = rng.integers(0, len(confidence_N), (RESAMPLES, len(confidence_N)))
    window_RM = rng.integers(0, len(confidence_M), (RESAMPLES, len(confidence_M)))
    drawn_R = [
        _mean_chance(confidence_N[own_N], right_N[own_N], confidence_M[own_M])
        for own_N, own_M in zip(held_out_RN, window_RM, strict=True)
    ]
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return Interval(_mean_chance(confidence_N, right_N, confidence_M), float(low), float(high))


def _mean_chance(confidence_N: np.ndarray, right_N: np.ndarray, confidence_M: np.ndarray) -> float:
    chance = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence_N, right_N)
    return float(chance.predict(confidence_M).mean())
