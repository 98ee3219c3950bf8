"""Acts on what an experiment shows: ship, hold, advance, keep the champion, roll back, or raise the alarm."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy import Connection, insert, select, update

from millwright.errors import BadInput
from millwright.experiment.analysis import Analysis, Effect, analyse
from millwright.experiment.plans import (
    RUNNING,
    Experiment,
    Plan,
    champion_of,
    find,
    finish,
    running,
    share_out,
    shares_of_step,
)
from millwright.experiment.thompson import thompson_shares
from millwright.privacy.audit import record as note
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.traffic import current_traffic, end_traffic
from millwright.serve.promotion import promote
from millwright.store.database import now, time_between
from millwright.store.tables import decisions
from millwright.webhooks import DECISION, announce

SHIP, HOLD, ADVANCE, KEEP = "ship", "hold", "advance", "keep"
ROLL_BACK, ALARM, STOP, SHIFT = "roll back", "alarm", "stop", "shift"
STATES = {SHIP: "shipped", KEEP: "kept", ROLL_BACK: "rolled back", ALARM: "alarmed", STOP: "stopped"}
ASKS_FIRST = (SHIP, ADVANCE)  # what waits for approval where a plan is not automatic; harm never waits
LEAST_SHIFT = 0.05
WAIT_S = 60.0  # of a person's command for a server that decides: reading a large experiment takes seconds


@dataclass(frozen=True)
class Decision:
    """What to do, about which challenger, and why; `shares` are the new ones where they change."""

    kind: str
    reason: str
    version: str | None = None
    shares: dict[str, float] | None = None


@dataclass(frozen=True)
class DecisionRecord:
    """A decision as it was kept, with the figures that it rests on."""

    experiment: str
    kind: str
    reason: str
    figures: JsonObject
    is_applied: bool
    decided_at: str

    @property
    def told(self) -> str:
        """What was decided, or waits for a person, with its reason."""
        waits = "" if self.is_applied else "waits for `millwright experiment approve`: "
        return f"{self.kind}: {waits}{self.reason}"


def decide(plan: Plan, found: Analysis, days: float) -> Decision:
    """What the figures say should be done now.

    Args:
        plan: what was asked.
        found: the figures.
        days: since the start.

    Returns:
        The decision, with its reason in a sentence.
    """
    live = [arm.name for arm in found.arms[1:] if arm.share or not any(one.share for one in found.arms[1:])]
    if found.is_mismatched:
        return Decision(ALARM, _mismatch(found))
    for effect in found.guardrails:
        if effect.arm in live and effect.low > plan.margin:
            return Decision(ROLL_BACK, f"{effect.arm} harms {_words(effect)}", effect.arm)
    primary = {effect.arm: effect for effect in found.primary if effect.arm in live}
    for effect in primary.values():
        if effect.high < 0:
            return Decision(ROLL_BACK, f"{effect.arm} is worse: {_words(effect)}", effect.arm)
        if effect.high < plan.min_effect:
            least = f"a gain of {plan.min_effect:.1%} or more is ruled out"
            return Decision(KEEP, f"{effect.arm} is not worth it, {least}: {_words(effect)}", effect.arm)
    found_now = Decision(HOLD, f"not decided yet: {_all_words(primary)}")
    if better := [effect for effect in primary.values() if effect.low > 0]:
        found_now = _ship_or_hold(plan, found, max(better, key=lambda effect: effect.low))
    if found_now.kind == HOLD and days >= plan.max_days:
        return Decision(KEEP, f"{plan.max_days:g} days are over: {found_now.reason}")
    if found_now.kind == HOLD:
        return _next_shares(plan, found, live) or found_now
    return found_now


def review(project: Project, at: str | None = None, *, wait_s: float = 0) -> DecisionRecord | None:
    """Decide on the experiment that runs, act on it where the plan lets, and keep the decision.

    A hold that follows a hold replaces it, so that the table tells a story.

    Args:
        project: an open project.
        at: the hour to look; now when not given.
        wait_s: how long to wait for another process that decides.

    Returns:
        What was decided, None if no experiment runs.

    Raises:
        Busy: another process decides now.
        Corrupt: the version to be shipped is damaged; nothing changed then.
    """
    with project.lock("experiment", wait_s):
        at = at or now()
        experiment = running(project)
        if experiment is None:
            return None
        if (champion := champion_of(project)) != experiment.plan.champion:
            return _apply(project, experiment, _overtaken(experiment.plan, champion), {})
        found = analyse(project, experiment, at)
        days = max(0.0, time_between(experiment.started_at, at) / timedelta(days=1))
        decision = decide(experiment.plan, found, days)
        figures = {**asdict(found), "version": decision.version, "shares": decision.shares}
        if decision.kind in ASKS_FIRST and not experiment.plan.is_automatic:
            with project.database.begin() as connection:
                return _keep(project, connection, experiment, decision, figures, is_applied=False)
        return _apply(project, experiment, decision, figures)


def approve(project: Project) -> DecisionRecord:
    """Carry out the decision that waits for approval.

    Args:
        project: an open project.

    Returns:
        The decision, applied.

    Raises:
        BadInput: no decision waits, or another version became champion since.
        Busy: another process decides, and took over a minute.
    """
    with project.lock("experiment", WAIT_S):
        experiment = running(project)
        last = list_decisions(project, experiment.name)[-1:] if experiment else []
        if experiment is None or not last or last[0].is_applied:
            raise BadInput("no decision waits for approval; `millwright experiment decide` makes one")
        if (champion := champion_of(project)) != experiment.plan.champion:
            raise BadInput(
                f"{champion} became champion after this was proposed; `millwright experiment decide` ends "
                "the experiment"
            )
        waiting = last[0]
        decision = Decision(
            waiting.kind, waiting.reason, waiting.figures["version"], waiting.figures["shares"]
        )
        return _apply(project, experiment, decision, waiting.figures)


def stop(project: Project, reason: str, name: str | None = None) -> DecisionRecord:
    """End an experiment by hand; every user gets the champion again.

    Args:
        project: an open project.
        reason: why, for the table.
        name: of the experiment; the one that runs when not given.

    Returns:
        The decision.

    Raises:
        BadInput: it does not run.
        NotFound: there is none.
        Busy: another process decides, and took over a minute.
    """
    with project.lock("experiment", WAIT_S):
        experiment = find(project, name)
        if experiment.state != RUNNING:
            raise BadInput(
                f"the experiment {experiment.name!r} does not run, it was {experiment.state}; `millwright "
                "experiment status` shows the one that runs"
            )
        return _apply(project, experiment, Decision(STOP, reason), {})


def list_decisions(project: Project, experiment: str) -> list[DecisionRecord]:
    """Every decision on an experiment, oldest first."""
    wanted = select(decisions).where(decisions.c.experiment == experiment).order_by(decisions.c.id)
    with project.database.connect() as connection:
        return [
            DecisionRecord(row.experiment, row.kind, row.reason, row.figures, row.is_applied, row.decided_at)
            for row in connection.execute(wanted)
        ]


def _overtaken(plan: Plan, champion: str) -> Decision:
    """Another version is champion: by hand, or by this experiment, which was killed before it ended."""
    reason = f"{champion} became champion in the meantime"
    return Decision(STOP, reason, champion if champion in plan.challengers else None)


def _ship_or_hold(plan: Plan, found: Analysis, best: Effect) -> Decision:
    for effect in found.response:
        if effect.arm == best.arm and not effect.low <= 0 <= effect.high:
            return Decision(
                HOLD, f"{best.arm} looks better, {_words(best)}, but who answers differs ({_words(effect)}); "
                "compare only users who are always asked: --heard asked"
            )  # fmt: skip
    guards = [effect for effect in found.guardrails if effect.arm == best.arm]
    for effect in guards:
        if effect.high > plan.margin:
            limit = f"harm of {plan.margin:.1%} is not ruled out yet"
            return Decision(HOLD, f"{best.arm} is better, {_words(best)}, but {limit}: {_words(effect)}")
    harmless = "; ".join(_words(effect) for effect in guards)
    return Decision(SHIP, f"{best.arm} is better: {_words(best)}; no harm: {harmless or 'nothing guarded'}",
                    best.arm)  # fmt: skip


def _next_shares(plan: Plan, found: Analysis, live: Sequence[str]) -> Decision | None:
    """The next step of the canary, or the shares that Thompson sampling draws."""
    now_shares = {arm.name: arm.share for arm in found.arms[1:]}
    enough = min(found.step_users[arm] for arm in live)
    larger = [step for step in plan.steps if step > found.step + 1e-9]
    if larger:  # Thompson sampling may go below a step, and then no step is taken again
        if not any(now_shares.values()):
            return _after_unseen(plan, found, larger[0])
        if enough >= plan.step_units:
            return _advance(plan, larger[0], live, f"{enough} users without harm at {found.step:.0%}")
        return None
    if plan.allocation == "thompson" and enough >= plan.step_units:
        drawn = thompson_shares(found.primary, live, len(plan.challengers))
        shares = {arm: drawn.get(arm, 0.0) for arm in plan.challengers}
        if max(abs(shares[arm] - now_shares[arm]) for arm in shares) >= LEAST_SHIFT:
            told = ", ".join(f"{arm} {share:.0%}" for arm, share in shares.items())
            return Decision(SHIFT, f"shares by the chance of being best: {told}", shares=shares)
    return None


def _after_unseen(plan: Plan, found: Analysis, step: float) -> Decision | None:
    """The first step with users, after one look at how often challengers failed unseen."""
    if min(one.users for one in found.unseen.values()) < plan.step_units:
        return None
    failing = {
        arm: f"{arm} failed in {one.failures} of {one.answers} answers that nobody saw"
        for arm, one in found.unseen.items()
        if one.failures > plan.margin * one.answers
    }
    going = [arm for arm in plan.challengers if arm not in failing]
    told = "; ".join(failing.values())
    if not going:
        return Decision(ROLL_BACK, told, next(iter(failing)))
    answered = ", ".join(f"{arm} answered {found.unseen[arm].users} users unseen" for arm in going)
    return _advance(plan, step, going, f"{answered}; {told}" if told else answered)


def _advance(plan: Plan, step: float, going: Sequence[str], why: str) -> Decision:
    """The next step; a challenger that does not go on gets nobody."""
    each = shares_of_step(plan, step)
    shares = {arm: share if arm in going else 0.0 for arm, share in each.items()}
    return Decision(ADVANCE, f"{why}, next is {step:.0%}", shares=shares)


def _apply(
    project: Project, experiment: Experiment, decision: Decision, figures: JsonObject
) -> DecisionRecord:
    plan, shares = experiment.plan, decision.shares
    if decision.kind == SHIP:
        assert decision.version is not None
        promote(project, decision.version, f"experiment {experiment.name}: {decision.reason}")
    if decision.kind in (ROLL_BACK, KEEP) and decision.version is not None and len(plan.challengers) > 1:
        left = {arm["name"]: arm["share"] for arm in figures["arms"][1:]}
        left[decision.version] = 0.0
        shares = left if any(left.values()) else None
    current = current_traffic(project)
    with project.database.begin() as connection:  # what is done and that it was done, or neither
        if shares is not None and current is not None:
            share_out(connection, plan, experiment.name, current.salt, shares)
        elif decision.kind in STATES:
            end_traffic(connection)
            finish(connection, experiment.name, STATES[decision.kind])
        return _keep(project, connection, experiment, decision, figures, is_applied=True)


def _keep(
    project: Project,
    connection: Connection,
    experiment: Experiment,
    decision: Decision,
    figures: JsonObject,
    *,
    is_applied: bool,
) -> DecisionRecord:
    record = DecisionRecord(experiment.name, decision.kind, decision.reason, figures, is_applied, now())
    told = {"experiment": record.experiment, "kind": record.kind, "version": decision.version}
    newest = select(decisions).where(decisions.c.experiment == experiment.name)
    last = connection.execute(newest.order_by(decisions.c.id.desc()).limit(1)).first()
    repeats = decision.kind == HOLD or (decision.kind in ASKS_FIRST and last and not last.is_applied)
    before = last if last is not None and last.kind == decision.kind and repeats else None
    if before is None:
        connection.execute(insert(decisions).values(**asdict(record)))
    else:
        connection.execute(update(decisions).where(decisions.c.id == before.id).values(**asdict(record)))
    if before is None or before.is_applied != is_applied:
        action = "experiment decided" if is_applied else "experiment decision proposed"
        note(project, action, details={**told, "reason": record.reason})
        if record.kind != HOLD:  # nothing was decided
            announce(project, connection, DECISION, {**told, "reason": record.reason, "applied": is_applied})
    return record


def _mismatch(found: Analysis) -> str:
    counts = ", ".join(f"{arm.name} {arm.users} users at {arm.share:.0%}" for arm in found.arms)
    return (
        f"the arms' users do not fit their shares ({counts} now), so no figure can be trusted; look for "
        "requests that are lost, repeated or pinned to a version"
    )


def _words(effect: Effect) -> str:
    rates = "nothing known"
    if effect.champion is not None and effect.challenger is not None:
        rates = f"{effect.champion:.1%} to {effect.challenger:.1%}"
    return (
        f"{effect.metric} {rates}, effect between {effect.low:+.1%} and {effect.high:+.1%} at "
        f"{1 - effect.alpha:.1%}, {effect.users} users"
    )


def _all_words(primary: dict[str, Effect]) -> str:
    return "; ".join(f"{arm}: {_words(effect)}" for arm, effect in primary.items())
