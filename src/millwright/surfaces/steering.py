"""Decides on the experiment that runs, every so often, while a server serves."""

import asyncio
import logging

from millwright.errors import Busy, MillwrightError
from millwright.experiment.plans import running
from millwright.experiment.rollout import HOLD, review
from millwright.project import Project

log = logging.getLogger(__name__)


async def steer(project: Project) -> None:
    """Review the running experiment every `experiment.check_seconds` until cancelled.

    Args:
        project: the project that is served.
    """
    told = ""
    while True:
        await asyncio.sleep(project.settings.experiment.check_seconds)
        try:
            if await asyncio.to_thread(running, project) is None:
                continue
            made = await asyncio.to_thread(review, project)
            if made is not None and made.kind != HOLD:
                log.info("experiment %s: %s: %s", made.experiment, made.kind, made.reason)
            told = ""
        except Busy:
            continue  # another process decides, which is as good
        except Exception as error:  # whatever a review met, the server goes on serving
            reason = str(error) if isinstance(error, MillwrightError) else type(error).__name__
            if reason != told:
                log.error("the experiment could not be reviewed: %s", reason)
            told = reason
