"""The label model against simulated votes of known accuracies and against a posterior by enumeration."""

from itertools import product

import numpy as np
import pytest

from millwright.data.label_model import PRIOR_ACCURACY, fit_accuracies, likeliest, votes_of
from millwright.errors import BadInput


def simulated(rng, rows, accuracy_F, prior_C, fires=0.8):
    """True labels and votes: a function that fires is right with its accuracy, else it takes another label by
    its share.
    """
    truth_N = rng.choice(len(prior_C), rows, p=prior_C)
    vote_NF = np.full((rows, len(accuracy_F)), -1)
    for column, accuracy in enumerate(accuracy_F):
        wrong_N = np.array([_other(rng, truth, prior_C) for truth in truth_N])
        said_N = np.where(rng.random(rows) < accuracy, truth_N, wrong_N)
        vote_NF[:, column] = np.where(rng.random(rows) < fires, said_N, -1)
    return truth_N, vote_NF


def _other(rng, truth, prior_C):
    share_C = np.where(np.arange(len(prior_C)) == truth, 0, prior_C)
    return rng.choice(len(prior_C), p=share_C / share_C.sum())


@pytest.mark.parametrize("labels", [2, 4])
def test_finds_the_accuracies_that_votes_were_made_with(labels):
    rng, accuracy_F = np.random.default_rng(labels), np.array([0.9, 0.85, 0.75, 0.65, 0.6])
    prior_C = np.full(labels, 1 / labels)
    _, vote_NF = simulated(rng, 4000, accuracy_F, prior_C)
    found_F = fit_accuracies(votes_of(vote_NF), 5, prior_C)
    assert found_F == pytest.approx(accuracy_F, abs=0.04)


def test_is_right_more_often_than_the_majority_where_accuracies_differ():
    rng, prior_C = np.random.default_rng(1), np.full(3, 1 / 3)
    truth_N, vote_NF = simulated(rng, 4000, [0.95, 0.5, 0.45, 0.45, 0.4], prior_C)
    voted_N = (vote_NF >= 0).any(1)
    votes = votes_of(vote_NF)
    label_N, _ = likeliest(votes, fit_accuracies(votes, 5, prior_C), prior_C)
    majority_N = np.array([np.bincount(row[row >= 0], minlength=3).argmax() for row in vote_NF])
    ours, theirs = (np.mean(said[voted_N] == truth_N[voted_N]) for said in (label_N, majority_N))
    assert ours > theirs + 0.1


def test_posterior_is_that_of_the_joint_table_for_every_pattern():
    accuracy_F, prior_C = np.array([0.9, 0.6, 0.75]), np.array([0.5, 0.3, 0.2])
    patterns = list(product([-1, 0, 1, 2], repeat=3))
    label_P, best_P = likeliest(votes_of(patterns), accuracy_F, prior_C)
    for pattern, label, best in zip(patterns, label_P, best_P, strict=True):
        joint = []
        for truth in range(3):
            chance = prior_C[truth]
            for accuracy, said in zip(accuracy_F, pattern, strict=True):
                if said >= 0:
                    right, share = said == truth, prior_C[said]
                    chance *= accuracy / share if right else (1 - accuracy) / (1 - share)
            joint.append(chance)
        share_C = np.array(joint) / sum(joint)
        voted = {said for said in pattern if said >= 0}
        if not voted:
            assert (label, best) == (-1, 0)
        else:
            assert best == pytest.approx(max(share_C[said] for said in voted))
            assert share_C[label] == pytest.approx(best)


def test_a_vote_that_stands_alone_is_as_likely_as_its_function_is_accurate_whatever_the_prior():
    for prior_C in ([0.5, 0.5], [0.99, 0.01]):
        _, best_P = likeliest(votes_of([[1]]), np.array([0.8]), np.array(prior_C))
        assert best_P[0] == pytest.approx(0.8)


def test_functions_that_never_meet_keep_the_prior():
    found_F = fit_accuracies(votes_of([[0, -1], [-1, 1]], [900, 50]), 2, np.array([0.9, 0.1]))
    assert found_F == pytest.approx([PRIOR_ACCURACY] * 2)


def test_functions_for_one_label_do_not_make_out_those_for_another_to_be_wrong():
    alone = [[0, -1, -1, -1], [-1, 0, -1, -1], [-1, -1, 1, -1], [-1, -1, -1, 1]]
    meet = [[0, 0, -1, -1], [0, -1, 1, -1], [-1, 0, -1, 1], [0, 0, 1, -1], [-1, -1, 1, 1]]
    found_F = fit_accuracies(
        votes_of([*alone, *meet], [200] * 4 + [30, 10, 10, 5, 10]), 4, np.array([0.5, 0.5])
    )
    assert (found_F > 0.6).all()


def test_counts_weigh_like_repeated_rows():
    rows = [[0, 0, 1], [1, 1, 1], [0, -1, 0]]
    prior_C = np.array([0.5, 0.5])
    counted_F = fit_accuracies(votes_of(rows, [5, 2, 3]), 3, prior_C)
    repeated_F = fit_accuracies(votes_of([rows[0]] * 5 + [rows[1]] * 2 + [rows[2]] * 3), 3, prior_C)
    assert counted_F == pytest.approx(repeated_F)


@pytest.mark.parametrize("prior", [[1.0], [1.0, 0.0]])
def test_refuses_a_single_label(prior):
    with pytest.raises(BadInput, match="two labels"):
        fit_accuracies(votes_of([[0]]), 1, np.array(prior))
