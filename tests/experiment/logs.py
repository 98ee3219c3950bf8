"""Writes what a served experiment leaves in the tables, hour by hour, without a server."""

from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import insert

from millwright.experiment.plans import Experiment, Plan, start
from millwright.project import Project
from millwright.registry.traffic import assign, current_traffic
from millwright.serve.runtime_record import RuntimeRecord, processor, write_runtime
from millwright.store.files import sealed_folder, write_json
from millwright.store.tables import failures, opinions, predictions
from tests.serve.tiny import add_version, serving


def with_versions(project: Project, count: int = 2) -> Project:
    """A project with versions v1 (champion), v2, …, that may be promoted."""
    serving(project)
    for number in range(2, count + 1):
        add_version(project, number)
    for number in range(1, count + 1):
        with sealed_folder(project.kept / "versions" / f"v{number}") as folder:
            write_json(Path(folder) / "manifest.json", {"name": f"v{number}"})
        write_runtime(project, RuntimeRecord(f"v{number}", "torch", None, (), processor(), 0.0))
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


def exposed(project: Project, name: str, at: float, *, arm: str | None = None, label: str = "card",
            subject: str | None = None, ask: bool = False, seconds: float = 0.1) -> str:  # fmt: skip
    """A prediction for a user as the service would log it; `arm` overrides the draw. Returns the arm."""
    current = current_traffic(project)
    assert current is not None
    drawn = assign(current, subject or name)
    drawn = next((one for one in current.arms if one.name == arm), drawn)
    with project.database.begin() as connection:
        connection.execute(
            insert(predictions).values(
                id=name, version=drawn.version, text="card", label=label, probability=0.9,
                subject=subject, ask=ask, created_at=hour(at), traffic=current.id, arm=drawn.name,
                propensity=drawn.share, unit=None if subject else name, seconds=seconds,
            )
        )  # fmt: skip
    return drawn.name


def failed(project: Project, name: str, at: float, arm: str, subject: str | None = None) -> None:
    """A request that a version could not answer."""
    current = current_traffic(project)
    assert current is not None
    with project.database.begin() as connection:
        connection.execute(
            insert(failures).values(
                id=name, traffic=current.id, arm=arm, propensity=0.5, unit=None if subject else name,
                subject=subject, kind="RuntimeError", created_at=hour(at),
            )
        )  # fmt: skip


def said(project: Project, prediction: str, at: float, name: str | None = None, **what: object) -> None:
    """An opinion on a prediction."""
    with project.database.begin() as connection:
        values = {"id": name or f"{prediction}-{at}", "prediction": prediction, "created_at": hour(at)}
        connection.execute(insert(opinions).values(**values, **what))
