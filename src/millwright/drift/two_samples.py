"""Tests of whether two samples come from one distribution: of features, of confidences, of labels.

Each returns a p-value that is below a with probability a at most where nothing changed.

Shape suffixes: N rows of the reference, M of the window, S of both, D features, C labels, P permutations.
"""

import numpy as np
from scipy.stats import binom, chi2_contingency, ks_2samp

from millwright.train.heads import DEFAULT_STRENGTH, fit_head

PERMUTATIONS = 9_999
AT_ONCE = 500
LEAST_EXPECTED = 5.0


def classifier_test(reference_ND: np.ndarray, window_MD: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Can a classifier tell the samples apart? It learns on one half, and is measured on the other.

    Args:
        reference_ND: features of the reference.
        window_MD: features of the window.
        seed: of the halves.

    Returns:
        Its accuracy on as many rows of either, and the chance of that by coin tosses.

    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545.
    """
    rng, size = np.random.default_rng(seed), min(len(reference_ND), len(window_MD))
    first, second = rng.permutation(len(reference_ND))[:size], rng.permutation(len(window_MD))[:size]
    half = size // 2

    def rows(begin: int, end: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Features and sample numbers of a half of both."""
        parts = (reference_ND[first[begin:end]], window_MD[second[begin:end]])
        truth_S = np.repeat([0, 1], [len(part) for part in parts])
        return np.concatenate(parts).astype(np.float32), truth_S

    weight_CD, bias_C = fit_head(*rows(0, half), 2, DEFAULT_STRENGTH)
    held_SD, truth_S = rows(half, None)
    score_SC = held_SD @ weight_CD.T + bias_C
    right = int(((score_SC[:, 1] > score_SC[:, 0]) == truth_S).sum())
    return right / len(truth_S), float(binom.sf(right - 1, len(truth_S), 0.5))


def mmd_test(
    reference_ND: np.ndarray, window_MD: np.ndarray, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float]:
    """How far the samples' mean embeddings in a Gaussian kernel's space are apart.

    Args:
        reference_ND: features of the reference.
        window_MD: features of the window.
        permutations: how often the samples are mixed; the p-value is 1 / (permutations + 1) at least.
        seed: of the mixing.

    Returns:
        The squared distance, biased by the samples' sizes, and its p-value.

    Source: Gretton et al. 2012, JMLR 13, with the median heuristic.
    """
    pooled_SD = np.concatenate([reference_ND, window_MD]).astype(np.float64)
    squared_S = (pooled_SD**2).sum(axis=1)
    distance_SS = np.maximum(squared_S[:, None] + squared_S - 2 * pooled_SD @ pooled_SD.T, 0.0)
    apart = distance_SS[np.triu_indices(len(pooled_SD), 1)]
    scale = float(np.median(apart)) if len(apart) else 0.0
    kernel_SS = np.exp(-distance_SS / (scale or 1.0))
    weight_S = np.repeat([1 / len(reference_ND), -1 / len(window_MD)], [len(reference_ND), len(window_MD)])
    found = float(weight_S @ kernel_SS @ weight_S)
    rng, above = np.random.default_rng(seed), 0
    for start in range(0, permutations, AT_ONCE):
        count = min(AT_ONCE, permutations - start)
        mixed_PS = rng.permuted(np.tile(weight_S, (count, 1)), axis=1)
        above += int((((mixed_PS @ kernel_SS) * mixed_PS).sum(axis=1) >= found - 1e-12).sum())
    return found, (1 + above) / (1 + permutations)


def confidence_test(reference_NC: np.ndarray, window_MC: np.ndarray) -> tuple[float, float]:
    """Do the probabilities of any label differ? Kolmogorov and Smirnov's test a label, Bonferroni over them.

    Args:
        reference_NC: a version's probabilities of the reference.
        window_MC: the same version's of the window.

    Returns:
        The largest distance of two distribution functions, and the p-value.

    Source: Lipton, Wang and Smola 2018, arXiv:1802.03916; Rabanser et al. 2019, arXiv:1810.11953.
    """
    labels = reference_NC.shape[1]
    found = [ks_2samp(reference_NC[:, label], window_MC[:, label]) for label in range(labels)]
    return (
        max(float(one.statistic) for one in found),
        min(1.0, labels * min(float(one.pvalue) for one in found)),
    )


def label_test(reference_N: np.ndarray, window_M: np.ndarray, labels: int) -> tuple[float, float]:
    """Do answers fall on labels as before? Pearson's chi-squared, rare labels counted together.

    Args:
        reference_N: label numbers of the reference.
        window_M: label numbers of the window.
        labels: how many labels there are.

    Returns:
        Chi-squared and its p-value; 0 and 1 where only one label is common enough to count.
    """
    count_2C = np.array([np.bincount(numbers, minlength=labels) for numbers in (reference_N, window_M)])
    share = count_2C.sum(axis=0) * min(len(reference_N), len(window_M)) / count_2C.sum()
    is_rare_C = share < LEAST_EXPECTED
    table = np.column_stack([count_2C[:, ~is_rare_C], count_2C[:, is_rare_C].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    found = chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)
