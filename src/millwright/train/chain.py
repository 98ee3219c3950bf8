"""A linear chain over the tags of words: which tag follows which, and how sure a span is.

The head gives each word scores of its tags; the chain adds what it costs to go from one tag to the next and
scales the scores, so it is to tags what temperature is to labels. Sequences in which an I follows neither B
nor I of its label are impossible.

Shape suffixes: W words of a text, K tags, B texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from millwright.records import JsonObject
from millwright.settings import SPANS

PENALTY = 1.0  # on half the squared moves: rows that never show a pair of tags say little about it
MOST_STEPS = 200
OUTSIDE = "O"


def finds_spans(about: JsonObject) -> bool:
    """True if this is what classifier.json says of a version that finds spans."""
    return bool(about.get("task") == SPANS)


@dataclass(frozen=True)
class Chain:
    """`scale` of the scores, `move_KK` from a tag (row) to the next, `start_K`; -inf where impossible."""

    scale: float
    move_KK: np.ndarray
    start_K: np.ndarray


def tag_names(labels: Sequence[str]) -> tuple[str, ...]:
    """ "O", then B and I of each label."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def plain_chain(tags: int) -> Chain:
    """A chain that forbids what is impossible and prefers nothing."""
    move_KK, start_K = np.zeros((tags, tags)), np.zeros(tags)
    inside = np.arange(2, tags, 2)
    move_KK[:, inside] = -np.inf
    move_KK[inside, inside] = move_KK[inside - 1, inside] = 0.0
    start_K[inside] = -np.inf
    return Chain(1.0, move_KK, start_K)


def fit_chain(scores: Sequence[np.ndarray], tags: Sequence[np.ndarray]) -> Chain:
    """Scale and moves of the greatest likelihood of texts that did not teach the head, less a penalty.

    Convex for a given scale, though not in the scale's logarithm too; descent always begins at the plain
    chain, so the result depends on the texts alone.

    Args:
        scores: log probabilities [W, K] of the tags of each text's words.
        tags: the right tags [W] of each text.

    Returns:
        The chain; the plain one where there is no text of at least one word.

    Source: Lafferty, McCallum and Pereira 2001, "Conditional random fields", ICML, section 3.
    """
    texts = [(s.astype(np.float64), t) for s, t in zip(scores, tags, strict=True) if len(t)]
    if not texts:
        return plain_chain(scores[0].shape[1] if len(scores) else 1)
    plain = plain_chain(texts[0][0].shape[1])
    may_KK, may_K = np.isfinite(plain.move_KK), np.isfinite(plain.start_K)
    moves = int(may_KK.sum())

    def chain_of(free: np.ndarray) -> Chain:
        """The chain of the free parameters: log scale, moves, starts."""
        move_KK, start_K = plain.move_KK.copy(), plain.start_K.copy()
        move_KK[may_KK], start_K[may_K] = free[1 : 1 + moves], free[1 + moves :]
        return Chain(float(np.exp(free[0])), move_KK, start_K)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log likelihood with the penalty, and its slope."""
        chain = chain_of(free)
        value, slope_scale = 0.0, 0.0
        slope_KK, slope_K = np.zeros_like(plain.move_KK), np.zeros_like(plain.start_K)
        for score_WK, tag_W in texts:
            beliefs = believe(chain, score_WK)
            place_W = np.arange(len(tag_W))
            value += beliefs.log_total - path_score(chain, score_WK, tag_W)
            slope_scale += float((beliefs.tag_WK * score_WK).sum() - score_WK[place_W, tag_W].sum())
            slope_KK += beliefs.pair_KK
            np.add.at(slope_KK, (tag_W[:-1], tag_W[1:]), -1.0)
            slope_K += beliefs.tag_WK[0]
            slope_K[tag_W[0]] -= 1.0
        slope = np.concatenate([[slope_scale * chain.scale], slope_KK[may_KK], slope_K[may_K]])
        return value + 0.5 * PENALTY * float(free @ free), slope + PENALTY * free

    zero = np.zeros(1 + moves + int(may_K.sum()))
    found = minimize(loss, zero, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS})
    return chain_of(found.x)


@dataclass(frozen=True)
class Beliefs:
    """What a chain believes of a text: each word's tags, how often each pair, and what spans are worth.

    `before_WK` and `after_WK` are forward and backward weights, `total_W` what they were divided by.
    """

    tag_WK: np.ndarray
    pair_KK: np.ndarray
    log_total: float
    raised_WK: np.ndarray
    before_WK: np.ndarray
    after_WK: np.ndarray
    total_W: np.ndarray


def believe(chain: Chain, score_WK: np.ndarray) -> Beliefs:
    """Forward and backward over a text of at least one word.

    Args:
        chain: the chain.
        score_WK: log probabilities of tags.

    Returns:
        Its beliefs; `log_total` is the log of the sum over all sequences of their exponentiated scores.

    Source: Rabiner 1989, doi:10.1109/5.18626, section III with the scaling of section V.
    """
    scaled_WK = chain.scale * score_WK.astype(np.float64)
    top_W1 = scaled_WK.max(axis=1, keepdims=True)
    raised_WK, move_KK = np.exp(scaled_WK - top_W1), np.exp(chain.move_KK)
    before_WK, after_WK = np.empty_like(raised_WK), np.empty_like(raised_WK)
    total_W = np.empty(len(score_WK))
    weight_K = np.exp(chain.start_K) * raised_WK[0]
    for word in range(len(score_WK)):
        if word:
            weight_K = (before_WK[word - 1] @ move_KK) * raised_WK[word]
        total_W[word] = weight_K.sum()
        before_WK[word] = weight_K / total_W[word]
    after_WK[-1] = 1.0
    for word in range(len(score_WK) - 2, -1, -1):
        after_WK[word] = move_KK @ (raised_WK[word + 1] * after_WK[word + 1]) / total_W[word + 1]
    onward_WK = raised_WK[1:] * after_WK[1:] / total_W[1:, None]
    pair_KK = (before_WK[:-1].T @ onward_WK) * move_KK
    log_total = float(np.log(total_W).sum() + top_W1.sum())
    return Beliefs(before_WK * after_WK, pair_KK, log_total, raised_WK, before_WK, after_WK, total_W)


def path_score(chain: Chain, score_WK: np.ndarray, tag_W: np.ndarray) -> float:
    """The score of one sequence of tags; its probability is exp(score - log_total)."""
    own = chain.scale * float(score_WK[np.arange(len(tag_W)), tag_W].sum(dtype=np.float64))
    return own + float(chain.start_K[tag_W[0]] + chain.move_KK[tag_W[:-1], tag_W[1:]].sum())


def best_tags(chain: Chain, score_WK: np.ndarray) -> np.ndarray:
    """The sequence of tags [W] with the highest score, by Viterbi; the first tag of those that are equal."""
    scaled_WK = chain.scale * score_WK.astype(np.float64)
    best_K = chain.start_K + scaled_WK[0]
    came = np.zeros(score_WK.shape, dtype=np.intp)
    for word in range(1, len(score_WK)):
        through_KK = best_K[:, None] + chain.move_KK
        came[word] = through_KK.argmax(axis=0)
        best_K = through_KK[came[word], np.arange(len(best_K))] + scaled_WK[word]
    tag_W = np.empty(len(score_WK), dtype=np.intp)
    tag_W[-1] = best_K.argmax()
    for word in range(len(score_WK) - 1, 0, -1):
        tag_W[word - 1] = came[word, tag_W[word]]
    return tag_W


def span_probability(chain: Chain, beliefs: Beliefs, first: int, last: int, begin: int) -> float:
    """The probability that a span stands exactly from one word to another, over all sequences of the text.

    Args:
        chain: the chain.
        beliefs: what it believes of the text.
        first: the span's first word.
        last: after its last word.
        begin: the number of its label's B; its I comes next.

    Returns:
        A probability in [0, 1].
    """
    move_KK, inside = np.exp(chain.move_KK), begin + 1
    weight, tag = float(beliefs.before_WK[first, begin]), begin
    for word in range(first + 1, last):
        weight *= float(move_KK[tag, inside] * beliefs.raised_WK[word, inside] / beliefs.total_W[word])
        tag = inside
    if last == len(beliefs.total_W):
        return min(1.0, weight)
    onward_K = move_KK[tag] * beliefs.raised_WK[last] * beliefs.after_WK[last] / beliefs.total_W[last]
    onward_K[inside] = 0.0  # that would be a longer span
    return min(1.0, weight * float(onward_K.sum()))
