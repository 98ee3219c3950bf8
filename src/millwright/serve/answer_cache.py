"""Remembers answers by model and input, the least recently asked forgotten first. In memory only."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np


class Placed(Protocol):
    """A text and the row of an answer that is its own."""

    @property
    def place(self) -> int:
        """The row."""

    @property
    def text(self) -> str:
        """The text."""


Item = TypeVar("Item", bound=Placed)


class AnswerCache:
    """Invariant: never more than `size` answers, and none of a model that is not served."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self._known: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()

    def fill(self, model: object, items: Sequence[Item], probability_NC: np.ndarray) -> list[Item]:
        """Write the answers that are known into their rows of [N, C]; return the other items."""
        missing = []
        for item in items:
            found_C = self._known.get((id(model), item.text))
            if found_C is None:
                missing.append(item)
            else:
                probability_NC[item.place] = found_C
                self._known.move_to_end((id(model), item.text))
        self.hits += len(items) - len(missing)
        return missing

    def store(self, model: object, items: Sequence[Placed], probability_NC: np.ndarray) -> None:
        """Remember the rows of these items."""
        for item in items:
            self._known[id(model), item.text] = probability_NC[item.place].copy()
            self._known.move_to_end((id(model), item.text))
        while len(self._known) > self.size:
            self._known.popitem(last=False)

    def keep_only(self, models: Iterable[object]) -> None:
        """Forget the answers of every other model."""
        served = set(map(id, models))
        for key in [key for key in self._known if key[0] not in served]:
            del self._known[key]
