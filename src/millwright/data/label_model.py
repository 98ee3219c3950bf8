"""The label model: how often each labelling function is right, learnt from where they agree and differ.

A row's true label y has the prior pi. Given y, functions vote independently of one another. When function j
votes v, it is right with probability a_j, its accuracy, so that

    P(j votes v | y = v) / P(j votes v) = a_j / pi_v,
    P(j votes v | y != v) / P(j votes v) = (1 - a_j) / (1 - pi_v),

and that it says nothing tells nothing. A vote that stands alone thus makes its label as likely as the
function is accurate, whatever the prior, and teaches nothing about that accuracy: only votes on the same row
do. Where functions meet they differ more often than elsewhere, so each vote that stands alone adds to the
weight of the prior of its function's accuracy (else functions for one label make out those for another to be
wrong).

Shape suffixes: V votes, P patterns (what the functions say of a row; many rows have the same one), F
functions, C labels, Q pairs of a pattern and a label that it has a vote for.

Source: Dawid and Skene 1979, doi:10.2307/2346806 (expectation maximisation over unknown true labels); Ratner
et al. 2016, arXiv:1605.07723 (functions that abstain, one accuracy each).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput

PRIOR_ACCURACY = 0.7  # of a function of which nothing is known
PRIOR_VOTES = 10.0  # how many votes the prior is worth, beside those that stand alone
MOST_ACCURATE = 0.999
MOST_ROUNDS = 500
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Votes:
    """Which function gave which label, vote by vote; `count_P` rows have the pattern.

    No function votes twice in a pattern.
    """

    pattern_V: np.ndarray
    function_V: np.ndarray
    label_V: np.ndarray
    count_P: np.ndarray


def votes_of(vote_PF: Sequence[Sequence[int]], count_P: Sequence[int] | None = None) -> Votes:
    """The votes of a table: a line a pattern, a column a function, label numbers, -1 where it says nothing.

    Args:
        vote_PF: the table.
        count_P: how many rows have each pattern; one each if None.

    Returns:
        The votes.
    """
    table_PF = np.asarray(vote_PF, dtype=np.int64)
    pattern_V, function_V = np.nonzero(table_PF >= 0)
    counts = np.ones(len(table_PF)) if count_P is None else np.asarray(count_P, dtype=np.float64)
    return Votes(pattern_V, function_V, table_PF[pattern_V, function_V], counts)


def fit_accuracies(votes: Votes, functions: int, prior_C: np.ndarray) -> np.ndarray:
    """The most probable accuracies of the functions a posteriori, by expectation maximisation.

    Their prior is a beta distribution around PRIOR_ACCURACY, worth PRIOR_VOTES and as many as stand alone.

    Args:
        votes: what the functions said.
        functions: how many there are, F.
        prior_C: share of each label among rows, each above 0 and below 1.

    Returns:
        Accuracies [F] in (0, 1): the chance that a vote is right. A function that never votes beside another
        keeps PRIOR_ACCURACY.

    Raises:
        BadInput: fewer than two labels, or a share that is no share.
    """
    _check_prior(prior_C)
    pairs = _Pairs.of(votes, len(prior_C))
    weight_V = votes.count_P[votes.pattern_V]
    meets_V = np.bincount(votes.pattern_V, minlength=len(votes.count_P))[votes.pattern_V] > 1
    prior_F = PRIOR_VOTES + np.bincount(votes.function_V, weight_V * ~meets_V, functions)
    weight_V = weight_V * meets_V
    said_F = np.bincount(votes.function_V, weight_V, functions)
    accuracy_F = np.full(functions, PRIOR_ACCURACY)
    for _ in range(MOST_ROUNDS):
        share_V = pairs.posterior_Q(votes, accuracy_F, prior_C)[pairs.pair_V]
        right_F = np.bincount(votes.function_V, weight_V * share_V, functions)
        found_F = (PRIOR_ACCURACY * prior_F + right_F) / (prior_F + said_F)
        change = float(np.abs(found_F - accuracy_F).max(initial=0.0))
        accuracy_F = np.clip(found_F, 1 - MOST_ACCURATE, MOST_ACCURATE)
        if change < TOLERANCE:
            break
    return accuracy_F


def likeliest(votes: Votes, accuracy_F: np.ndarray, prior_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest label of each pattern among those that it has a vote for, and its probability.

    Args:
        votes: what the functions said.
        accuracy_F: the functions' accuracies, in (0, 1).
        prior_C: share of each label among rows.

    Returns:
        Label numbers [P], -1 without a vote, the lower number where two are equally likely; and
        probabilities [P], 0 without a vote.

    Raises:
        BadInput: fewer than two labels, or a share that is no share.
    """
    _check_prior(prior_C)
    pairs = _Pairs.of(votes, len(prior_C))
    share_Q = pairs.posterior_Q(votes, accuracy_F, prior_C)
    label_P = np.full(len(votes.count_P), -1, np.int64)
    best_P = np.zeros(len(votes.count_P))
    # Written from the least likely to the likeliest, so that the likeliest stays.
    order_Q = np.lexsort((-pairs.label_Q, share_Q))
    label_P[pairs.pattern_Q[order_Q]] = pairs.label_Q[order_Q]
    best_P[pairs.pattern_Q[order_Q]] = share_Q[order_Q]
    return label_P, best_P


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a pattern and a label that it has a vote for, and the pair of each vote."""

    pattern_Q: np.ndarray
    label_Q: np.ndarray
    pair_V: np.ndarray

    @classmethod
    def of(cls, votes: Votes, labels: int) -> "_Pairs":
        """The pairs of votes."""
        key_Q, pair_V = np.unique(votes.pattern_V * labels + votes.label_V, return_inverse=True)
        return cls(key_Q // labels, key_Q % labels, pair_V)

    def posterior_Q(self, votes: Votes, accuracy_F: np.ndarray, prior_C: np.ndarray) -> np.ndarray:
        """The probability of each pair's label given all votes of its pattern."""
        odds_V = _logit(accuracy_F)[votes.function_V] - _logit(prior_C)[votes.label_V]
        log_Q = np.log(prior_C)[self.label_Q] + np.bincount(self.pair_V, odds_V, len(self.label_Q))
        patterns = len(votes.count_P)
        # Labels without a vote share what is left of the prior.
        rest_P = 1 - np.bincount(self.pattern_Q, prior_C[self.label_Q], patterns)
        top_P = np.zeros(patterns)
        np.maximum.at(top_P, self.pattern_Q, log_Q)
        scaled_Q = np.exp(log_Q - top_P[self.pattern_Q])
        total_P = np.maximum(rest_P, 0) * np.exp(-top_P) + np.bincount(self.pattern_Q, scaled_Q, patterns)
        share_Q: np.ndarray = scaled_Q / total_P[self.pattern_Q]
        return share_Q


def _check_prior(prior_C: np.ndarray) -> None:
    bad = np.flatnonzero(~((prior_C > 0) & (prior_C < 1)))
    if len(prior_C) < 2 or bad.size:
        what = f"prior[{bad[0]}] is {prior_C[bad[0]]}" if bad.size else f"there are {len(prior_C)} labels"
        raise BadInput(
            f"the label model needs two labels with a share above 0 each; {what}: name more labels"
        )


def _logit(share: np.ndarray) -> np.ndarray:
    logit: np.ndarray = np.log(share) - np.log1p(-share)
    return logit
