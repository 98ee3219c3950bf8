"""A differentially private head: ridge regression on noisy sufficient statistics of frozen features.

What is promised is a person's: all rows of one together move what is released by no more than one row may.
Only the two noisy statistics (and the noisy sums by which a temperature is chosen, of other people) see
rows; everything else is computed from those, or from the labels' names, which are taken as public.

Shape suffixes: N rows, M validation rows, P people, D features, C labels, K temperatures.
Source: Balle and Wang 2018, arXiv:1805.06530; Dwork et al. 2014, doi:10.1145/2591796.2591883, for noise on
a Gram matrix.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, solve

from millwright.errors import BadInput
from millwright.privacy.gaussian_mechanism import Normals, mu_of
from millwright.train.calibrate import softmax

DELTA = 1e-6
SENSITIVITY = math.sqrt(2)  # of (sum x x', sum x y') in one row of length one, y an indicator
LEAST_PEOPLE, LEAST_PEOPLE_A_LABEL = 10.0, 0.33  # times the noise; see `people_needed`
NAME_WEIGHT = 15.0  # a name counts as so many people for each unit of the noise's deviation
NAME_PERMUTATIONS, NAME_NOISE, LEAST_NAMES = 999, 0.01, 5
TEMPERATURE_STEP, TEMPERATURES_BELOW, TEMPERATURES_ABOVE = 1.5, 12, 5
MOST_VOTE = 0.5
PEOPLE_A_NOISE = 25  # so many people for each unit of noise, to choose a temperature by


@dataclass(frozen=True)
class PrivateHead:
    """Weights [C, D] and bias [C] in float32, and whether labels' names taught.

    `cautious_temperature` is for want of a better one: the spread of the names' logits.
    """

    weight_CD: np.ndarray
    bias_C: np.ndarray
    names_taught: bool
    cautious_temperature: float


def people_needed(labels: int, features: int, epsilon: float) -> int:
    """How many people must teach, so that about half of the accuracy over chance is left under the noise.

    The noise moves a direction of the statistics by its deviation times the square root of the features;
    that many people move it as far. With fewer than ten times as many in all, or a third of it a label, less
    than six tenths were left on five datasets unless labels' names helped (`benchmarks/private_head.py`).

    Args:
        labels: how many labels there are.
        features: how many features a text has.
        epsilon: what is promised, with DELTA.

    Returns:
        The number of people.
    """
    noise = SENSITIVITY / mu_of(epsilon, DELTA) * math.sqrt(features)
    return math.ceil(noise * max(LEAST_PEOPLE, LEAST_PEOPLE_A_LABEL * labels))


def check_people(people: int, labels: int, features: int, epsilon: float) -> None:
    """Refuse a promise under which the head would be of little use, or the promise would be none.

    Args:
        people: who have training rows.
        labels: how many labels there are.
        features: how many features a text has.
        epsilon: what is promised, with DELTA.

    Raises:
        BadInput: people are too few, or so many that DELTA is no small chance for each.
    """
    needed = people_needed(labels, features, epsilon)
    if people < needed:
        raise BadInput(
            f"epsilon = {epsilon:g} with delta = {DELTA:g} needs {needed:,} people who teach, for {labels} "
            f"labels and {features} features; there are {people:,}, {people / labels:.1f} a label: the noise "
            "would take about half of what the head learns, or more; collect more, raise train.epsilon, or "
            "use the method head",
            field="train.epsilon",
        )
    if people * DELTA >= 1:
        raise BadInput(f"delta = {DELTA:g} must be below 1 / people, there are {people:,}; use fewer rows")


def fit_private_head(
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    person_N: Sequence[str],
    name_CD: np.ndarray,
    mu: float,
    normals: Normals,
) -> PrivateHead:
    """Release (sum x x', sum x y') over people with noise, and solve a ridge regression on it.

    Features are centred on the mean of the names' and scaled to length one; a person's rows are averaged.
    The penalty is the noise's deviation times the square root of D, and negative directions, which only
    noise can make, are cut at zero.

    Args:
        feature_ND: features of training rows.
        truth_N: their label numbers, below C.
        person_N: who each row is of.
        name_CD: features of the labels' names.
        mu: of the mechanism: sensitivity over noise.
        normals: draws standard normal numbers; `secure_normals` where a promise is made.

    Returns:
        The head, for features as they came.
    """
    centre_D = name_CD.mean(0, dtype=np.float64)
    named_CD = _unit(name_CD, centre_D)
    gram_DD, sums_DC = _sums(_unit(feature_ND, centre_D), truth_N, person_N, len(name_CD))
    deviation = SENSITIVITY / mu
    gram_DD = _positive(gram_DD + symmetric_noise(len(gram_DD), deviation, normals))
    sums_DC = sums_DC + deviation * normals(sums_DC.size).reshape(sums_DC.shape)
    taught = names_tell(named_CD, sums_DC)
    if taught:
        gram_DD = gram_DD + NAME_WEIGHT * deviation * named_CD.T @ named_CD
        sums_DC = sums_DC + NAME_WEIGHT * deviation * named_CD.T
    penalty = max(1.0, deviation * math.sqrt(len(gram_DD)))
    weight_DC = solve(gram_DD + penalty * np.eye(len(gram_DD)), sums_DC, assume_a="pos")
    spread = float((named_CD @ weight_DC).std()) or 1.0
    return PrivateHead(
        np.ascontiguousarray(weight_DC.T, np.float32),
        (-centre_D @ weight_DC).astype(np.float32),
        taught,
        spread,
    )


def symmetric_noise(size: int, deviation: float, normals: Normals) -> np.ndarray:
    """A symmetric matrix [D, D] of noise whose coordinates are independent in the Frobenius norm.

    An entry off the diagonal stands twice in that norm, so its variance is half of one on it.
    """
    noise_DD = np.zeros((size, size))
    upper = np.triu_indices(size, 1)
    noise_DD[upper] = normals(len(upper[0])) * deviation / math.sqrt(2)
    noise_DD += noise_DD.T
    noise_DD[np.diag_indices(size)] = normals(size) * deviation
    return noise_DD


def names_tell(named_CD: np.ndarray, sums_DC: np.ndarray) -> bool:
    """Whether labels' names say what their rows are about, asked of the noisy sums, which costs nothing more.

    Each name must fit the sum of its own label better than when names are dealt out anew, beyond chance.

    Args:
        named_CD: features of the names, centred, of length one.
        sums_DC: noisy sums of features by label.

    Returns:
        True if the names may teach; never with fewer than five labels, which cannot show it.
    """
    if len(named_CD) < LEAST_NAMES:
        return False
    fit_CC = named_CD @ sums_DC
    fit_CC = fit_CC - fit_CC.mean(0) - fit_CC.mean(1)[:, None] + fit_CC.mean()
    places_C, chance = np.arange(len(fit_CC)), np.random.default_rng(0)
    dealt = [fit_CC[places_C, chance.permutation(places_C)].sum() for _ in range(NAME_PERMUTATIONS)]
    as_good = sum(one >= np.trace(fit_CC) for one in dealt)
    return bool((1 + as_good) / (1 + NAME_PERMUTATIONS) <= NAME_NOISE)


def private_temperature(
    logit_MC: np.ndarray,
    truth_M: np.ndarray,
    person_M: Sequence[str],
    mu: float,
    around: float,
    normals: Normals,
) -> float | None:
    """The temperature with the least Brier score by noisy sums over people who taught nothing.

    A person's vote is how the mean score of the rows changes from each temperature to the next, cut to the
    length MOST_VOTE, so one person moves the sums by no more than that. (Log loss has no bound: cutting it
    would forgive a model that is too sure.)

    Args:
        logit_MC: logits of validation rows.
        truth_M: their label numbers.
        person_M: who each row is of; none of them has training rows.
        mu: of the mechanism.
        around: temperatures from a hundredth of it to seven times it are tried.
        normals: draws standard normal numbers.

    Returns:
        The temperature; None where the people are too few for the noise.
    """
    if len(set(person_M)) < PEOPLE_A_NOISE / mu:
        return None
    power_K = np.arange(-TEMPERATURES_BELOW, TEMPERATURES_ABOVE + 1)
    temperature_K = around * TEMPERATURE_STEP ** power_K.astype(np.float64)
    sum_K = _votes(logit_MC, truth_M, person_M, temperature_K).sum(0)
    noisy_K = sum_K + normals(len(sum_K)) * MOST_VOTE / mu
    return float(temperature_K[np.concatenate([[0.0], noisy_K.cumsum()]).argmin()])


def _votes(
    logit_MC: np.ndarray, truth_M: np.ndarray, person_M: Sequence[str], temperature_K: np.ndarray
) -> np.ndarray:
    """How each person's mean Brier score changes from each temperature to the next, [P, K - 1]."""
    _, place_M, rows_P = np.unique(np.asarray(person_M, dtype=str), return_inverse=True, return_counts=True)
    target_MC = np.eye(logit_MC.shape[1])[truth_M]
    score_KM = np.stack([((softmax(logit_MC, t) - target_MC) ** 2).sum(1) for t in temperature_K])
    vote_PK = np.zeros((len(rows_P), len(temperature_K) - 1))
    np.add.at(vote_PK, place_M, np.diff(score_KM, axis=0).T)
    vote_PK /= rows_P[:, None]
    shortened_PK: np.ndarray = vote_PK / np.maximum(1, np.linalg.norm(vote_PK, axis=1) / MOST_VOTE)[:, None]
    return shortened_PK


def _sums(
    unit_ND: np.ndarray, truth_N: np.ndarray, person_N: Sequence[str], labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both statistics with each person's rows averaged, in float64."""
    _, place_N, rows_P = np.unique(np.asarray(person_N, dtype=str), return_inverse=True, return_counts=True)
    weighted_ND = unit_ND / rows_P[place_N][:, None]
    return unit_ND.T @ weighted_ND, weighted_ND.T @ np.eye(labels)[truth_N]


def _unit(feature_ND: np.ndarray, centre_D: np.ndarray) -> np.ndarray:
    """Features about a centre, scaled to length one (never more: the promise hangs on it)."""
    moved_ND: np.ndarray = feature_ND.astype(np.float64) - centre_D
    moved_ND /= np.maximum(np.linalg.norm(moved_ND, axis=1) * (1 + 1e-12), 1e-12)[:, None]
    return moved_ND


def _positive(gram_DD: np.ndarray) -> np.ndarray:
    value_D, vector_DD = eigh(gram_DD)
    positive_DD: np.ndarray = (vector_DD * np.maximum(value_D, 0)) @ vector_DD.T
    return positive_DD
