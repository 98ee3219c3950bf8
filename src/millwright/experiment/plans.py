"""What an experiment is to find out and how: kept in a table, with the shares that it gives to versions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update

from millwright.errors import BadInput, Busy, NotFound, one_of
from millwright.experiment.confidence_sequences import check_alpha
from millwright.experiment.outcomes import METRICS
from millwright.project import Project
from millwright.registry.signatures import verify_version
from millwright.registry.traffic import CHAMPION_ARM, MIN_CHAMPION, Arm, start_traffic
from millwright.registry.versions import CHALLENGER, CHAMPION, point, resolve
from millwright.serve.promotion import measure
from millwright.settings import refuse_spans
from millwright.store.database import now
from millwright.store.tables import experiments

Heard = Literal["everyone", "asked"]
Allocation = Literal["fixed", "thompson"]
RUNNING = "running"


@dataclass(frozen=True)
class Plan:
    """How challengers are held against the champion.

    `steps` are the shares of all challengers together, one after the other; 0 lets them answer unseen.
    `step_units` users of a challenger whose outcome is known make the next step, unless it does harm.
    `margin` is the harm to a guardrail that is tolerated. A user's outcome is what is known `window_hours`
    after the first request.
    """

    champion: str
    challengers: tuple[str, ...]
    metric: str = "accepted"
    guardrails: tuple[str, ...] = ("errors", "complaints", "escalations")
    heard: Heard = "everyone"
    steps: tuple[float, ...] = (0.01, 0.1, 0.5)
    step_units: int = 50
    allocation: Allocation = "fixed"
    alpha: float = 0.05
    min_effect: float = 0.01
    margin: float = 0.05
    max_days: float = 28.0
    window_hours: float = 24.0
    slow_s: float = 1.0
    is_automatic: bool = True


@dataclass(frozen=True)
class Experiment:
    """A plan under its name, and what became of it: running, shipped, rolled back, stopped, alarmed."""

    name: str
    plan: Plan
    state: str
    started_at: str
    ended_at: str | None


def plan_of(project: Project, challengers: Sequence[str], **changes: Any) -> Plan:
    """The plan that a project's settings make of challengers, but for `changes`."""
    given = project.settings.experiment.model_dump()
    names = tuple(resolve(project, version) for version in challengers)
    return Plan(champion=champion_of(project), challengers=names, **{**given, **changes})


def check_plan(plan: Plan) -> None:
    """Raise BadInput or NotFound naming the first value of a plan that cannot be used."""
    check_alpha(plan.alpha)
    for name in (plan.metric, *plan.guardrails):
        one_of("metric", name, METRICS)
    for name in plan.guardrails:
        if METRICS[name].is_good:
            bad = ", ".join(name for name, metric in METRICS.items() if not metric.is_good)
            raise BadInput(f"a guardrail counts what is bad, got {name!r}; name one of {bad}", "guardrails")
    if not METRICS[plan.metric].is_good:
        raise BadInput(
            f"the metric must count what is good, got {plan.metric!r}; name it as a guardrail", "metric"
        )
    if not plan.challengers or plan.champion in plan.challengers or _repeats(plan.challengers):
        raise BadInput(
            f"challengers must be different versions other than the champion {plan.champion}, got "
            f"{', '.join(plan.challengers) or 'none'}; name the versions to try",
            "challengers",
        )
    if not _can_step(plan):
        raise BadInput(
            f"steps must be rising shares, 0 at least, that end over 0 and at {1 - MIN_CHAMPION:g} at most, "
            f"got {plan.steps}; as in 0.01 0.1 0.5",
            "steps",
        )
    if not 0 <= plan.min_effect < 1:
        raise BadInput(
            f"min_effect must be at least 0 and below 1, got {plan.min_effect}; 0.01 is a point", "min_effect"
        )
    for field in ("step_units", "window_hours", "max_days", "slow_s", "margin"):
        if getattr(plan, field) <= 0:
            raise BadInput(f"{field} must be over 0, got {getattr(plan, field)}; raise it", field)


def _can_step(plan: Plan) -> bool:
    """True if the steps rise and every one of them can be shared out."""
    if not plan.steps or list(plan.steps) != sorted(set(plan.steps)):
        return False
    left = 1 - sum(shares_of_step(plan, plan.steps[-1]).values())
    return plan.steps[0] >= 0 and plan.steps[-1] > 0 and left >= MIN_CHAMPION


def start(project: Project, plan: Plan, name: str | None = None) -> Experiment:
    """Give challengers their first share of users; servers follow within about a second.

    Args:
        project: a project whose champion is the plan's.
        plan: how to compare.
        name: of the experiment; made of the date when not given.

    Returns:
        The experiment.

    Raises:
        BadInput: the plan cannot be used, or the name was used before.
        NotFound: there is no such version or metric.
        Busy: another experiment runs; or somebody trains or erases, and a challenger was not measured yet.
        Corrupt: a version is damaged, so it may not serve.
    """
    refuse_spans(project.settings, "an experiment")
    check_plan(plan)
    name = name or f"{'-'.join(plan.challengers)}-{now()[:10]}"
    _check_free(project, plan, name)
    for version in plan.challengers:
        verify_version(project, version)
        measure(project, version)
    with project.database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _check_free(project, plan, name)  # measuring takes its time, and others start experiments and promote
        for version in reversed(plan.challengers):
            point(project, connection, version, f"challenger of experiment {name}", CHALLENGER)
        connection.execute(
            insert(experiments).values(name=name, plan=asdict(plan), state=RUNNING, started_at=now())
        )
        share_out(connection, plan, name, salt=token_hex(16), shares=shares_of_step(plan, plan.steps[0]))
    return find(project, name)


def _check_free(project: Project, plan: Plan, name: str) -> None:
    """Raise unless an experiment of this plan and name may start now."""
    for version in plan.challengers:
        resolve(project, version)
    if (other := running(project)) is not None:
        raise Busy(f"the experiment {other.name!r} runs; `millwright experiment stop` ends it")
    if any(known.name == name for known in list_experiments(project)):
        raise BadInput(f"there was an experiment {name!r} before; give another --name", "name")
    if plan.champion != champion_of(project):
        raise BadInput(f"{plan.champion} is not champion now, {champion_of(project)} is; compare with that")


def shares_of_step(plan: Plan, step: float) -> dict[str, float]:
    """Each challenger's share where all of them together have `step`."""
    return {version: step / len(plan.challengers) for version in plan.challengers}


def share_out(connection: Connection, plan: Plan, name: str, salt: str, shares: dict[str, float]) -> None:
    """Put shares of challengers in force within a transaction; where nobody has a share, they are shadows.

    Args:
        connection: in a transaction.
        plan: names the versions.
        name: of the experiment.
        salt: of the hash.
        shares: of each challenger.
    """
    rest = 1 - sum(shares.values())
    arms = [Arm(CHAMPION_ARM, plan.champion, rest), *(Arm(v, v, shares[v]) for v in plan.challengers)]
    unseen = () if any(shares.values()) else plan.challengers
    start_traffic(connection, name, salt, arms, unseen)


def list_experiments(project: Project) -> list[Experiment]:
    """Every experiment, the newest first."""
    with project.database.connect() as connection:
        found = connection.execute(select(experiments).order_by(experiments.c.started_at.desc())).all()
    return [_of_row(row) for row in found]


def running(project: Project) -> Experiment | None:
    """The experiment that runs, None if none does."""
    return next((one for one in list_experiments(project) if one.state == RUNNING), None)


def find(project: Project, name: str | None) -> Experiment:
    """An experiment by name; without a name the one that runs, else the newest.

    Args:
        project: an open project.
        name: of the experiment, or None.

    Returns:
        The experiment.

    Raises:
        NotFound: there is none of this name, or none at all.
    """
    known = list_experiments(project)
    if not known:
        raise NotFound("there was no experiment yet; `millwright experiment start VERSION` begins one")
    if name is None:
        return running(project) or known[0]
    return {one.name: one for one in known}[one_of("experiment", name, [one.name for one in known])]


def finish(connection: Connection, name: str, state: str) -> None:
    """Mark an experiment as ended, within a transaction."""
    ended = update(experiments).where(experiments.c.name == name)
    connection.execute(ended.values(state=state, ended_at=now()))


def champion_of(project: Project) -> str:
    """The version that is champion; NotFound if none is."""
    return resolve(project, CHAMPION)


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def _of_row(row: Row[tuple[object, ...]]) -> Experiment:
    tree: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.plan.items()
    }
    return Experiment(row.name, Plan(**tree), row.state, row.started_at, row.ended_at)
