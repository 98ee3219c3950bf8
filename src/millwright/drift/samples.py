"""Which users a check for drift compares, and whether there are enough. Reading them loads no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select

from millwright.drift.records import DriftRecord, list_drifts
from millwright.errors import BadInput
from millwright.project import Project
from millwright.registry.versions import CHAMPION, resolve
from millwright.store.tables import alias_changes, predictions

Reference = Literal["traffic", "data"]
WINDOW = 500
LEAST = 100  # users of either sample


@dataclass(frozen=True)
class Samples:
    """Predictions to compare, one of each subject a day, oldest first: id, subject and hour of each.

    `before` is empty where held-out rows are the reference. `earlier` are the checks of this champion against
    the same reference; `is_new` tells that half a window came since the last of them.
    """

    version: str
    before: Sequence[Any]
    current: Sequence[Any]
    earlier: Sequence[DriftRecord]
    is_new: bool


def find_samples(project: Project, window: int = WINDOW, reference: Reference = "traffic") -> Samples:
    """The first users after the champion's promotion, and the newest; what they said stays on the disk.

    Args:
        project: a project with a champion.
        window: how many users make a sample, at most.
        reference: "traffic" takes the first users as reference, "data" none.

    Returns:
        Their predictions.

    Raises:
        BadInput: there are too few users yet.
        NotFound: there is no champion.
    """
    version = resolve(project, CHAMPION)
    rows = _since_promotion(project, version)
    earlier = [one for one in list_drifts(project) if (one.version, one.reference) == (version, reference)]
    behind = window if reference == "traffic" else 0
    if len(rows) < behind + LEAST:
        raise BadInput(
            f"{len(rows)} users were answered since {version} was promoted, {behind + LEAST} are needed "
            f"(a reference of {behind} and a window of {LEAST}); wait, or pass a smaller --window"
        )
    current = rows[max(behind, len(rows) - window) :]
    fresh = _new_since(rows, earlier[-1].newest) if earlier else len(rows)
    return Samples(version, rows[:behind], current, earlier, fresh >= min(window, len(current)) / 2)


def why_no_check(project: Project) -> str | None:
    """Why a check would find nothing new, None if it is worth a process of its own.

    Args:
        project: a project with a champion.

    Returns:
        The reason, in words.
    """
    try:
        found = find_samples(project)
    except BadInput as refused:
        return str(refused)
    return None if found.is_new else "less than half a window of users is new since the last check"


def rows_of_subjects(rows: Sequence[Any]) -> list[Any]:
    """The first prediction of each subject a day: one who writes ten times would count ten times."""
    seen, kept = set[tuple[str, str]](), []
    for row in rows:
        who = (row.subject or row.id, row.created_at[:10])
        if who not in seen:
            seen.add(who)
            kept.append(row)
    return kept


def _since_promotion(project: Project, version: str) -> list[Any]:
    """Predictions since the version became champion, the first of each subject, oldest first."""
    promoted = (
        select(alias_changes.c.changed_at)
        .where(alias_changes.c.alias == CHAMPION, alias_changes.c.version == version)
        .order_by(alias_changes.c.id.desc())
        .limit(1)
    )
    with project.database.connect() as connection:
        since = connection.scalar(promoted) or ""
        wanted = (
            select(predictions.c.id, predictions.c.subject, predictions.c.created_at)
            .where(predictions.c.created_at >= since, predictions.c.sealed.is_not(None))
            .order_by(predictions.c.created_at, predictions.c.id)
        )
        rows = connection.execute(wanted).all()
    return rows_of_subjects(rows)


def _new_since(rows: Sequence[Any], newest: str) -> int:
    """How many rows came after the one of this id; all where it is not among them."""
    ids = [row.id for row in rows]
    return len(rows) - 1 - ids.index(newest) if newest in ids else len(rows)
