"""Decides on the experiment that runs, every so often, while a server serves."""

import asyncio
import logging
import time

from millwright.errors import Busy, Trouble
from millwright.experiment.plans import running
from millwright.experiment.rollout import HOLD, DecisionRecord, review
from millwright.project import Project

MOST_SHARE = 0.05  # of the time may go into reviews, which read all that the experiment logged

log = logging.getLogger(__name__)


async def steer(project: Project) -> None:
    """Review the running experiment every `run.check_seconds` until cancelled.

    Args:
        project: the project that is served.
    """
    trouble, took, before = Trouble(log, "the experiment could not be reviewed"), 0.0, None
    while True:
        await asyncio.sleep(max(project.settings.run.check_seconds, took / MOST_SHARE))
        start = time.monotonic()
        try:
            if await asyncio.to_thread(running, project) is None:
                continue
            made = await asyncio.to_thread(review, project)
            if (news := news_of(made, before)) is not None:
                log.info("%s", news)
            before = made
            trouble.is_over()
        except Busy:
            continue  # another process decides, which is as good
        except Exception as error:  # whatever a review met, the server goes on serving
            trouble.tell(error)
        finally:
            took = time.monotonic() - start


def news_of(made: DecisionRecord | None, before: DecisionRecord | None) -> str | None:
    """What to say of a decision; None of a hold, and of what waits for a person since the one `before`."""
    if made is None or made.kind == HOLD:
        return None
    if (
        before is not None
        and not (made.is_applied or before.is_applied)
        and (made.experiment, made.kind) == (before.experiment, before.kind)
    ):
        return None
    return f"experiment {made.experiment}: {made.told}"
