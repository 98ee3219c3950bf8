"""What is known of an experiment now: each arm's users, every effect with its interval, the ratio of arms.

Shape suffixes: N users in the order of their first requests, T those of two arms whose outcome is known.
"""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select

from millwright.experiment.adjustment import predictable_regression, running_mean
from millwright.experiment.alpha import split_alpha
from millwright.experiment.confidence_sequences import MIN_PER_ARM, asymptotic, betting_interval
from millwright.experiment.eprocess import betting
from millwright.experiment.outcomes import METRICS, RESPONSE, Units, read_units
from millwright.experiment.plans import Experiment
from millwright.experiment.sample_ratio import ALPHA, is_mismatched
from millwright.experiment.scores import Scores, effect_scores
from millwright.project import Project
from millwright.registry.traffic import CHAMPION_ARM, Traffic, traffic_history
from millwright.store.tables import predictions, shadows, traffic


@dataclass(frozen=True)
class Effect:
    """A challenger less the champion on one metric; the interval holds whenever one looks.

    `users` are those of both whose outcome is known. `p_value` is the least alpha at which a difference
    would have been found, at any look until now. `likely_low` and `likely_high` are the asymptotic interval:
    for the eye, it decides nothing. None before each arm has 100 users.
    """

    metric: str
    arm: str
    champion: float | None
    challenger: float | None
    low: float
    high: float
    alpha: float
    p_value: float
    users: int
    challenger_users: int
    likely_low: float | None = None
    likely_high: float | None = None


@dataclass(frozen=True)
class ArmFigures:
    """An arm: its version, its share now, its users, and those whose window has closed."""

    name: str
    version: str
    share: float
    users: int
    closed: int


@dataclass(frozen=True)
class Unseen:
    """What a challenger answered that nobody saw: after how many users, how often, how often it failed."""

    users: int = 0
    answers: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Analysis:
    """Everything that decides. `response` holds, a challenger each, the effect on who answers at all.

    `step_users` are those whom the shares of now gave a challenger and whose window has closed;
    `step` is the largest share until now of a challenger, times the challengers: the step that was reached.
    """

    arms: tuple[ArmFigures, ...]
    primary: tuple[Effect, ...]
    guardrails: tuple[Effect, ...]
    response: tuple[Effect, ...]
    is_mismatched: bool
    step_users: dict[str, int]
    step: float
    unseen: dict[str, Unseen]


def analyse(project: Project, experiment: Experiment, at: str) -> Analysis:
    """Analyse an experiment as of an hour.

    Args:
        project: an open project.
        experiment: which one.
        at: the hour, as `store.database.now` writes it.

    Returns:
        The figures.
    """
    plan = experiment.plan
    history = traffic_history(project, experiment.name)
    units = read_units(
        project, experiment.name, [plan.metric, *plan.guardrails], at,
        window_hours=plan.window_hours, slow_s=plan.slow_s, only_asked=plan.heard == "asked",
    )  # fmt: skip
    alphas = split_alpha(plan.alpha, len(plan.challengers), len(plan.guardrails))
    newest = history[max(history)]
    is_new_N = units.traffic_N == newest.id
    return Analysis(
        arms=tuple(
            ArmFigures(
                arm.name, arm.version, arm.share, int((units.arm_N == arm.name).sum()),
                int(((units.arm_N == arm.name) & units.is_closed_N).sum()),
            )
            for arm in newest.arms
        ),
        primary=tuple(
            effect_of(units, history, arm, plan.metric, alphas.primary) for arm in plan.challengers
        ),
        guardrails=tuple(
            effect_of(units, history, arm, name, alphas.guardrail)
            for arm in plan.challengers
            for name in plan.guardrails
        ),
        response=tuple(
            effect_of(units, history, arm, RESPONSE, alphas.primary)
            for arm in plan.challengers
            if METRICS[plan.metric].needs_answer and plan.heard == "everyone"
        ),
        is_mismatched=any(
            _is_mismatched(units, history, arm, ALPHA / len(plan.challengers)) for arm in plan.challengers
        ),
        step_users={
            arm: int((is_new_N & units.is_closed_N & (units.arm_N == arm)).sum()) for arm in plan.challengers
        },
        step=len(plan.challengers) * max(arm.share for one in history.values() for arm in one.arms[1:]),
        unseen=_unseen(project, experiment, at),
    )  # fmt: skip


def _unseen(project: Project, experiment: Experiment, at: str) -> dict[str, Unseen]:
    """What each challenger answered unseen."""
    user = func.coalesce(predictions.c.subject, predictions.c.unit)
    ids = select(traffic.c.id).where(traffic.c.experiment == experiment.name)
    counts = (
        select(shadows.c.version, func.count(user.distinct()), func.count(), func.count(shadows.c.failure))
        .join(predictions, predictions.c.id == shadows.c.prediction)
        .where(predictions.c.traffic.in_(ids), shadows.c.created_at <= at)
        .group_by(shadows.c.version)
    )
    with project.database.connect() as connection:
        found = {version: Unseen(*rest) for version, *rest in connection.execute(counts)}
    return {arm: found.get(arm, Unseen()) for arm in experiment.plan.challengers}


def effect_of(units: Units, history: dict[int, Traffic], arm: str, metric: str, alpha: float) -> Effect:
    """The effect of one challenger on one metric.

    Args:
        units: all users.
        history: the shares that were ever in force, by id.
        arm: the challenger's.
        metric: a column of the outcomes.
        alpha: the chance that the interval ever misses the effect.

    Returns:
        The effect, over users of the two arms alone who might have got either.
    """
    share_N = _shares(units, history, arm)
    outcome_N = units.outcomes[metric]
    is_instant = metric in METRICS and METRICS[metric].is_instant
    use_N = (units.is_closed_N | is_instant) & ~np.isnan(outcome_N) & (share_N > 0) & (share_N < 1)
    use_N &= (units.arm_N == arm) | (units.arm_N == CHAMPION_ARM)
    outcome_T, is_challenger_T = outcome_N[use_N], units.arm_N[use_N] == arm
    centre_T = _expected(outcome_T, units.before.get(metric, np.full(len(use_N), np.nan))[use_N])
    scores = effect_scores(outcome_T, is_challenger_T, share_N[use_N], centre_T)
    low, high = betting_interval(scores, alpha)
    evidence = max(float(betting(one).max(initial=0.0)) for one in (scores, -scores))
    return Effect(
        metric, arm, _mean(outcome_T[~is_challenger_T]), _mean(outcome_T[is_challenger_T]),
        low, high, alpha, min(1.0, 2 * float(np.exp(-evidence))), len(outcome_T), int(is_challenger_T.sum()),
        *_likely(scores, is_challenger_T, alpha),
    )  # fmt: skip


def _likely(scores: Scores, is_challenger_T: np.ndarray, alpha: float) -> tuple[float | None, float | None]:
    """The asymptotic interval now, None in place of bounds that say nothing yet."""
    if min(is_challenger_T.sum(), (~is_challenger_T).sum()) < MIN_PER_ARM:
        return None, None
    low_T, high_T = asymptotic(scores, is_challenger_T, alpha)
    return float(low_T[-1]), float(high_T[-1])


def _expected(outcome_T: np.ndarray, before_T: np.ndarray) -> np.ndarray:
    """Each outcome as the past foretells it: by earlier users, and by what the user's own was before."""
    is_known_T = ~np.isnan(before_T)
    if not is_known_T.any():
        return running_mean(outcome_T)
    return predictable_regression(
        np.column_stack([is_known_T, np.where(is_known_T, before_T, 0.0)]), outcome_T
    )


def _shares(units: Units, history: dict[int, Traffic], arm: str) -> np.ndarray:
    """The probability of `arm`, given that a user got it or the champion."""
    by_traffic = {}
    for number, current in history.items():
        own = next((one.share for one in current.arms if one.name == arm), 0.0)
        by_traffic[number] = own / (own + current.arms[0].share)
    return np.array([by_traffic[number] for number in units.traffic_N])


def _is_mismatched(units: Units, history: dict[int, Traffic], arm: str, alpha: float) -> bool:
    share_N = _shares(units, history, arm)
    use_N = (share_N > 0) & (share_N < 1) & ((units.arm_N == arm) | (units.arm_N == CHAMPION_ARM))
    return is_mismatched(units.arm_N[use_N] == arm, share_N[use_N], alpha)


def _mean(outcome_T: np.ndarray) -> float | None:
    return float(outcome_T.mean()) if len(outcome_T) else None
