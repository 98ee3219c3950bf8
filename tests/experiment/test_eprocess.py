"""E-processes against enumeration of every course of a short experiment, and against likelihood ratios."""

from itertools import product

import numpy as np
import pytest

from millwright.errors import BadInput
from millwright.experiment.adjustment import running_mean
from millwright.experiment.eprocess import MOST_LOST, betting, two_proportions
from millwright.experiment.scores import Scores, effect_scores

USERS = 5


def expectation(evidence, rate_champion: float, rate_challenger: float, shares) -> float:
    """The exact mean of exp(evidence) after the last user, over all outcomes and assignments.

    `shares` are given, or a function of arms and outcomes whose t-th value hangs on those before t alone.
    """
    total = 0.0
    for arms in product((False, True), repeat=USERS):
        for outcomes in product((0, 1), repeat=USERS):
            arm_T, outcome_T = np.array(arms), np.array(outcomes)
            share_T = shares(arm_T, outcome_T) if callable(shares) else shares
            rate_T = np.where(arm_T, rate_challenger, rate_champion)
            chance_T = np.where(arm_T, share_T, 1 - share_T) * np.where(outcome_T == 1, rate_T, 1 - rate_T)
            total += chance_T.prod() * np.exp(evidence(outcome_T, arm_T, share_T)[-1])
    return total


def bet_on_better(outcome_T, arm_T, share_T):
    return betting(effect_scores(outcome_T, arm_T, share_T, running_mean(outcome_T)))


def bet_on_harm(outcome_T, arm_T, share_T):
    scores = effect_scores(outcome_T, arm_T, share_T, running_mean(outcome_T))
    return betting(-scores)


def greedy_shares(arm_T, outcome_T):
    """A share that grows with each success of the challenger and shrinks with each of its failures."""
    gained_T = np.cumsum(np.where(arm_T, 2 * outcome_T - 1, 0)) - np.where(arm_T, 2 * outcome_T - 1, 0)
    return np.clip(0.5 + 0.24 * gained_T, 0.02, 0.98)


SHARES = [np.full(USERS, 0.5), np.array([0.1, 0.1, 0.3, 0.5, 0.5]), greedy_shares]


@pytest.mark.parametrize("share_T", SHARES)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("evidence", [two_proportions, bet_on_better, bet_on_harm])
def test_evidence_is_expected_to_stay_at_one_where_arms_do_not_differ(evidence, rate, share_T):
    assert expectation(evidence, rate, rate, share_T) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("share_T", SHARES)
def test_a_bet_on_the_wrong_side_is_expected_to_lose_and_on_the_right_side_to_win(share_T):
    assert expectation(bet_on_better, 0.6, 0.3, share_T) < 1
    assert expectation(bet_on_harm, 0.3, 0.6, share_T) < 1
    assert expectation(bet_on_better, 0.3, 0.6, share_T) > 1
    assert expectation(two_proportions, 0.3, 0.6, share_T) > 1


@pytest.mark.parametrize("evidence", [two_proportions, bet_on_better, bet_on_harm])
def test_evidence_so_far_hangs_on_nothing_that_comes_later(evidence):
    rng = np.random.default_rng(4)
    share_T = np.repeat([0.5, 0.02, 0.9], 40)
    arm_T, outcome_T = rng.random(120) < share_T, rng.integers(0, 2, 120)
    found_T = evidence(outcome_T, arm_T, share_T)
    for users in (40, 80):
        assert found_T[:users] == pytest.approx(evidence(outcome_T[:users], arm_T[:users], share_T[:users]))


def test_first_steps_with_hardly_any_users_cost_later_ones_nothing():
    rng = np.random.default_rng(5)
    share_T = np.repeat([0.01, 0.5], [200, 2_000])
    arm_T = rng.random(2_200) < share_T
    outcome_T = (rng.random(2_200) < np.where(arm_T, 0.6, 0.5)).astype(float)
    whole_T = bet_on_better(outcome_T, arm_T, share_T)
    late_T = bet_on_better(outcome_T[200:], arm_T[200:], share_T[200:])
    assert whole_T[-1] > late_T[-1] - 1


def test_one_bet_on_zeros_and_ones_is_a_likelihood_ratio_of_two_proportions():
    rng = np.random.default_rng(0)
    arm_T, outcome_T, bet, share = rng.random(40) < 0.3, rng.integers(0, 2, 40), 0.4, 0.3
    expected, seen = 0.0, []
    for arm, outcome in zip(arm_T, outcome_T, strict=True):
        pooled = (sum(seen) + 0.5) / (len(seen) + 1)
        gap = bet * pooled * (1 - pooled)
        rate = {True: pooled + (1 - share) * gap, False: pooled - share * gap}
        own = rate[bool(arm)] if outcome else 1 - rate[bool(arm)]
        expected += np.log(own / (pooled if outcome else 1 - pooled))
        seen.append(outcome)
    scores = effect_scores(outcome_T, arm_T, np.full(40, share), running_mean(outcome_T))
    assert betting(scores, bets=[bet])[-1] == pytest.approx(expected)


def test_two_proportions_is_the_product_of_rates_known_before_each_user():
    rng = np.random.default_rng(1)
    arm_T, won_T = rng.random(30) < 0.5, rng.random(30) < 0.6
    product_so_far, won, seen = 1.0, {True: 0.18, False: 0.18}, {True: 0.36, False: 0.36}
    for arm, success in zip(map(bool, arm_T), map(bool, won_T), strict=True):
        rate = {side: won[side] / seen[side] for side in won}
        likely = {side: rate[side] if success else 1 - rate[side] for side in rate}
        product_so_far *= likely[arm] / (0.5 * likely[True] + 0.5 * likely[False])
        won[arm] += success
        seen[arm] += 1
    assert two_proportions(won_T, arm_T, np.full(30, 0.5))[-1] == pytest.approx(np.log(product_so_far))


def test_runs_side_by_side_are_the_runs_alone():
    rng = np.random.default_rng(2)
    arm_RT, outcome_RT = rng.random((3, 50)) < 0.5, rng.random((3, 50))
    together_RT = bet_on_better(outcome_RT, arm_RT, np.array(0.5))
    for run in range(3):
        assert together_RT[run] == pytest.approx(bet_on_better(outcome_RT[run], arm_RT[run], np.array(0.5)))


def test_no_bet_can_lose_everything():
    scores = Scores(np.full(20, -10.0), np.full(20, 0.25), np.full(20, 10.0))
    loss_T = np.diff(betting(scores, effect=1.0, bets=[50.0]), prepend=0.0)
    assert loss_T == pytest.approx(np.full(20, np.log(1 - MOST_LOST)))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_refuses_a_probability_of_assignment_that_decides_nothing(share):
    with pytest.raises(BadInput, match=r"strictly between 0 and 1, got"):
        effect_scores(np.ones(1), np.ones(1), np.array(share), np.zeros(1))


@pytest.mark.parametrize("outcome", [-0.1, 1.1, float("nan")])
def test_refuses_an_outcome_outside_the_unit_interval(outcome):
    with pytest.raises(BadInput, match=r"outcome must be in \[0, 1\], got"):
        effect_scores(np.array([0.5, outcome]), np.ones(2), np.array(0.5), np.zeros(2))


def test_false_alarms_under_peeking_stay_below_the_promise():
    rng, runs, users, alpha = np.random.default_rng(3), 400, 1_000, 0.1
    arm_RT, won_RT = rng.random((runs, users)) < 0.3, (rng.random((runs, users)) < 0.2).astype(float)
    alarmed = bet_on_better(won_RT, arm_RT, np.array(0.3)).max(axis=1) >= np.log(1 / alpha)
    assert alarmed.mean() <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert alarmed.any()  # a bound that is never reached would promise nothing
