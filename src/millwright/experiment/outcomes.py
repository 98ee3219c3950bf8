"""What became of each user of an experiment: opinions and failures made numbers, a user a row.

A user counts with the arm of the first request; a later request counts while the shares are the same, so
that users who keep their arm when shares change count no more requests than those who lose it. What is
known when the window after the first request closes is the outcome, and what comes later changes nothing:
so delays cannot favour an arm. What a server knows with its answer (failures, time) is that of the first
request and counts at once: so a version that fails need not fail for a whole window.

Shape suffixes: N users in the order of their first requests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Row, Select, func, select

from millwright.feedback import is_reviewed
from millwright.privacy.sealed import open_opinion, open_prediction
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion
from millwright.store.database import hour_of
from millwright.store.tables import failures, opinions, predictions, traffic


@dataclass(frozen=True)
class Event:
    """A request, of an experiment or before it; `unit` is whose it was, by pseudonym or by the request.

    `label` is what was answered, None where the request failed or where nobody said anything of it.
    """

    id: str
    unit: str
    arm: str | None
    traffic: int | None
    created_at: str
    seconds: float | None = None
    ask: bool = False
    label: str | None = None
    has_failed: bool = False


@dataclass(frozen=True)
class Metric:
    """What an answer counts, in [0, 1] or None where nothing is known; `is_good` tells which way is up.

    Where `needs_answer` is false silence counts too, and a request that failed counts as the worst there is:
    left out, its users would make the version that failed look better.
    `is_instant` metrics are known with the answer: a user's first request counts, and nothing is waited for.
    """

    about: str
    is_good: bool
    needs_answer: bool
    value: Callable[[Event, Sequence[Opinion], float], float | None]
    is_instant: bool = False


@dataclass(frozen=True)
class Units:
    """Users: the arm and the shares of the first request, whether the window closed, an outcome a metric.

    `before` is the mean of the same metric over a user's requests before the experiment, nan where nothing
    is known of them.
    """

    arm_N: np.ndarray
    traffic_N: np.ndarray
    is_closed_N: np.ndarray
    outcomes: dict[str, np.ndarray]
    before: dict[str, np.ndarray]


def _last(said: Sequence[Opinion], *fields: str) -> tuple[str, Any] | None:
    """The newest opinion that has one of the fields: what contradicts an earlier one replaces it."""
    for one in reversed(said):
        for field in fields:
            if getattr(one, field) is not None:
                return field, getattr(one, field)
    return None


def _accepted(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del slow_s
    found = _last(said, "label", "rating")
    if found is None or event.label is None:
        return None
    return float(found[1] == event.label) if found[0] == "label" else (found[1] - 1) / 4


def _not_corrected(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    value = _accepted(event, said, slow_s)
    return 1.0 if value is None else float(value >= 0.5)


def _satisfaction(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del event, slow_s
    found = _last(said, "csat", "rating")
    return None if found is None else (found[1] - 1) / 4


def _recommendation(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del event, slow_s
    found = _last(said, "nps")
    return None if found is None else 1.0 if found[1] >= 9 else 0.5 if found[1] >= 7 else 0.0


def _became(outcome: str) -> Callable[[Event, Sequence[Opinion], float], float | None]:
    def value(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
        """One if the outcome was reported."""
        del event, slow_s
        return float(any(one.outcome == outcome for one in said))

    return value


def _complaint(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del event, slow_s
    found = _last(said, "csat", "rating")
    return float(found is not None and found[1] <= 2)


def _slow(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del said
    return None if event.seconds is None else float(event.seconds > slow_s)


def _cost(event: Event, said: Sequence[Opinion], slow_s: float) -> float | None:
    del said
    return None if event.seconds is None else min(1.0, event.seconds / slow_s)


METRICS = {
    "accepted": Metric("answers that were confirmed, of those that were judged", True, True, _accepted),
    "not_corrected": Metric("answers that nobody corrected or disliked", True, False, _not_corrected),
    "satisfaction": Metric("CSAT or rating, 1 to 5 as 0 to 1", True, True, _satisfaction),
    "recommendation": Metric("NPS: promoters 1, passives 0.5, detractors 0", True, True, _recommendation),
    "resolved": Metric("requests that were resolved", True, False, _became("resolved")),
    "bought": Metric("requests after which something was bought", True, False, _became("bought")),
    "errors": Metric("first requests that failed", False, False, lambda event, said, slow_s: 0.0, True),
    "escalations": Metric("requests that went to a person", False, False, _became("escalated")),
    "complaints": Metric("thumbs down and low scores", False, False, _complaint),
    "slow": Metric("first answers slower than slow_s", False, False, _slow, True),
    "cost": Metric("the machine's time for the first answer, in slow_s", False, False, _cost, True),
}
RESPONSE = "response"


def read_units(
    project: Project,
    experiment: str,
    metrics: Sequence[str],
    at: str,
    *,
    window_hours: float,
    slow_s: float,
    only_asked: bool,
) -> Units:
    """The users of an experiment.

    Args:
        project: an open project.
        experiment: its name.
        metrics: names of METRICS.
        at: the hour to look, as `store.database.now` writes it; later rows are not read.
        window_hours: how long after a user's first request outcomes count.
        slow_s: what is slow.
        only_asked: whether opinions count only of users who are always asked.

    Returns:
        Users with a nan where a metric says nothing of one, and under "response" whether a judgement came.
    """
    units = select(predictions.c.subject).where(predictions.c.traffic.in_(_shares_of(experiment)))
    with project.database.connect() as connection:
        start = connection.scalar(
            select(func.min(traffic.c.started_at)).where(traffic.c.experiment == experiment)
        )
        failed = connection.execute(
            select(failures).where(
                failures.c.traffic.in_(_shares_of(experiment)), failures.c.created_at <= at
            )
        ).all()
    events, said = read_requests(
        project, predictions.c.traffic.in_(_shares_of(experiment)) & (predictions.c.created_at <= at), at
    )
    events += [
        Event(row.id, _unit_of(row), row.arm, row.traffic, row.created_at, has_failed=True) for row in failed
    ]
    by_unit = _by_unit(events)
    rows = [_unit(own, said, metrics, window_hours, slow_s, only_asked) for own in by_unit.values()]
    known = read_requests(
        project, predictions.c.subject.in_(units) & (predictions.c.created_at < start), start or ""
    )
    earlier = _by_unit(known[0])
    past = [_means(earlier.get(unit, ()), known[1], metrics, slow_s, only_asked) for unit in by_unit]
    return Units(
        arm_N=np.array([events[0].arm for events in by_unit.values()], dtype=object),
        traffic_N=np.array([events[0].traffic for events in by_unit.values()], dtype=int),
        is_closed_N=np.array(
            [_end(events[0].created_at, window_hours) <= at for events in by_unit.values()], dtype=bool
        ),
        outcomes=_columns(rows, [*metrics, RESPONSE]),
        before=_columns(past, metrics),
    )


def _columns(rows: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: np.array([row[at] for row in rows], dtype=float) for at, name in enumerate(names)}


def _shares_of(experiment: str) -> Select[tuple[int]]:
    return select(traffic.c.id).where(traffic.c.experiment == experiment)


def _by_unit(events: Sequence[Event]) -> dict[str, list[Event]]:
    """Events of each user, users in the order of their first ones."""
    found: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.created_at, event.id)):
        found.setdefault(event.unit, []).append(event)
    return found


def read_requests(
    project: Project, which: ColumnElement[bool], at: str
) -> tuple[list[Event], dict[str, list[Opinion]]]:
    """Requests that were answered, and what users said of each until an hour, oldest first.

    What reviewers said is left out: rows are chosen for them by what the champion is unsure of, and so would
    tell of its mistakes more than of a challenger's.
    """
    vault = open_vault(project)
    _ = vault.keys  # before anything is read
    with project.database.connect() as connection:
        answered = connection.execute(select(predictions).where(which)).all()
        heard = connection.execute(
            select(opinions)
            .join(predictions, predictions.c.id == opinions.c.prediction)
            .where(which, opinions.c.created_at <= at, opinions.c.sealed.is_not(None))
            .order_by(opinions.c.created_at, opinions.c.id)
        ).all()
    said: dict[str, list[Opinion]] = {}
    for row in heard:
        opinion = open_opinion(vault, row)
        if not is_reviewed(opinion):
            said.setdefault(row.prediction, []).append(opinion)
    events = [
        Event(
            row.id, _unit_of(row), row.arm, row.traffic, row.created_at, row.seconds, row.ask,
            label=open_prediction(vault, row).label if row.id in said and row.sealed else None,
        )
        for row in answered
    ]  # fmt: skip
    return events, said


def _unit_of(row: Row[Any]) -> str:
    if row.unit is None and row.subject is not None:
        return f"s{row.subject}"
    return f"u{row.unit or row.id}"  # outside an experiment nothing was drawn, so no unit was noted


def _unit(
    events: Sequence[Event], said: dict[str, list[Opinion]], metrics: Sequence[str],
    window_hours: float, slow_s: float, only_asked: bool,
) -> list[float]:  # fmt: skip
    """A user's outcome by metric, of the first request or of all, then whether any of them was judged."""
    began, end = events[0], _end(events[0].created_at, window_hours)
    own = [
        event
        for event in events
        if (event.arm, event.traffic) == (began.arm, began.traffic) and event.created_at < end
    ]
    timely = {event.id: [one for one in said.get(event.id, ()) if one.created_at < end] for event in own}
    was_judged = any(_last(told, "label", "rating", "csat", "nps") for told in timely.values())
    instant = _means(own[:1], timely, metrics, slow_s, only_asked)
    whole = _means(own, timely, metrics, slow_s, only_asked)
    values = [
        first if METRICS[name].is_instant else mean
        for name, first, mean in zip(metrics, instant, whole, strict=True)
    ]
    return [*values, float(was_judged)]


def _means(
    events: Sequence[Event], said: Mapping[str, Sequence[Opinion]], metrics: Sequence[str],
    slow_s: float, only_asked: bool,
) -> list[float]:  # fmt: skip
    """The mean of each metric over requests, those that failed at their worst; nan where nothing is known."""
    answered, found = [event for event in events if not event.has_failed], []
    for name in metrics:
        metric = METRICS[name]
        is_limited = only_asked and metric.needs_answer
        values = []
        for event in answered:
            told = said.get(event.id, ())
            values.append(metric.value(event, asked_for(event, told) if is_limited else told, slow_s))
        known = [value for value in values if value is not None]
        if not metric.needs_answer:
            known += [0.0 if metric.is_good else 1.0] * (len(events) - len(answered))
        found.append(sum(known) / len(known) if known else float("nan"))
    return found


def asked_for(event: Event, said: Sequence[Opinion]) -> list[Opinion]:
    """Opinions that did not depend on whether the user liked to give one."""
    return [one for one in said if event.ask or one.asked_with is not None]


def _end(first: str, window_hours: float) -> str:
    return hour_of(datetime.fromisoformat(first) + timedelta(hours=window_hours))
