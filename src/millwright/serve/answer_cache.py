"""Remembers answers by model and input, the least recently asked forgotten first. In memory only."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, Protocol, TypeVar


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
        self._known: OrderedDict[tuple[int, str], Any] = OrderedDict()

    def knows_any(self, model: object, texts: Iterable[str]) -> bool:
        """True if `fill` would answer one of these texts."""
        return any((id(model), text) in self._known for text in texts)

    def fill(self, model: object, items: Sequence[Item], rows: list[Any]) -> list[Item]:
        """Write the answers that are known into their places of `rows`; return the other items."""
        missing = []
        for item in items:
            found = self._known.get((id(model), item.text))
            if found is None:
                missing.append(item)
            else:
                rows[item.place] = found
                self._known.move_to_end((id(model), item.text))
        self.hits += len(items) - len(missing)
        return missing

    def store(self, model: object, items: Sequence[Placed], rows: Sequence[Any]) -> None:
        """Remember the rows of these items, without the batch that they are part of."""
        for item in items:
            self._known[id(model), item.text] = copy(rows[item.place])
            self._known.move_to_end((id(model), item.text))
        while len(self._known) > self.size:
            self._known.popitem(last=False)

    def keep_only(self, models: Iterable[object]) -> None:
        """Forget the answers of every other model."""
        served = set(map(id, models))
        for key in [key for key in self._known if key[0] not in served]:
            del self._known[key]
