"""Whether a turn or a check for drift is due, by what the tables say: so a kill loses nothing."""

from dataclasses import dataclass
from datetime import timedelta

from millwright.drift.records import list_drifts
from millwright.experiment.plans import running
from millwright.feedback import count_waiting
from millwright.project import Project
from millwright.records import TurnRecord
from millwright.registry.versions import CHAMPION, alias
from millwright.settings import RunSection
from millwright.store.database import now, time_between
from millwright.turns import list_turns

DRIFT_HOURS = 24.0


@dataclass(frozen=True)
class Standing:
    """How the wheel stands. Hours are counted since the last turn and the last check, None if none was.

    `waiting` counts predictions that users labelled and no turn took; `drifted` tells that drift was found
    since the last turn.
    """

    has_champion: bool
    waiting: int
    hours_since_turn: float | None
    hours_since_drift_check: float | None
    drifted: bool
    experiment: str | None


def standing(project: Project, at: str | None = None) -> Standing:
    """How the wheel of a project stands.

    Args:
        project: an open project.
        at: the hour, as `store.database.now` writes it; now when not given.

    Returns:
        What decides whether a turn is due.
    """
    at = at or now()
    turns, drifts, experiment = list_turns(project), list_drifts(project), running(project)
    last_turn = turns[-1].created_at if turns else None
    return Standing(
        has_champion=alias(project, CHAMPION) is not None,
        waiting=count_waiting(project),
        hours_since_turn=_hours(last_turn, at),
        hours_since_drift_check=_hours(drifts[-1].checked_at if drifts else None, at),
        drifted=any(one.is_drifting and one.checked_at > (last_turn or "") for one in drifts),
        experiment=experiment.name if experiment else None,
    )


def why_turn(found: Standing, settings: RunSection, min_rows: int) -> str | None:
    """Why a turn should start now, None if it should not.

    Args:
        found: how the wheel stands.
        settings: when turns start.
        min_rows: fewer new rows make no turn.

    Returns:
        The reason, in words.
    """
    if not found.has_champion or found.experiment is not None or found.waiting < min_rows:
        return None
    if found.waiting >= settings.rows:
        return f"users labelled {found.waiting} new predictions, run.rows is {settings.rows}"
    if found.drifted:
        return f"drift was found, and {found.waiting} new rows may help"
    if settings.hours is not None and (
        found.hours_since_turn is None or found.hours_since_turn >= settings.hours
    ):
        return f"run.hours is {settings.hours:g}, and {found.waiting} rows are new"
    return None


def is_drift_check_due(found: Standing) -> bool:
    """True if it is time to look for drift again."""
    hours = found.hours_since_drift_check
    return found.has_champion and (hours is None or hours >= DRIFT_HOURS)


def awaits_users(project: Project) -> TurnRecord | None:
    """The last turn if its challenger passed the gates and no experiment on it was begun yet."""
    turns = list_turns(project)
    last = turns[-1] if turns else None
    if last is None or last.decided_by != "users" or last.blocked:
        return None
    return last


def _hours(since: str | None, at: str) -> float | None:
    return None if since is None else time_between(since, at) / timedelta(hours=1)
