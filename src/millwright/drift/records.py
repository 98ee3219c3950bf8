"""Checks for drift as they are kept. Reading them loads no network."""

from dataclasses import dataclass

from sqlalchemy import select

from millwright.project import Project
from millwright.records import Interval
from millwright.store.tables import drifts


@dataclass(frozen=True)
class DriftTest:
    """One test: what it looked at, its statistic, its p-value, and whether that is below what it may be."""

    name: str
    statistic: float
    p_value: float
    is_drifting: bool


@dataclass(frozen=True)
class DriftRecord:
    """A check: the samples, the share of alpha that it spent, the tests, and what that means.

    `newest` is the last prediction of the window. `number` counts checks of this version.
    `measured_accuracy` is that on held-out rows, `estimated_accuracy` what confidences make of the window,
    both None where too few rows are held out.
    """

    version: str
    reference: str
    reference_size: int
    window_size: int
    newest: str
    number: int
    alpha: float
    tests: tuple[DriftTest, ...]
    is_drifting: bool
    checked_at: str
    measured_accuracy: float | None = None
    estimated_accuracy: Interval | None = None


def list_drifts(project: Project) -> list[DriftRecord]:
    """Every check, oldest first."""
    with project.database.connect() as connection:
        found = connection.scalars(select(drifts.c.record).order_by(drifts.c.id)).all()
    return [
        DriftRecord(
            **{
                **tree,
                "tests": tuple(DriftTest(**one) for one in tree["tests"]),
                "estimated_accuracy": Interval(**about)
                if (about := tree.get("estimated_accuracy"))
                else None,
            }
        )
        for tree in found
    ]
