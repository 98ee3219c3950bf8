"""Attacks on membership: figures against counting, and that shadows find what was learnt by heart."""

import math

import numpy as np
import pytest
from scipy.stats import beta, mannwhitneyu

from millwright.errors import BadInput
from millwright.train.attacks import (
    area,
    likelihood_ratios,
    margins,
    operating_point,
    relative_margins,
    shadow_margins,
)
from millwright.train.calibrate import softmax
from millwright.train.heads import fit_head


def quiet(done: float) -> None:
    """Nobody looks."""


def test_a_margin_is_the_log_odds_of_the_true_label():
    logit_NC = np.random.default_rng(0).normal(size=(20, 4))
    truth_N = np.arange(20) % 4
    right_N = softmax(logit_NC)[np.arange(20), truth_N]
    assert margins(logit_NC, truth_N) == pytest.approx(np.log(right_N / (1 - right_N)))


def test_a_margin_stays_finite_where_a_probability_would_be_one():
    assert margins(np.array([[900.0, 0.0, 0.0]]), np.array([0])) == pytest.approx(900 - math.log(2))


def test_the_area_is_that_of_mann_and_whitney_with_ties():
    chance = np.random.default_rng(1)
    member_N, other_M = chance.integers(0, 9, 300) + 1, chance.integers(0, 9, 200)
    expected = mannwhitneyu(member_N, other_M).statistic / (300 * 200)
    assert area(member_N, other_M).value == pytest.approx(expected)


def test_the_interval_of_the_area_covers_the_truth_as_often_as_it_says():
    chance = np.random.default_rng(2)
    truth = 0.760249938906524  # of N(1, 1) over N(0, 1): Phi(1 / sqrt 2)
    covered = 0
    for _ in range(1_000):
        found = area(chance.normal(1, 1, 80), chance.normal(0, 1, 120))
        covered += found.low <= truth <= found.high
    assert covered / 1_000 == pytest.approx(0.95, abs=0.01 + 3 * math.sqrt(0.95 * 0.05 / 1_000))


def test_a_point_counts_members_above_what_few_others_reach():
    other_M = np.arange(1_000.0)
    member_N = np.array([998.5, 994.5, 989.5, 989.0, 5.0])
    point = operating_point(member_N, other_M, 0.01)  # ten others may be accused: those over 989
    assert point.false_positives.value == 0.01
    assert point.true_positives.value == 3 / 5
    assert point.true_positives.low == pytest.approx(beta.ppf(0.025, 3, 3))
    assert point.true_positives.high == pytest.approx(beta.ppf(0.975, 4, 2))


def test_rows_that_all_look_alike_accuse_nobody():
    point = operating_point(np.ones(50), np.ones(500), 0.01)
    assert (point.false_positives.value, point.true_positives.value) == (0.0, 0.0)


@pytest.mark.parametrize(("others", "asked", "is_given"), [(999, 0.001, False), (1_000, 0.001, True)])
def test_a_rate_that_others_are_too_few_for_gives_no_point(others, asked, is_given):
    assert (operating_point(np.ones(9), np.arange(others), asked) is not None) == is_given


def learnt(rows: int = 500, features: int = 60, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels that have little to do with one another, so that a head learns rows by heart."""
    chance = np.random.default_rng(seed)
    return chance.normal(size=(rows, features)).astype(np.float32), chance.integers(0, 3, rows)


def scores_of(strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins, likelihood ratios and relative margins of a head that the first half of the rows taught."""
    feature_ND, truth_N = learnt()

    def teach(places: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A head of these rows."""
        return fit_head(feature_ND[places], truth_N[places], 3, strength)

    weight_CD, bias_C = teach(np.arange(250), np.random.default_rng(0))
    margin_N = margins(feature_ND @ weight_CD.T + bias_C, truth_N)
    people = [str(n) for n in range(500)]
    shadow_KN, taught_KN = shadow_margins(feature_ND, truth_N, people, teach, 8, quiet)
    ratio_N = likelihood_ratios(margin_N, shadow_KN, taught_KN)
    return margin_N, ratio_N, relative_margins(margin_N, shadow_KN, taught_KN)


def test_a_model_that_learnt_by_heart_is_found_and_by_shadows_more_surely():
    found = []
    for score_N in scores_of(strength=80.0):
        assert area(score_N[:250], score_N[250:]).low > 0.6
        found.append(operating_point(score_N[:250], score_N[250:], 0.02))
    margin, ratio, _ = found
    assert ratio.true_positives.low > 2 * ratio.false_positives.value
    assert ratio.true_positives.value > margin.true_positives.value


def test_rows_that_a_model_never_saw_are_not_found():
    for score_N in scores_of(strength=80.0):
        unseen_N = score_N[250:]  # half of them stand for members now
        assert area(unseen_N[:125], unseen_N[125:]).low < 0.5 < area(unseen_N[:125], unseen_N[125:]).high


def test_each_person_teaches_half_of_the_shadows_with_all_rows():
    feature_ND, truth_N = learnt(rows=40, features=4)
    people = [f"p{n // 4}" for n in range(40)]
    taught: list[np.ndarray] = []

    def teach(places: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Nothing; only who was there matters."""
        taught.append(places)
        return np.zeros((3, 4)), np.zeros(3)

    _, taught_KN = shadow_margins(feature_ND, truth_N, people, teach, 10, quiet)
    assert (taught_KN.sum(0) == 5).all()
    assert (taught_KN.reshape(10, 10, 4).std(axis=2) == 0).all()
    assert [list(places) for places in taught] == [list(np.flatnonzero(row)) for row in taught_KN]
    assert len({row.tobytes() for row in taught_KN.T[::4]}) > 5  # people are not dealt out together


@pytest.mark.parametrize("shadows", [0, 6, 9])
def test_too_few_or_odd_shadows_are_refused(shadows):
    with pytest.raises(BadInput, match=f"shadows must be even and at least 8, got {shadows}; pass 32"):
        shadow_margins(np.ones((2, 2)), np.zeros(2, int), ["a", "b"], fit_head, shadows, quiet)
