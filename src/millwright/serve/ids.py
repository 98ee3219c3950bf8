"""Random ids of requests and predictions, drawn from the system many at a time.

Each draw lets other threads run, so that one a request would make the event loop wait for the journal.
"""

import os
from binascii import hexlify

ID_BYTES = 16
DRAWN_TOGETHER = 256

_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # else parent and child would give the same ids


def new_id() -> str:
    """32 hex digits that nobody can guess, and that come once."""
    try:
        return _drawn.pop()
    except IndexError:
        digits = hexlify(os.urandom(ID_BYTES * DRAWN_TOGETHER)).decode()
        size = 2 * ID_BYTES
        _drawn.extend(digits[start : start + size] for start in range(0, len(digits) - size, size))
        return digits[-size:]
