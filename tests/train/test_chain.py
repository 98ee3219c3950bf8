"""The chain over tags against all sequences: total, best path, words' tags, spans, and its fit."""

import itertools

import numpy as np
import pytest

from millwright.train.chain import (
    Chain,
    believe,
    best_tags,
    fit_chain,
    path_score,
    plain_chain,
    span_probability,
    tag_names,
)

K = 5  # O, and B and I of two labels


def random_chain(seed: int) -> Chain:
    rng, plain = np.random.default_rng(seed), plain_chain(K)
    return Chain(
        rng.uniform(0.5, 2), plain.move_KK + rng.normal(size=(K, K)), plain.start_K + rng.normal(size=K)
    )


def random_scores(seed: int, words: int) -> np.ndarray:
    weight_WK = np.random.default_rng(seed + 100).dirichlet(np.ones(K), size=words)
    return np.log(weight_WK)


def all_paths(chain: Chain, score_WK: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every sequence that is possible, by listing them."""
    raw = {}
    for path in itertools.product(range(K), repeat=len(score_WK)):
        score = chain.start_K[path[0]] + sum(chain.scale * score_WK[w, t] for w, t in enumerate(path))
        raw[path] = score + sum(chain.move_KK[a, b] for a, b in itertools.pairwise(path))
    total = np.logaddexp.reduce(list(raw.values()))
    return {path: float(np.exp(score - total)) for path, score in raw.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("words", [1, 2, 5])
def test_beliefs_are_sums_over_all_sequences(seed, words):
    chain, score_WK = random_chain(seed), random_scores(seed, words)
    paths, beliefs = all_paths(chain, score_WK), believe(chain, score_WK)
    expected_WK = np.zeros((words, K))
    for path, p in paths.items():
        expected_WK[np.arange(words), path] += p
    assert beliefs.tag_WK == pytest.approx(expected_WK)
    assert tuple(best_tags(chain, score_WK)) == max(paths, key=paths.__getitem__)
    best = np.array(max(paths, key=paths.__getitem__))
    assert np.exp(path_score(chain, score_WK, best) - beliefs.log_total) == pytest.approx(max(paths.values()))


@pytest.mark.parametrize("seed", range(4))
def test_a_span_is_as_probable_as_all_sequences_in_which_it_stands_exactly(seed):
    chain, score_WK = random_chain(seed), random_scores(seed, 4)
    paths, beliefs = all_paths(chain, score_WK), believe(chain, score_WK)
    for begin, first, last in itertools.product((1, 3), range(4), range(1, 5)):
        if first < last:
            wanted = (begin, *[begin + 1] * (last - first - 1))
            expected = sum(
                p
                for path, p in paths.items()
                if path[first:last] == wanted and (last == 4 or path[last] != begin + 1)
            )
            assert span_probability(chain, beliefs, first, last, begin) == pytest.approx(expected)


def test_what_is_fitted_is_more_likely_than_what_stands_near_it():
    scores = [random_scores(seed, 6) for seed in range(12)]
    tags = [best_tags(random_chain(7), score_WK) for score_WK in scores]
    chain = fit_chain(scores, tags)

    def loss(one: Chain) -> float:
        fits = sum(
            path_score(one, s, t) - believe(one, s).log_total for s, t in zip(scores, tags, strict=True)
        )
        free = np.concatenate([[np.log(one.scale)], one.move_KK.ravel(), one.start_K])
        return -fits + 0.5 * float((free[np.isfinite(free)] ** 2).sum())

    rng = np.random.default_rng(0)
    for _ in range(30):
        near = Chain(
            chain.scale * np.exp(rng.normal(0, 0.05)),
            chain.move_KK + rng.normal(0, 0.05, (K, K)),
            chain.start_K + rng.normal(0, 0.05, K),
        )
        assert loss(near) > loss(chain)


def test_an_i_never_follows_what_is_not_its_own():
    tags = tag_names(["A", "B"])
    assert tags == ("O", "B-A", "I-A", "B-B", "I-B")
    for seed in range(50):
        found = [tags[tag] for tag in best_tags(plain_chain(K), random_scores(seed, 8))]
        for before, tag in itertools.pairwise(["O", *found]):
            assert tag[0] != "I" or before[2:] == tag[2:]
