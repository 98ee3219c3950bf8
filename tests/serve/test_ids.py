import re
import subprocess
import sys
import time
from uuid import RFC_4122, UUID

import pytest

from millwright.serve.ids import DRAWN_TOGETHER, RANDOM_BYTES, new_id

FORKS = """
import os, sys
from millwright.serve.ids import new_id
new_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
os.write(1, f"{new_id()}\\n".encode())
"""


def test_ids_are_32_hex_digits_and_come_once():
    found = [new_id() for _ in range(3 * DRAWN_TOGETHER + 1)]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in found)


def test_ids_are_uuids_of_version_7_that_tell_the_time():
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_all_else_in_an_id_is_random():
    ids = [UUID(new_id()).int for _ in range(2_000)]
    free = [bit for bit in range(8 * RANDOM_BYTES) if bit not in (62, 63, 76, 77, 78, 79)]
    shares = [sum(one >> bit & 1 for one in ids) / len(ids) for bit in free]
    assert shares == pytest.approx([0.5] * 74, abs=0.08)  # 7 standard deviations


def test_ids_of_a_later_millisecond_come_later(monkeypatch):
    hours = iter(range(10**18, 10**18 + 300 * 10**6, 10**6))
    monkeypatch.setattr(time, "time_ns", lambda: next(hours))
    found = [new_id() for _ in range(300)]
    assert found == sorted(found)


def test_a_fork_gives_other_ids_than_its_parent():
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    theirs, ours = done.stdout.split()
    assert theirs != ours
