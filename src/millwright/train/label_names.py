"""The names of labels as teachers: where rows are few, "card_arrival" tells more than another row would.

Shape suffixes: N rows, C labels, D features.
"""

import re

import numpy as np

from millwright.proportions import chance_of_at_least
from millwright.train.heads import DEFAULT_STRENGTH, fit_head

FEW_ROWS_A_LABEL = 20  # with more rows a name adds nothing (benchmarks/label_names.py)
NOISE = 0.01
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W_]+")


def words_of(label: str) -> str:
    """A label's name as words: "card_arrival" and "cardArrival" become "card arrival".

    A name without letters or digits stays itself.
    """
    return " ".join(_BOUNDARY.sub(" ", label).lower().split()) or label


def with_names(
    feature_ND: np.ndarray, truth_N: np.ndarray, name_CD: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features and label numbers of rows, and after them those of the names that teach, if any do."""
    if not len(name_CD):
        return feature_ND, truth_N
    return np.concatenate([feature_ND, name_CD]), np.concatenate([truth_N, np.arange(len(name_CD))])


def may_teach(name_CD: np.ndarray, feature_ND: np.ndarray, truth_N: np.ndarray) -> bool:
    """Whether labels' names say what their rows are about.

    They do if a head that was taught by the names alone is right on the rows more often than the
    commonest label would be, beyond chance; names that are codes do not.

    Args:
        name_CD: features of the labels' names, one each, in the order of the labels.
        feature_ND: features of rows.
        truth_N: label numbers of the rows.

    Returns:
        True if the names may join the rows as one more text of each label.
    """
    labels = len(name_CD)
    weight_CD, bias_C = fit_head(name_CD, np.arange(labels), labels, DEFAULT_STRENGTH)
    right = int(((feature_ND @ weight_CD.T + bias_C).argmax(1) == truth_N).sum())
    commonest = float(np.bincount(truth_N, minlength=labels).max() / len(truth_N))
    return commonest < 1 and chance_of_at_least(right, len(truth_N), commonest) <= NOISE
