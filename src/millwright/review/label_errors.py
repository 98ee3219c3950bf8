"""Rows whose label is probably wrong, for a person to look at. Not all of them are: nothing is deleted.

Shape suffixes: N rows, D features, C labels.
"""

from collections.abc import Callable

import numpy as np

FOLDS = 5

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


def out_of_fold(feature_ND: np.ndarray, truth_N: np.ndarray, fit: Fit, seed: int = 0) -> np.ndarray:
    """Probabilities of each row from a model that did not see it.

    Args:
        feature_ND: features that did not see the labels either, such as the frozen backbone's.
        truth_N: label numbers.
        fit: trains on features and label numbers and returns what gives probabilities of features.
        seed: of the folds, which are stratified.

    Returns:
        Probabilities [N, C].
    """
    fold_N = np.empty(len(truth_N), dtype=int)
    rng = np.random.default_rng(seed)
    for label in np.unique(truth_N):
        own = rng.permutation(np.flatnonzero(truth_N == label))
        fold_N[own] = (np.arange(len(own)) + rng.integers(FOLDS)) % FOLDS
    parts = []
    for fold in range(FOLDS):
        inside_N = fold_N != fold
        held = np.flatnonzero(~inside_N)
        if len(held):
            parts.append((held, fit(feature_ND[inside_N], truth_N[inside_N])(feature_ND[held])))
    probability_NC = np.empty((len(truth_N), parts[0][1].shape[1]))
    for held, probability_HC in parts:
        probability_NC[held] = probability_HC
    return probability_NC


def suspects(probability_NC: np.ndarray, truth_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that look like confident examples of another label, the most suspicious first.

    The threshold of a label is the mean probability that its own rows get for it. A row is suspected if,
    of the labels whose threshold it reaches, the likeliest is not its own.

    Args:
        probability_NC: out-of-fold probabilities.
        truth_N: the labels that were given.

    Returns:
        Places of the rows, and the label that each looks like.

    Source: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068.
    """
    labels = probability_NC.shape[1]
    threshold_C = np.full(labels, np.inf)
    for label in np.unique(truth_N):
        threshold_C[label] = probability_NC[truth_N == label, label].mean()
    reached_NC = np.where(probability_NC >= threshold_C, probability_NC, -np.inf)
    likeliest_N = reached_NC.argmax(axis=1)
    is_suspect_N = np.isfinite(reached_NC.max(axis=1)) & (likeliest_N != truth_N)
    place_N = np.flatnonzero(is_suspect_N)
    own_N = probability_NC[place_N, truth_N[place_N]]
    order = np.argsort(own_N - probability_NC[place_N, likeliest_N[place_N]], kind="stable")
    return place_N[order], likeliest_N[place_N[order]]
