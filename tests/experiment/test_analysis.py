"""What users did before an experiment narrows its intervals, and breaks no promise."""

import numpy as np
import pytest

from millwright.experiment.analysis import analyse, effect_of
from millwright.experiment.outcomes import Units
from millwright.experiment.sample_ratio import is_mismatched
from millwright.registry.traffic import Arm, Traffic
from tests.conftest import csv_of, desk_rows
from tests.experiment.logs import begun, exposed, hour, with_versions

HISTORY = {1: Traffic(1, "x", "salt", (Arm("champion", "v1", 0.5), Arm("v2", "v2", 0.5)), ())}


def users(rng: np.random.Generator, count: int, effect: float = 0.0, told: float = 0.0) -> Units:
    """Users of whom half were known before; `told` is how much of an outcome that tells."""
    habit_N = rng.random(count)
    is_challenger_N = rng.random(count) < 0.5
    chance_N = told * habit_N + (1 - told) * 0.5 + effect * is_challenger_N
    outcome_N = np.clip(chance_N + 0.05 * rng.standard_normal(count), 0, 1)
    is_known_N = rng.random(count) < 0.5
    return Units(
        arm_N=np.where(is_challenger_N, "v2", "champion").astype(object),
        traffic_N=np.ones(count, int),
        is_closed_N=np.ones(count, bool),
        outcomes={"accepted": outcome_N},
        before={"accepted": np.where(is_known_N, habit_N, np.nan)},
    )


def width(units: Units) -> float:
    found = effect_of(units, HISTORY, "v2", "accepted", 0.05)
    return found.high - found.low


def test_what_is_known_of_users_narrows_the_interval_and_finds_the_effect():
    units = users(np.random.default_rng(0), 4_000, effect=0.1, told=0.8)
    found = effect_of(units, HISTORY, "v2", "accepted", 0.05)
    assert found.low < 0.1 < found.high
    blind = Units(units.arm_N, units.traffic_N, units.is_closed_N, units.outcomes, {})
    assert width(units) < 0.9 * width(blind)


def test_the_interval_for_the_eye_is_the_plain_formula_and_waits_for_a_hundred_of_each():
    some = users(np.random.default_rng(0), 2_000, effect=0.1)
    some = Units(some.arm_N, some.traffic_N, some.is_closed_N, some.outcomes, {})
    found = effect_of(some, HISTORY, "v2", "accepted", 0.05)
    outcome_T, sign_T = some.outcomes["accepted"], np.where(some.arm_N == "v2", 1.0, -1.0)
    centre_T = np.concatenate([[0.5], np.cumsum(outcome_T)[:-1] / np.arange(1, 2_000)])
    score_T, rho = (
        2 * sign_T * (outcome_T - centre_T),
        (-2 * np.log(0.05) + np.log(1 - 2 * np.log(0.05))) / 1_000,
    )
    known = 2_000 * rho + 1
    half = score_T.std() * np.sqrt(2 * known / (2_000**2 * rho) * np.log(np.sqrt(known) / 0.05))
    assert found.likely_low == pytest.approx(score_T.mean() - half, abs=2e-3)
    assert found.likely_high == pytest.approx(score_T.mean() + half, abs=2e-3)
    assert found.likely_low < 0.1 < found.likely_high
    early = users(np.random.default_rng(0), 150)
    assert effect_of(early, HISTORY, "v2", "accepted", 0.05).likely_low is None


def test_what_says_nothing_costs_next_to_nothing():
    units = users(np.random.default_rng(1), 4_000, told=0.0)
    blind = Units(units.arm_N, units.traffic_N, units.is_closed_N, units.outcomes, {})
    assert width(units) == pytest.approx(width(blind), rel=0.05)


def test_without_a_difference_the_interval_misses_no_more_often_than_promised():
    rng, alpha, runs = np.random.default_rng(2), 0.2, 200
    missed = 0
    for _ in range(runs):
        found = effect_of(users(rng, 300, told=0.8), HISTORY, "v2", "accepted", alpha)
        missed += not found.low <= 0 <= found.high
    assert missed / runs <= alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5


def test_all_challengers_together_spend_what_the_alarm_of_the_ratio_may_be_wrong(make_project):
    project = with_versions(make_project(csv_of(desk_rows(30))), 3)
    two = begun(project, challengers=("v2", "v3"))
    third = np.full(100, 1 / 3)  # v2 has a quarter of the users, the champion half
    alone = next(n for n in range(1, 100) if is_mismatched(np.ones(n), third[:n], 0.001))
    both = next(n for n in range(1, 100) if is_mismatched(np.ones(n), third[:n], 0.0005))
    assert alone < both
    for number in range(both):
        exposed(project, f"u{number:03}", number, arm="v2")
    assert not analyse(project, two, hour(both - 2)).is_mismatched
    assert analyse(project, two, hour(both - 1)).is_mismatched
