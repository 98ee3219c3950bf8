import re
import subprocess
import sys

from millwright.serve.ids import DRAWN_TOGETHER, new_id

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


def test_a_fork_gives_other_ids_than_its_parent():
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    theirs, ours = done.stdout.split()
    assert theirs != ours
