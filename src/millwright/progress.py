"""How long work tells how far it is: a function of a stage's name and the fraction of it done."""

from collections.abc import Callable

Progress = Callable[[str, float], None]


def quiet(_stage: str, _done: float) -> None:
    """A progress callback that shows nothing."""
