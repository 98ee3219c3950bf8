"""Writes what a served experiment leaves in the tables, hour by hour, without a server."""

from datetime import datetime, timedelta
from typing import Any

from millwright.experiment.plans import Experiment, Plan, start
from millwright.project import Project
from millwright.records import Failure, Opinion, Prediction
from millwright.registry.traffic import assign, current_traffic
from millwright.serve.runtime_record import (
    Candidate,
    RuntimeRecord,
    candidates_on,
    this_machine,
    write_runtime,
)
from tests.conftest import keep, place_version
from tests.serve.tiny import add_version, serving


def with_versions(project: Project, count: int = 2) -> Project:
    """A project with versions v1 (champion), v2, …, that may be promoted."""
    serving(project)
    for number in range(2, count + 1):
        add_version(project, number)
    for number in range(1, count + 1):
        place_version(project, f"v{number}")
        timed = tuple(Candidate(name, 9.0) for name in candidates_on(this_machine().gpu, "auto"))
        write_runtime(project, RuntimeRecord(f"v{number}", "torch", None, timed, this_machine(), 0.0))
    return project


def begun(project: Project, **changes: object) -> Experiment:
    """An experiment of v2 against v1 at even shares, but for `changes`."""
    plan = {"champion": "v1", "challengers": ("v2",), "steps": (0.5,), "guardrails": ("errors",)}
    plan |= {"window_hours": 1.0, "max_days": 1e6}
    return start(project, Plan(**{**plan, **changes}), "x")  # type: ignore[arg-type]


def hour(hours: float) -> str:
    """So many hours after the start of a day that lies after every test's start."""
    return (datetime.fromisoformat("2099-01-01T00:00:00+00:00") + timedelta(hours=hours)).isoformat(
        timespec="milliseconds"
    )


def exposure(project: Project, name: str, at: float, *, arm: str | None = None, label: str = "card",
             subject: str | None = None, ask: bool = False,
             seconds: float | None = 0.1) -> Prediction:  # fmt: skip
    """A prediction for a user as the service would log it; `arm` overrides the draw."""
    current = current_traffic(project)
    assert current is not None
    drawn = assign(current, subject or name)
    drawn = next((one for one in current.arms if one.name == arm), drawn)
    return Prediction(
        id=name, version=drawn.version, text="card", label=label, probability=0.9, subject=subject, ask=ask,
        created_at=hour(at), traffic=current.id, arm=drawn.name, propensity=drawn.share,
        unit=None if subject else name, seconds=seconds,
    )  # fmt: skip


def failure(
    project: Project, name: str, at: float, arm: str, subject: str | None = None, user: str | None = None
) -> Failure:
    """A request that a version could not answer; `user` is whose it was where no subject was named."""
    current = current_traffic(project)
    assert current is not None
    unit = None if subject else user or name
    return Failure(name, current.id, arm, 0.5, unit, subject, "RuntimeError", hour(at))


def opinion(prediction: str, at: float, **what: Any) -> Opinion:
    """An opinion on a prediction."""
    told = {"label": None, "rating": None, "comment": None, **what}
    return Opinion(f"{prediction}-{at}", prediction, created_at=hour(at), **told)


def exposed(project: Project, name: str, at: float, **how: Any) -> str:
    """Store an exposure; returns its arm."""
    made = exposure(project, name, at, **how)
    keep(project, made)
    assert made.arm is not None
    return made.arm


def failed(project: Project, name: str, at: float, arm: str, subject: str | None = None) -> None:
    """Store a failure."""
    keep(project, failure(project, name, at, arm, subject))


def said(project: Project, prediction: str, at: float, **what: Any) -> None:
    """Store an opinion."""
    keep(project, opinion(prediction, at, **what))
