"""Which unlabelled rows are worth a person's time: those unlike what is known, later the close calls.

Shape suffixes: N candidates, M labelled rows, D features, C labels.
"""

import numpy as np

ROWS_A_CLASS = 1  # more coverage costs accuracy: docs/benchmarks.md, review
RANDOM_SHARE = 0.2


def k_center(feature_ND: np.ndarray, known_MD: np.ndarray, count: int) -> np.ndarray:
    """Candidates that cover the space: each is the farthest from all that is known or was taken before.

    Args:
        feature_ND: features of candidates.
        known_MD: features of labelled rows, perhaps none.
        count: how many to take at most.

    Returns:
        Places of candidates, in the order taken.

    Source: Gonzalez 1985; Sener and Savarese 2018, arXiv:1708.00489.
    """
    feature_ND = np.asarray(feature_ND, dtype=np.float64)
    distance_N = np.full(len(feature_ND), np.inf)
    for known_D in np.asarray(known_MD, dtype=np.float64):
        distance_N = np.minimum(distance_N, _squared(feature_ND, known_D))
    taken: list[int] = []
    for _ in range(min(count, len(feature_ND))):
        farthest = int(distance_N.argmax())
        taken.append(farthest)
        distance_N = np.minimum(distance_N, _squared(feature_ND, feature_ND[farthest]))
        distance_N[taken] = -1.0
    return np.array(taken, dtype=int)


def by_margin(probability_NC: np.ndarray, count: int) -> np.ndarray:
    """Candidates whose two likeliest labels are closest, the closest first.

    Args:
        probability_NC: a row a candidate.
        count: how many to take at most.

    Returns:
        Places of candidates.

    Source: Scheffer, Decomain and Wrobel 2001.
    """
    if probability_NC.shape[1] < 2:
        return np.arange(min(count, len(probability_NC)))
    top_N2 = np.sort(probability_NC, axis=1)[:, -2:]
    order_N: np.ndarray = np.argsort(top_N2[:, 1] - top_N2[:, 0], kind="stable")
    return order_N[:count]


def worth_labelling(
    feature_ND: np.ndarray, probability_NC: np.ndarray, known_MD: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Candidates by value of information, a fifth of them by chance so that something stays unbiased.

    Args:
        feature_ND: features of candidates.
        probability_NC: what the model says of them.
        known_MD: features of labelled rows; with fewer than one a label the candidates that cover the
            space are taken, later the close calls.
        count: how many to take at most.
        seed: of the chance.

    Returns:
        Places of candidates, and why each was taken: "coverage", "margin" or "chance".
    """
    count = min(count, len(feature_ND))
    drawn = np.random.default_rng(seed).permutation(len(feature_ND))[: round(RANDOM_SHARE * count)]
    rest = np.setdiff1d(np.arange(len(feature_ND)), drawn)
    is_early = len(known_MD) < ROWS_A_CLASS * probability_NC.shape[1]
    wanted = count - len(drawn)
    chosen = (
        k_center(feature_ND[rest], known_MD, wanted) if is_early else by_margin(probability_NC[rest], wanted)
    )
    why = ["coverage" if is_early else "margin"] * len(chosen) + ["chance"] * len(drawn)
    return np.concatenate([rest[chosen], drawn]).astype(int), why


def _squared(feature_ND: np.ndarray, one_D: np.ndarray) -> np.ndarray:
    distance_N: np.ndarray = ((feature_ND - one_D) ** 2).sum(axis=1)
    return distance_N
