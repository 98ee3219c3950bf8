"""Keeps the wheel turning while a server serves: turns, experiments on them, checks for drift, messages.

Whatever it starts is a process of its own, so that training neither blocks nor slows the server, and what it
does next follows from the tables alone: killed at any moment, the next one goes on. Of several on one project
one leads; the others wait for its lock.
"""

import asyncio
import contextlib
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from millwright.drift.records import list_drifts
from millwright.drift.samples import why_no_check
from millwright.errors import Busy, MillwrightError, Trouble
from millwright.experiment.plans import list_experiments, plan_of, start
from millwright.project import Project
from millwright.records import TurnRecord
from millwright.registry.versions import CHAMPION, alias, retired_versions
from millwright.review.annotations import apply_reviews
from millwright.runner.due import awaits_users, is_drift_check_due, standing, why_turn
from millwright.turns import list_turns, next_number
from millwright.webhooks import deliver

LOOK_AGAIN_S = 3_600.0  # after a check for drift that was too early, or failed
STOP_S = 10.0  # for a process to end by itself after it was asked to
log = logging.getLogger(__name__)


@dataclass
class Leading:
    """What the runner does, for metrics: whether it leads, and whether a turn runs.

    `is_drifting` tells that drift was found since the last turn, `alarms` counts checks that found it.
    """

    is_leader: bool = False
    is_turning: bool = False
    is_drifting: bool = False
    turns: int = 0
    failures: int = 0
    alarms: int = 0


Run = Callable[[Project, list[str]], Awaitable[int]]


async def lead(
    project: Project, state: Leading, run: Run | None = None, *, max_membership: float | None = None
) -> None:
    """Wait until nobody else leads, then keep the wheel turning until cancelled.

    Args:
        project: the project that is served.
        state: kept up to date.
        run: starts a verb of the command line and returns its exit code; a process of its own when not given.
        max_membership: as of a turn; None audits no challenger.
    """
    unled = Trouble(log, "this runner cannot lead")
    while True:
        try:
            with project.lock("run"):
                unled.is_over()
                state.is_leader = True
                log.info("this runner leads")
                async with asyncio.TaskGroup() as both:  # neither waits for the other
                    both.create_task(_keep_turning(project, state, run or run_verb, max_membership))
                    both.create_task(_keep_telling(project))
        except Busy:
            unled.is_over()  # another leads
        except MillwrightError as error:  # the server goes on serving
            unled.tell(error)
        finally:
            state.is_leader = False
        await asyncio.sleep(project.settings.run.check_seconds)


async def run_verb(project: Project, words: list[str]) -> int:
    """Run `millwright WORDS` over a project as a process of its own; its exit code.

    The process is ended when this is cancelled; a verb that is interrupted loses nothing. What it says on
    stderr becomes lines of the log.
    """
    command = [sys.executable, "-m", "millwright.surfaces.cli", *words, "--project", str(project.folder)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
        code = await process.wait()
        for line in said.decode(errors="replace").splitlines() if code else ():
            log.error("millwright %s: %s", words[0], line)
        return code
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
            if process.returncode is None:
                process.kill()
                await process.wait()


def meet_users(project: Project, finished: TurnRecord) -> str | None:
    """Begin the experiment on a turn's challenger, unless it was begun before or cannot be held any more.

    It cannot where another champion serves by now, or where an erasure retired the challenger.

    Args:
        project: an open project.
        finished: a turn whose challenger passed the gates.

    Returns:
        The experiment's name, None if none was begun.

    Raises:
        Busy: another experiment runs, or somebody trains or erases.
        Corrupt: the challenger is damaged.
    """
    name = f"turn-{finished.number}"
    if any(one.name == name for one in list_experiments(project)):
        return None
    if alias(project, CHAMPION) != finished.champion or finished.challenger in retired_versions(project):
        return None
    return start(project, plan_of(project, [finished.challenger]), name).name


async def _keep_turning(project: Project, state: Leading, run: Run, max_membership: float | None) -> None:
    settings, number, least = project.settings, 0, 0  # as many rows must wait after the turn `number` failed
    stands, unmet = Trouble(log, "the wheel stands"), Trouble(log, "a turn's challenger meets no users")
    audit = [] if max_membership is None else ["--max-membership", str(max_membership)]
    looked_at = -math.inf
    while True:
        try:
            await asyncio.to_thread(apply_reviews, project, settings.review.annotators)
            await _meet_users(project, unmet)
            upcoming = await asyncio.to_thread(next_number, project)
            if upcoming != number:  # a turn was finished, perhaps by hand
                number, least = upcoming, 0
            found = await asyncio.to_thread(standing, project)
            if is_drift_check_due(found) and time.monotonic() - looked_at >= LOOK_AGAIN_S:
                looked_at = time.monotonic()
                await _look_for_drift(project, state, run)
                found = await asyncio.to_thread(standing, project)
            state.is_drifting = found.drifted
            why = why_turn(found, settings.run, settings.turn.min_rows)
            if why is not None and found.waiting >= least and not await asyncio.to_thread(_is_held, project):
                log.info("a turn starts: %s", why)
                state.is_turning = True
                decide_by = ["--decide-by", settings.run.decide_by]
                code = await run(project, ["turn", "--gently", "--json", *audit, *decide_by])
                state.turns, state.failures = state.turns + 1, state.failures + bool(code)
                if code:
                    is_held = await asyncio.to_thread(_is_held, project)  # by what began since, which it met
                    least = found.waiting + (0 if is_held else settings.turn.min_rows)
                    log.error(
                        "the turn failed with exit code %d; it is tried again at %d labels", code, least
                    )
                else:
                    done = (await asyncio.to_thread(list_turns, project))[-1]
                    log.info("turn %d made %s: %s", done.number, done.challenger, done.reason)
            stands.is_over()
        except Exception as error:  # whatever a step met, the server goes on serving
            stands.tell(error)
        finally:
            state.is_turning = False
        await asyncio.sleep(settings.run.check_seconds)


async def _meet_users(project: Project, unmet: Trouble) -> None:
    """Let the last turn's challenger meet users; that it cannot keeps nobody from the next turn."""
    try:
        finished = await asyncio.to_thread(awaits_users, project)
        if finished is not None and (name := await asyncio.to_thread(meet_users, project, finished)):
            log.info("experiment %s began: %s against %s", name, finished.challenger, finished.champion)
        unmet.is_over()
    except Busy:
        pass  # another experiment runs, or somebody trains or erases
    except Exception as error:  # of one version; a later turn makes another
        unmet.tell(error)


def _is_held(project: Project) -> bool:
    """True if a turn runs already, begun by hand or by a leader that was killed, or a training does."""
    try:
        with project.lock("turn"), project.lock("train"):
            return False
    except Busy:
        return True


async def _look_for_drift(project: Project, state: Leading, run: Run) -> None:
    """Check for drift; an alarm is a line of the log and a count, beside the message that the check sent."""
    if (why := await asyncio.to_thread(why_no_check, project)) is not None:
        log.info("no check for drift yet: %s", why)
        return
    before = len(await asyncio.to_thread(list_drifts, project))
    await run(project, ["drift", "--gently", "--json"])
    for record in (await asyncio.to_thread(list_drifts, project))[before:]:
        if record.is_drifting:
            state.alarms += 1
            named = ", ".join(test.name for test in record.tests if test.is_drifting)
            log.warning(
                "drift was found: %d users differ from %d before them by %s (%s, check %d)",
                record.window_size, record.reference_size, named, record.version, record.number,
            )  # fmt: skip


async def _keep_telling(project: Project) -> None:
    """Send messages to webhooks when they are due, also while a turn runs."""
    unsent = Trouble(log, "no message reaches webhooks")
    while project.settings.webhooks.urls:
        try:
            made = await asyncio.to_thread(deliver, project)
            if made.given_up:
                log.error("%d messages to webhooks were given up", made.given_up)
            unsent.is_over()
        except Busy:
            pass  # another process sends them
        except Exception as error:  # whatever a message met, the wheel goes on
            unsent.tell(error)
        await asyncio.sleep(project.settings.run.check_seconds)
