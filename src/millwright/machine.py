"""What this machine lets a process use."""

import os
from math import ceil
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container on Linux: microseconds, and in how many of them


def cores() -> int:
    """How many cores this process may use: those it is bound to, and no more than its container's quota,
    rounded up.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(bound, ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is none: the file is missing, or says "max"
        return bound
