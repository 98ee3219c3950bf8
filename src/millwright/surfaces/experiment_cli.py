"""The verbs of `millwright experiment`: estimate, start, status, decide, approve, stop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from millwright.records import JsonObject
from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at, project_option

if TYPE_CHECKING:
    from millwright.experiment.plans import Heard
    from millwright.experiment.rollout import DecisionRecord

app = typer.Typer(
    name="experiment", no_args_is_help=True, help="Compare challengers with the champion on real users."
)


@app.command()
def estimate(
    version: Annotated[str, typer.Argument(help="A version that no user has met.")],
    metric: Annotated[str, typer.Option(help="What counts: accepted, resolved, …")] = "accepted",
    heard: Annotated[str, typer.Option(help="Whose opinions count: everyone, asked.")] = "everyone",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Estimate from logged traffic what a version would bring, before any user meets it.

    Example: millwright experiment estimate v3 --project desk
    """
    opened = open_at(project)
    from millwright.experiment.candidate import estimate_candidate

    found = estimate_candidate(opened, version, metric, heard=_heard(heard))
    if json:
        screen.show_json(found)
        return
    value, lines = found.value, [f"{found.version} on {found.requests} users who did not teach it:"]
    lines.append(f"  what they were told: {found.metric} {found.served:.1%} ± {2 * found.served_error:.1%}")
    for name, mean, error in (
        ("self-normalised", value.snips, value.snips_error),
        ("doubly robust", value.doubly_robust, value.doubly_robust_error),
        ("inverse propensities", value.ips, value.ips_error),
    ):
        if mean is not None and error is not None:
            lines.append(f"  {found.version}, {name}: {mean:.1%} ± {2 * error:.1%}")
    lines.append(
        f"  it says what they were told to {found.agrees:.0%}, what they could have been told to "
        f"{found.covered:.0%}; worth {value.effective:.0f} users"
    )
    if found.left_out:
        lines.append(
            f"  left out: {found.left_out:,} judged requests from when {', '.join(found.gone)} served too, "
            "retired since by an erasure"
        )
    screen.out.print("\n".join(lines), markup=False, soft_wrap=True)


@app.command()
def start(
    challengers: Annotated[list[str], typer.Argument(help="Versions to try, such as v2.")],
    metric: Annotated[str, typer.Option(help="What decides: accepted, resolved, …")] = "accepted",
    guardrail: Annotated[
        list[str] | None, typer.Option(help="What may not be harmed; may be given again.")
    ] = None,
    step: Annotated[
        list[float] | None, typer.Option(help="Share of users, again for each next step; 0 answers unseen.")
    ] = None,
    step_users: Annotated[int, typer.Option(min=1, help="Users per challenger before the next step.")] = 50,
    heard: Annotated[str, typer.Option(help="Whose opinions count: everyone, asked.")] = "everyone",
    min_effect: Annotated[
        float | None, typer.Option(help="Smallest gain worth shipping; else experiment.min_effect.")
    ] = None,
    max_days: Annotated[
        float | None, typer.Option(help="Days after which the champion stays; else experiment.max_days.")
    ] = None,
    thompson: Annotated[
        bool, typer.Option(help="After the last step, send more users to what does better.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the experiment.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Give challengers a share of users; a running server takes it up and decides by itself.

    Example: millwright experiment start v2 --metric accepted --step 0.01 --step 0.1 --step 0.5 --project desk
    """
    opened = open_at(project)
    from dataclasses import asdict

    from millwright.experiment.plans import Plan, plan_of
    from millwright.experiment.plans import start as start_experiment

    given = {"min_effect": min_effect, "max_days": max_days}
    plan = plan_of(
        opened,
        challengers,
        **{name: value for name, value in given.items() if value is not None},
        metric=metric,
        guardrails=tuple(guardrail) if guardrail else Plan.guardrails,
        heard=_heard(heard),
        steps=tuple(step) if step else Plan.steps,
        step_units=step_users,
        allocation="thompson" if thompson else "fixed",
    )
    made = start_experiment(opened, plan, name)
    if json:
        screen.show_json(asdict(made))
        return
    unseen = "answers unseen" if not plan.steps[0] else f"gets {plan.steps[0]:.0%} of users"
    screen.show_line(f"{made.name}: {', '.join(plan.challengers)} {unseen}, {plan.champion} the rest")
    screen.show_next(f"millwright experiment status{project_option(project)}")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="The experiment; the running one otherwise.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Show how an experiment stands; the intervals hold however often you look.

    Example: millwright experiment status --project desk
    """
    opened = open_at(project)
    from millwright.experiment.plans import find
    from millwright.experiment.status import status as status_of

    found = status_of(opened, find(opened, name))
    if json:
        screen.show_json(found)
    else:
        _show(found)
        if _is_waiting(found):
            screen.show_next(f"millwright experiment approve{project_option(project)}")


@app.command()
def decide(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Decide now, as a running server does every run.check_seconds.

    Example: millwright experiment decide --project desk
    """
    opened = open_at(project)
    from millwright.experiment.plans import find
    from millwright.experiment.rollout import WAIT_S, review

    made = review(opened, wait_s=WAIT_S)
    if json:
        screen.show_json({"decision": made})
    elif made is None:
        screen.show_line(f"no experiment runs; the last one, {find(opened, None).name}, has ended")
    else:
        _show_decision(made)


@app.command()
def approve(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Carry out the decision that waits, where experiment.is_automatic is false.

    Example: millwright experiment approve --project desk
    """
    opened = open_at(project)
    from millwright.experiment.rollout import approve as approve_decision

    made = approve_decision(opened)
    if json:
        screen.show_json({"decision": made})
    else:
        _show_decision(made)


@app.command()
def stop(
    name: Annotated[str | None, typer.Argument(help="The experiment; the running one otherwise.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "stopped by hand",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """End an experiment: every user gets the champion again.

    Example: millwright experiment stop --reason "the desk is closed" --project desk
    """
    opened = open_at(project)
    from millwright.experiment.rollout import stop as stop_experiment

    made = stop_experiment(opened, reason, name)
    if json:
        screen.show_json({"decision": made})
    else:
        _show_decision(made)


def _heard(name: str) -> "Heard":
    from millwright.errors import one_of
    from millwright.experiment.plans import Heard

    return cast("Heard", one_of("group", name, get_args(Heard)))


def _show_decision(made: "DecisionRecord") -> None:
    screen.out.print(made.told, markup=False, soft_wrap=True)


def _is_waiting(found: JsonObject) -> bool:
    """True if the newest decision waits for a person; one that another followed does not any more."""
    return found["is_running"] and any(not one["is_applied"] for one in found["decisions"][-1:])


def _show(found: JsonObject) -> None:
    figures = found["figures"]
    lines = [f"{found['name']}: {found['state']}, since {found['started_at'][:16]}"]
    if figures["is_mismatched"]:
        lines.append("ALARM: the arms' users do not fit their shares")
    lines += [
        f"  {arm['name']} ({arm['version']}): {arm['share']:.0%} of users, {arm['users']} users, "
        f"{arm['closed']} with an outcome"
        for arm in figures["arms"]
    ]
    for effect in [*figures["primary"], *figures["guardrails"]]:
        rates = (
            "nothing known yet"
            if effect["champion"] is None or effect["challenger"] is None
            else f"{effect['champion']:.1%} to {effect['challenger']:.1%}"
        )
        likely = "" if effect.get("likely_low") is None else (
            f"; by the bell curve, for the eye alone, in [{effect['likely_low']:+.1%}, "
            f"{effect['likely_high']:+.1%}]"
        )  # fmt: skip
        lines.append(
            f"  {effect['arm']} {effect['metric']}: {rates}, effect in [{effect['low']:+.1%}, "
            f"{effect['high']:+.1%}] at {1 - effect['alpha']:.1%}, {effect['users']} users{likely}"
        )
    lines += [
        f"  {shadow['version']} unseen: {shadow['answers']} answers, {shadow['agreement'] or 0:.1%} agree, "
        f"{shadow['failures']} failed"
        for shadow in found["shadows"]
    ]
    lines += [
        f"  {one['decided_at'][:16]} {'' if one['is_applied'] else 'proposed '}{one['kind']}: {one['reason']}"
        for one in found["decisions"]
    ]
    screen.out.print("\n".join(lines), markup=False, soft_wrap=True)
