"""Which unlabelled rows are worth a person's time: those unlike what is known, later the close calls.

Shape suffixes: N candidates, R requests, M labelled rows, D features, C labels.
"""

import numpy as np

from millwright.review.items import CHANCE

LEAST_KNOWN = 20  # rows; fewer do not tell what is usual
USUAL = 0.99  # of known rows are nearer to another one than what counts as new
SAMPLED = 2_000
BLOCK = 256
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


def unlike(feature_ND: np.ndarray, known_MD: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Candidates unlike all that is known: farther from it than 99 % of known rows are from one another.

    Args:
        feature_ND: features of candidates.
        known_MD: features of labelled rows; fewer than 20 do not tell what is usual.
        count: how many to take at most.
        seed: of the sample of known rows.

    Returns:
        Places of candidates, the farthest first.
    """
    if len(known_MD) < LEAST_KNOWN or not len(feature_ND):
        return np.empty(0, dtype=int)
    sampled = np.random.default_rng(seed).permutation(len(known_MD))[:SAMPLED]
    usual = np.quantile(_to_nearest(known_MD[sampled], known_MD, own=sampled), USUAL)
    distance_N = _to_nearest(feature_ND, known_MD)
    order_N = np.argsort(-distance_N, kind="stable")
    found: np.ndarray = order_N[distance_N[order_N] > usual][:count]
    return found


def worth_labelling(
    feature_ND: np.ndarray,
    probability_NC: np.ndarray,
    known_MD: np.ndarray,
    count: int,
    seed: int,
    times_N: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Candidates by value of information, a fifth of them by chance so that something stays unbiased.

    Args:
        feature_ND: features of candidates.
        probability_NC: what the model says of them.
        known_MD: features of labelled rows; with fewer than one a label the candidates that cover the
            space are taken, later the close calls.
        count: how many to take at most.
        seed: of the chance.
        times_N: how many requests each candidate stands for, which chance draws alike; one when not given.

    Returns:
        Places of candidates, and why each was taken: "coverage", "margin" or "chance". One of whose requests
        several were drawn comes as often.
    """
    count = min(count, len(feature_ND))
    request_R = np.repeat(np.arange(len(feature_ND)), 1 if times_N is None else times_N)
    drawn = np.random.default_rng(seed).permutation(request_R)[: round(RANDOM_SHARE * count)]
    rest = np.setdiff1d(np.arange(len(feature_ND)), drawn)
    is_early = len(known_MD) < ROWS_A_CLASS * probability_NC.shape[1]
    wanted = count - len(drawn)
    chosen = (
        k_center(feature_ND[rest], known_MD, wanted) if is_early else by_margin(probability_NC[rest], wanted)
    )
    why = ["coverage" if is_early else "margin"] * len(chosen) + [CHANCE] * len(drawn)
    return np.concatenate([rest[chosen], drawn]).astype(int), why


def _to_nearest(feature_ND: np.ndarray, known_MD: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Squared distances to the nearest known row; `own` are the places of the rows themselves among these."""
    feature_ND, known_MD = np.asarray(feature_ND, np.float64), np.asarray(known_MD, np.float64)
    found_N, length_M = np.empty(len(feature_ND)), (known_MD**2).sum(axis=1)
    for start in range(0, len(feature_ND), BLOCK):
        block_BD = feature_ND[start : start + BLOCK]
        squared_BM = (block_BD**2).sum(axis=1)[:, None] + length_M - 2 * block_BD @ known_MD.T
        if own is not None:
            squared_BM[np.arange(len(block_BD)), own[start : start + BLOCK]] = np.inf
        found_N[start : start + BLOCK] = squared_BM.min(axis=1)
    return found_N


def _squared(feature_ND: np.ndarray, one_D: np.ndarray) -> np.ndarray:
    distance_N: np.ndarray = ((feature_ND - one_D) ** 2).sum(axis=1)
    return distance_N
