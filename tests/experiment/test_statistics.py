"""Sample ratios, adjustment, off-policy values and shares of alpha against closed forms and brute force."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from millwright.errors import BadInput
from millwright.experiment.adjustment import predictable_regression, running_mean
from millwright.experiment.alpha import Alphas, split_alpha
from millwright.experiment.off_policy import policy_value
from millwright.experiment.sample_ratio import CONCENTRATION, is_mismatched, mismatch_evidence


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_evidence_of_a_wrong_ratio_is_a_ratio_of_likelihoods(share):
    found = mismatch_evidence(np.array(37), np.array(60), share)
    prior = betabinom.logpmf(37, 60, CONCENTRATION * share, CONCENTRATION * (1 - share))
    assert found == pytest.approx(prior - binom.logpmf(37, 60, share))


def test_evidence_of_a_wrong_ratio_has_mean_one_under_the_right_one():
    counts = np.arange(41)
    evidence = np.exp(mismatch_evidence(counts, np.array(40), 0.2))
    assert (binom.pmf(counts, 40, 0.2) * evidence).sum() == pytest.approx(1.0)


def test_a_broken_assignment_raises_the_alarm_and_a_true_one_through_all_steps_does_not():
    rng = np.random.default_rng(0)
    propensity_T = np.repeat([0.01, 0.1, 0.5], 2_000)
    assert not is_mismatched(rng.random(6_000) < propensity_T, propensity_T)
    assert is_mismatched(rng.random(6_000) < np.where(propensity_T == 0.5, 0.42, propensity_T), propensity_T)
    assert not is_mismatched(np.array([], dtype=bool), np.array([]))


def test_the_running_mean_is_that_of_the_users_before():
    assert running_mean(np.array([1.0, 0.0, 1.0])) == pytest.approx([0.5, 1.5 / 2, 1.5 / 3])


def test_regression_predicts_each_outcome_from_the_rows_before_it_alone():
    rng = np.random.default_rng(1)
    covariate_TD = rng.random((30, 2))
    outcome_T = np.clip(covariate_TD[:, 0] * 0.8 + rng.normal(0, 0.05, 30), 0, 1)
    found_T = predictable_regression(covariate_TD, outcome_T)
    design = np.column_stack([np.ones(30), covariate_TD])
    start = np.array([0.5, 0, 0])
    for t in (0, 1, 7, 29):  # ridge towards the first guess, solved anew
        a = np.eye(3) + design[:t].T @ design[:t]
        weights = start + np.linalg.solve(a, design[:t].T @ (outcome_T[:t] - design[:t] @ start))
        assert found_T[t] == pytest.approx(np.clip(design[t] @ weights, 0, 1))


def test_a_covariate_that_tells_the_outcome_shrinks_what_is_left():
    rng = np.random.default_rng(2)
    covariate_T = rng.random(2_000)
    outcome_T = np.clip(0.2 + 0.6 * covariate_T + rng.normal(0, 0.1, 2_000), 0, 1)
    left = [
        np.var((outcome_T - made)[200:])
        for made in (running_mean(outcome_T), predictable_regression(covariate_T[:, None], outcome_T))
    ]
    correlation = np.corrcoef(covariate_T, outcome_T)[0, 1]
    assert left[1] / left[0] == pytest.approx(1 - correlation**2, rel=0.1)  # what CUPED promises


def logs(rng: np.random.Generator, count: int):
    """Two actions drawn by known, changing probabilities; outcome rates .3 and .6."""
    share_N = rng.choice([0.1, 0.5, 0.8], count)
    action_N = (rng.random(count) < share_N).astype(int)
    propensity_N = np.where(action_N == 1, share_N, 1 - share_N)
    outcome_N = (rng.random(count) < np.where(action_N == 1, 0.6, 0.3)).astype(float)
    return outcome_N, action_N, propensity_N


def test_every_estimator_finds_the_value_of_a_policy_that_was_never_run():
    outcome_N, action_N, propensity_N = logs(np.random.default_rng(3), 8_000)
    target_NA = np.tile([0.0, 1.0], (8_000, 1))
    found = policy_value(outcome_N, action_N, propensity_N, target_NA, np.tile([0.5, 0.5], (8_000, 1)))
    for value, error in (
        (found.ips, found.ips_error),
        (found.snips, found.snips_error),
        (found.doubly_robust, found.doubly_robust_error),
    ):
        assert value == pytest.approx(0.6, abs=4 * error)
        assert 0 < error < 0.05
    weight = target_NA[np.arange(8_000), action_N] / propensity_N
    assert found.effective == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert found.snips == pytest.approx(np.average(outcome_N, weights=weight))


def test_doubly_robust_is_exact_where_the_model_is_and_outcomes_have_no_noise():
    rng = np.random.default_rng(4)
    _, action_N, propensity_N = logs(rng, 500)
    predicted_NA = np.tile([0.25, 0.75], (500, 1))
    found = policy_value(predicted_NA[np.arange(500), action_N], action_N, propensity_N,
                         np.tile([0.4, 0.6], (500, 1)), predicted_NA)  # fmt: skip
    assert found.doubly_robust == pytest.approx(0.4 * 0.25 + 0.6 * 0.75)
    assert found.doubly_robust_error == pytest.approx(0, abs=1e-12)


def test_refuses_what_was_hardly_explored():
    outcome_N, action_N, propensity_N = logs(np.random.default_rng(5), 150)
    always = np.tile([0.0, 1.0], (150, 1))
    with pytest.raises(BadInput, match=r"worth \d+ decisions .* at least 100 are needed"):
        policy_value(outcome_N, action_N, propensity_N, always)
    with pytest.raises(BadInput, match=r"probability is 0.01, the least that can be weighed is 0.02"):
        policy_value(np.ones(300), np.ones(300, int), np.full(300, 0.01), np.tile([0.0, 1.0], (300, 1)))
    with pytest.raises(BadInput, match="worth 0 decisions"):
        policy_value(np.ones(300), np.zeros(300, int), np.full(300, 0.5), np.tile([0.0, 1.0], (300, 1)))


def test_alpha_is_shared_by_challengers_and_guardrails():
    assert split_alpha(0.05, 1, 0) == Alphas(0.05, 0.05)
    assert split_alpha(0.05, 2, 3) == Alphas(pytest.approx(0.025), pytest.approx(0.05 / 6))
    spent = [2 * 3 * split_alpha(0.06, 2, 3).guardrail, 2 * split_alpha(0.06, 2, 3).primary]
    assert all(math.isclose(one, other) for one, other in pairwise(spent))
    with pytest.raises(BadInput, match="at least one challenger, got 0"):
        split_alpha(0.05, 0, 1)
