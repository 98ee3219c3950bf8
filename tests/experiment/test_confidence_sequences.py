"""Intervals against a scan of all effects, the formulas written out, and coverage at all times."""

import math

import numpy as np
import pytest

from millwright.errors import BadInput
from millwright.experiment.adjustment import running_mean
from millwright.experiment.confidence_sequences import (
    MIN_PER_ARM,
    asymptotic,
    betting_interval,
    empirical_bernstein,
)
from millwright.experiment.eprocess import betting
from millwright.experiment.scores import Scores, effect_scores


def drawn(
    rng: np.random.Generator, users: int, rates=(0.4, 0.5), share: float = 0.5, runs: int | None = None
):
    shape = users if runs is None else (runs, users)
    arm = rng.random(shape) < share
    outcome = (rng.random(shape) < np.where(arm, rates[1], rates[0])).astype(float)
    return arm, effect_scores(outcome, arm, np.array(share), running_mean(outcome))


def test_the_betting_interval_is_where_no_bet_won_by_a_scan_of_effects():
    _, scores = drawn(np.random.default_rng(0), 300)
    kept = [
        effect
        for effect in np.arange(-1, 1.0005, 0.001)
        if max(betting(scores, effect).max(), betting(-scores, -effect).max()) < math.log(2 / 0.05)
    ]
    low, high = betting_interval(scores, 0.05)
    assert low == pytest.approx(min(kept), abs=0.0011)
    assert high == pytest.approx(max(kept), abs=0.0011)


def test_more_users_never_widen_the_betting_interval():
    _, scores = drawn(np.random.default_rng(1), 600)
    bounds = [
        betting_interval(Scores(scores.score_T[:n], scores.weight_T[:n], scores.bound_T[:n]), 0.05)
        for n in (1, 50, 200, 600)
    ]
    for (low, high), (later_low, later_high) in zip(bounds, bounds[1:], strict=False):
        assert low <= later_low <= later_high <= high
    assert bounds[-1][1] - bounds[-1][0] < 0.4


def test_nobody_yet_means_every_effect_is_possible():
    nothing = effect_scores(np.array([]), np.array([]), np.array([]), np.array([]))
    low, high = betting_interval(nothing, 0.05)
    assert (low, high) == (pytest.approx(-1, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_empirical_bernstein_is_the_formula_written_out():
    _, scores = drawn(np.random.default_rng(2), 40, share=0.3)
    k, alpha, unit = 1 / 0.3, 0.05, (scores.score_T + 1 / 0.3) / (2 / 0.3)
    means, spreads = [0.5], [0.25]
    for t in range(1, 41):
        means.append((0.5 + sum(unit[:t])) / (t + 1))
        spreads.append((0.25 + sum((unit[i] - means[i + 1]) ** 2 for i in range(t))) / (t + 1))
    bets = [
        min(math.sqrt(2 * math.log(2 / alpha) / (spreads[t - 1] * t * math.log(1 + t))), 0.5)
        for t in range(1, 41)
    ]
    centre = sum(b * u for b, u in zip(bets, unit, strict=True)) / sum(bets)
    cost = sum((unit[i] - means[i]) ** 2 * (-math.log(1 - bets[i]) - bets[i]) for i in range(40))
    half = (math.log(2 / alpha) + cost) / sum(bets)
    low_T, high_T = empirical_bernstein(scores, alpha)
    assert low_T[-1] >= max(-1, 2 * k * (centre - half) - k) - 1e-9
    assert high_T[-1] <= min(1, 2 * k * (centre + half) - k) + 1e-9
    alone = [(low_T[t], high_T[t]) for t in range(40)]
    assert alone == sorted(alone, key=lambda bound: (bound[0], -bound[1]))  # the running intersection


def test_asymptotic_says_nothing_before_both_arms_have_enough_and_then_the_formula():
    arm_T, scores = drawn(np.random.default_rng(3), 600)
    low_T, high_T = asymptotic(scores, arm_T, 0.05, tuned_at=500)
    first = next(t for t in range(600) if min(arm_T[: t + 1].sum(), (~arm_T[: t + 1]).sum()) == MIN_PER_ARM)
    assert (low_T[:first] == -1).all()
    assert (high_T[:first] == 1).all()
    assert low_T[first] > -1
    squared = (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / 500
    t, sd = 600, scores.score_T.std()
    half = sd * math.sqrt(
        2 * (t * squared + 1) / (t * t * squared) * math.log(math.sqrt(t * squared + 1) / 0.05)
    )
    assert high_T[-1] - low_T[-1] == pytest.approx(2 * half)
    assert (high_T[-1] + low_T[-1]) / 2 == pytest.approx(scores.score_T.mean())


def test_exact_intervals_ever_miss_the_true_effect_no_more_often_than_promised():
    runs, users, alpha, effect = 150, 400, 0.1, 0.2
    _, scores = drawn(np.random.default_rng(4), users, (0.3, 0.5), 0.4, runs)
    low_RT, high_RT = empirical_bernstein(scores, alpha)
    missed_bernstein = ((low_RT > effect) | (high_RT < effect)).any(axis=1)
    missed_betting = []
    for score_T in scores.score_T:
        low, high = betting_interval(Scores(score_T, scores.weight_T[0], scores.bound_T[0]), alpha)
        missed_betting.append(not low <= effect <= high)
    allowed = alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert missed_bernstein.mean() <= allowed
    assert np.mean(missed_betting) <= allowed


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 95])
def test_refuses_an_impossible_alpha_and_says_what_to_pass(alpha):
    _, scores = drawn(np.random.default_rng(5), 10)
    with pytest.raises(BadInput, match=rf"alpha .* got {alpha!r}; .* pass 0.05"):
        betting_interval(scores, alpha)
