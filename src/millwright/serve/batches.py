"""What waits for the model, and which of it runs together. Safe between threads.

A batch holds inputs of one body and of like length, so that little of it is padding. The input that
has waited longest is always in the next batch, so nothing starves.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

CHARACTERS_A_BATCH = 65_536  # bounds the memory of one batch: about 16,000 tokens of English


class Waiting(Protocol):
    """One input in the queue."""

    @property
    def text(self) -> str:
        """The input."""

    @property
    def body(self) -> object:
        """What runs it; inputs of different bodies never share a batch."""

    @property
    def streams(self) -> int:
        """How many batches its body runs at once."""


Item = TypeVar("Item", bound=Waiting)


@dataclass(eq=False)
class Batch(Generic[Item]):
    """Inputs that a worker took; it gives them back when it takes the next."""

    body: object
    items: list[Item] = field(default_factory=list)


class BatchQueue(Generic[Item]):
    """Inputs in the order in which they came, handed out in batches.

    Invariant: no body runs more batches at once than it has streams.
    """

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._items: list[Item] = []
        self._taken: list[Batch[Item]] = []
        self._idle = 0
        self._is_held = False
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, items: Sequence[Item]) -> None:
        """Add inputs at the end, and let workers take."""
        with self._changed:
            self._items.extend(items)
            self._is_held = False
            self._wake_next()

    def hold(self, done: Batch[Item]) -> None:
        """Let nobody take before the next `put`, which may be of nothing: who was answered may ask again.

        Not where a whole batch waits, nor where the body runs one batch at a time: that should not wait
        for an event loop with which it shares no core.
        """
        with self._changed:
            is_short = len(self._items) < self.max_batch
            self._is_held |= is_short and done.items[0].streams > 1 and not self._is_closed

    def discard(self, items: Sequence[Item]) -> None:
        """Take inputs out that nobody waits for any more; those in a batch are left there."""
        gone = set(map(id, items))
        with self._changed:
            self._items = [item for item in self._items if id(item) not in gone]

    def take(self, done: Batch[Item] | None = None) -> Batch[Item] | None:
        """Wait for inputs and take a batch; None once the queue is closed and empty.

        Args:
            done: the batch that the caller took before, which it gives back.

        Returns:
            The batch.
        """
        with self._changed:
            if done is not None:
                self._taken = [taken for taken in self._taken if taken is not done]
            while self._is_held or (first := self._first_runnable()) is None:
                if self._is_closed and not self._items:
                    self._changed.notify_all()  # those who waited for a body to be free leave, too
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            batch = self._cut(first)
            self._taken.append(batch)
            self._wake_next()
            return batch

    def release(self, batch: Batch[Item]) -> None:
        """Say that a batch is done with by one who takes no other; twice is as good as once."""
        with self._changed:
            self._taken = [taken for taken in self._taken if taken is not batch]
            self._changed.notify_all()

    def close(self) -> None:
        """Let `take` return None once nothing waits."""
        with self._changed:
            self._is_closed, self._is_held = True, False
            self._changed.notify_all()

    def _wake_next(self) -> None:
        """Wake an idle worker if there is something for it: others take when they are done."""
        if self._idle and self._first_runnable() is not None:
            self._changed.notify()

    def _running(self) -> list[object]:
        return [batch.body for batch in self._taken]

    def _first_runnable(self) -> Item | None:
        running = self._running()
        return next((item for item in self._items if running.count(item.body) < item.streams), None)

    def _cut(self, first: Item) -> Batch[Item]:
        same = [item for item in self._items if item.body is first.body]
        free = first.streams - sum(batch.body is first.body for batch in self._taken)
        takers = max(1, min(free, self._idle + 1))  # workers that stand idle get their share
        most = min(self.max_batch, -(-len(same) // takers))
        chosen = [same[place] for place in like_length([len(item.text) for item in same], most)]
        gone = set(map(id, chosen))
        self._items = [item for item in self._items if id(item) not in gone]
        return Batch(first.body, chosen)


def like_length(lengths: Sequence[int], most: int, padded: int = CHARACTERS_A_BATCH) -> list[int]:
    """Places of the first item and of those nearest to it in length.

    Args:
        lengths: how long each item is, in the order in which they came.
        most: how many places to return at the most, at least 1.
        padded: the batch stays below this many units once all are as long as its longest.

    Returns:
        Places by growing length; place 0 is always among them.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    low = high = order.index(0)
    while high - low + 1 < min(most, len(order)):
        below = lengths[0] - lengths[order[low - 1]] if low > 0 else None
        above = lengths[order[high + 1]] - lengths[0] if high + 1 < len(order) else None
        grows_up = below is None or (above is not None and above < below)
        longest = lengths[order[high + 1]] if grows_up else lengths[order[high]]
        if (high - low + 2) * longest > padded:
            break
        low, high = (low, high + 1) if grows_up else (low - 1, high)
    return order[low : high + 1]
