"""Ids of requests, predictions and opinions: UUIDs of version 7 (RFC 9562), as 32 hex digits.

They begin with the time, so that rows which are written together stand together in a table's index: with ids
at random each row takes a page of it, and a commit twice as long. The rest is drawn from the system, many at
a time, since each draw lets other threads run and would make the event loop wait for the journal.
"""

import os
import time
from binascii import hexlify

RANDOM_BYTES = 10  # 80 bits, of which version and variant take 6
DRAWN_TOGETHER = 256

_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # else parent and child would give the same ids


def new_id() -> str:
    """32 hex digits that nobody can guess, and that come once; ids of a later millisecond come later."""
    try:
        digits = _drawn.pop()
    except IndexError:
        drawn, size = hexlify(os.urandom(RANDOM_BYTES * DRAWN_TOGETHER)).decode(), 2 * RANDOM_BYTES
        _drawn.extend(_versioned(drawn[start : start + size]) for start in range(0, len(drawn), size))
        digits = _drawn.pop()
    return f"{time.time_ns() // 1_000_000:012x}{digits}"


def _versioned(digits: str) -> str:
    """20 random hex digits with those that say version and variant in their places."""
    return f"7{digits[1:4]}{'89ab'[int(digits[4], 16) % 4]}{digits[5:]}"
