"""How experiments stand: plans, figures, decisions, and how shadows agree, as JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Row, select

from millwright.errors import BadInput
from millwright.experiment.analysis import analyse
from millwright.experiment.off_policy import FLOOR, policy_value
from millwright.experiment.outcomes import read_units
from millwright.experiment.plans import RUNNING, Experiment, list_experiments
from millwright.experiment.rollout import list_decisions
from millwright.privacy.sealed import open_prediction, open_shadow
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.traffic import CHAMPION_ARM, traffic_history
from millwright.store.database import now
from millwright.store.tables import predictions, shadows, traffic


def statuses(project: Project) -> list[JsonObject]:
    """Every experiment, the newest first."""
    return [status(project, one) for one in list_experiments(project)]


def status(project: Project, experiment: Experiment, at: str | None = None) -> JsonObject:
    """How one experiment stands.

    Args:
        project: an open project.
        experiment: which one.
        at: the hour to look; now when not given.

    Returns:
        Its plan, state and decisions; figures, those of the last decision once it has ended; what its
        shadows said; what each version would bring if everybody got it, while it runs.
    """
    at = at or now()
    decided = list_decisions(project, experiment.name)
    is_running = experiment.state == RUNNING
    last = next((one.figures for one in reversed(decided) if one.figures), None)
    return {
        "name": experiment.name,
        "state": experiment.state,
        "started_at": experiment.started_at,
        "ended_at": experiment.ended_at,
        "plan": asdict(experiment.plan),
        "figures": asdict(analyse(project, experiment, at)) if is_running or last is None else last,
        "shadows": shadow_figures(project, experiment.name),
        "if_everybody_got": _values(project, experiment, at) if is_running else [],
        "decisions": [
            {key: value for key, value in asdict(one).items() if key != "figures"} for one in decided
        ],
        "is_running": is_running,
    }


def shadow_figures(project: Project, experiment: str) -> list[JsonObject]:
    """How often each shadow agreed with what users got, failed, and how long it took but from memory."""
    ids, vault = select(traffic.c.id).where(traffic.c.experiment == experiment), open_vault(project)
    _ = vault.keys  # before anything is read
    with project.database.connect() as connection:
        given = connection.execute(
            select(predictions).where(
                predictions.c.traffic.in_(ids), predictions.c.sealed.is_not(None),
                predictions.c.id.in_(select(shadows.c.prediction)),
            )
        ).all()  # fmt: skip
        unseen = connection.execute(
            select(shadows)
            .join(predictions, predictions.c.id == shadows.c.prediction)
            .where(predictions.c.traffic.in_(ids))
            .order_by(shadows.c.version)
        ).all()
    shown = {row.id: row for row in given}
    by_version: dict[str, list[Row[Any]]] = {}
    for row in unseen:
        if row.prediction in shown:
            by_version.setdefault(row.version, []).append(row)
    found = []
    for version, own in by_version.items():
        answered = [row for row in own if row.failure is None]
        agree = [
            open_shadow(vault, row)["label"] == open_prediction(vault, shown[row.prediction]).label
            for row in answered
        ]
        found.append(
            {
                "version": version,
                "answers": len(own),
                "failures": len(own) - len(answered),
                "agreement": _mean(agree),
                "median_seconds": _median([row.seconds for row in answered]),
                "champion_median_seconds": _median([shown[row.prediction].seconds for row in answered]),
            }
        )
    return found


def _values(project: Project, experiment: Experiment, at: str) -> list[JsonObject]:
    """Off-policy values of giving everybody one version, as of the primary metric.

    Users of steps that gave a version hardly anybody are left out: one of them would weigh for hundreds.
    """
    plan = experiment.plan
    units = read_units(
        project, experiment.name, [plan.metric], at,
        window_hours=plan.window_hours, slow_s=plan.slow_s, only_asked=plan.heard == "asked",
    )  # fmt: skip
    names = [CHAMPION_ARM, *plan.challengers]
    history = {
        number: {arm.name: arm.share for arm in one.arms}
        for number, one in traffic_history(project, experiment.name).items()
        if min(arm.share for arm in one.arms if arm.share) >= FLOOR
    }
    keep_N = units.is_closed_N & ~np.isnan(units.outcomes[plan.metric])
    keep_N &= np.isin(units.traffic_N, list(history))
    arm_N, traffic_N = units.arm_N[keep_N], units.traffic_N[keep_N]
    propensity_N = np.array([history[at_][arm] for at_, arm in zip(traffic_N, arm_N, strict=True)])
    action_N = np.array([names.index(arm) for arm in arm_N], dtype=int)
    found: list[JsonObject] = []
    for place, name in enumerate(names):
        target_NA = np.tile(np.eye(len(names))[place], (len(action_N), 1))
        try:
            value = policy_value(units.outcomes[plan.metric][keep_N], action_N, propensity_N, target_NA)
        except BadInput as refused:
            found.append({"version": name, "refused": str(refused)})
        else:
            found.append(
                {"version": name, plan.metric: value.snips, "error": value.snips_error,
                 "effective": value.effective}
            )  # fmt: skip
    return found


def _mean(values: list[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
