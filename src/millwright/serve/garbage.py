"""Keeps what a server holds for long out of Python's garbage collections.

A whole collection walks over every object of the process and stops all requests meanwhile, for a tenth of a
second where Millwright's libraries are loaded.
"""

import gc


def set_aside() -> None:
    """Leave all objects of now out of collections; what was set aside before is looked at once more."""
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()  # else a version that is no longer served would stay
    gc.freeze()


def take_back() -> None:
    """Let collections look at everything again."""
    gc.unfreeze()
