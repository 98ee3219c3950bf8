"""What a gentle process may take, in a process of its own."""

import os
import subprocess
import sys

import pytest

GENTLE = """
import os
from millwright.runner.budget import work_gently
from millwright.settings import RunSection
work_gently(RunSection(memory_gib=0.5))
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.nice(0))
try:
    print(len(bytes(2**30)))
except MemoryError:
    print("too much")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the idle class and the limit are Linux's")
def test_a_gentle_process_is_idle_and_gets_no_more_memory_than_is_set():
    done = subprocess.run([sys.executable, "-c", GENTLE], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["True 19", "too much"]
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
