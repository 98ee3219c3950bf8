"""What a turn may take while a server serves: the cores when nothing else wants them, and so much memory."""

import os
import resource
import sys

from millwright.settings import RunSection

GIB = 2**30
LOWEST = 19


def work_gently(settings: RunSection) -> None:
    """Bind this process to what a turn may take.

    Args:
        settings: how much memory. Where the system has no idle class (it is Linux's), the lowest
            priority stands in; memory is limited on Linux alone.
    """
    os.nice(LOWEST)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if settings.memory_gib is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            wanted = int(settings.memory_gib * GIB)
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
