"""Threads that run batches, supervised by the event loop: one that dies or hangs is replaced.

Knows nothing of requests: what a batch holds, and what became of it, is its callers' business.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from millwright.errors import Trouble
from millwright.serve.batches import Batch, BatchQueue, Item

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker(Generic[Item]):
    """A thread, the batch it has in hand and since when; `is_lost` once nothing is expected of it."""

    thread: threading.Thread | None = None
    batch: Batch[Item] | None = None
    since: float = math.inf
    is_lost: bool = False


class Workers(Generic[Item]):
    """Takes batches from a queue, runs them, and hands what came of each to the event loop.

    Invariant: `count` workers live, but for those that died or hang and are replaced as soon as a thread
    can be started. Use from one event loop; `run` alone is called in the threads.
    """

    def __init__(
        self, queue: BatchQueue[Item], count: int, run: Callable[[Batch[Item]], Callable[[float], None]]
    ) -> None:
        """Hire nobody yet.

        Args:
            queue: where batches come from; closing it lets the workers go.
            count: how many threads.
            run: runs a batch in a thread and returns what the event loop is to call with the seconds it took.
        """
        self.replaced = 0
        self._queue = queue
        self._count = count
        self._run = run
        self._workers: list[Worker[Item]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_loss: Callable[[Batch[Item]], None] = lambda _: None
        self._replace_after_s = 1.0
        self._trouble = Trouble(log, "a worker that was lost cannot be replaced yet")

    @property
    def is_whole(self) -> bool:
        """True while everybody was hired, and nobody died or hangs."""
        return len(self._workers) == self._count and not any(worker.is_lost for worker in self._workers)

    def start(self, on_loss: Callable[[Batch[Item]], None], replace_after_s: float) -> None:
        """Hire everybody.

        Args:
            on_loss: called in the event loop with the batch that a lost worker had in hand.
            replace_after_s: how long after a loss the next is hired, and is tried again where that fails:
                who dies again must not spin.
        """
        self._loop = asyncio.get_running_loop()
        self._on_loss, self._replace_after_s = on_loss, replace_after_s
        self._workers = [self._hire() for _ in range(self._count)]

    async def join(self, patience_s: float) -> None:
        """Wait until everybody went, but for no one longer than `patience_s`; the queue is closed."""
        for worker in self._workers:
            if worker.thread is not None and not worker.is_lost:
                await asyncio.to_thread(worker.thread.join, patience_s)

    def suspect(self, has: Callable[[Item], bool], patience_s: float) -> None:
        """Give up each worker that has had a batch with such an item in hand for longer than `patience_s`."""
        for worker in self._workers:
            batch = worker.batch  # which its thread may change at any moment
            if batch is not None and any(map(has, batch.items)):
                self._suspect(worker, batch, patience_s)

    def _suspect(self, worker: Worker[Item], batch: Batch[Item], patience_s: float) -> None:
        assert self._loop is not None
        rest_s = worker.since + patience_s - time.monotonic()
        if worker.batch is not batch or worker.is_lost:
            return
        if rest_s > 0:
            self._loop.call_later(rest_s, self._suspect, worker, batch, patience_s)
        else:
            self._lose(worker, "hangs")

    def _lose(self, worker: Worker[Item], why: str) -> None:
        assert self._loop is not None
        worker.is_lost = True  # first: until then its thread may take another batch
        batch = worker.batch
        log.error("a worker %s and will be replaced", why)
        if batch is not None:
            self._queue.release(batch)
            self._on_loss(batch)
        self._loop.call_later(self._replace_after_s, self._replace, worker)

    def _replace(self, worker: Worker[Item]) -> None:
        assert self._loop is not None
        try:
            hired = self._hire()
        except RuntimeError as error:  # as many threads run as the system lets
            self._trouble.tell(error)
            self._loop.call_later(self._replace_after_s, self._replace, worker)
            return
        self._trouble.is_over()
        self._workers[self._workers.index(worker)] = hired
        self.replaced += 1

    def _hire(self) -> Worker[Item]:
        worker: Worker[Item] = Worker()
        worker.thread = threading.Thread(target=self._live, args=(worker,), name="model", daemon=True)
        worker.thread.start()
        return worker

    def _live(self, worker: Worker[Item]) -> None:
        assert self._loop is not None
        try:
            self._work(worker, self._loop)
        except BaseException as error:  # whatever ends a thread, the event loop must learn of it
            self._loop.call_soon_threadsafe(self._lose, worker, f"died of {type(error).__name__}")

    def _work(self, worker: Worker[Item], loop: asyncio.AbstractEventLoop) -> None:
        batch: Batch[Item] | None = None
        while not worker.is_lost and (batch := self._queue.take(batch)) is not None:
            worker.batch, worker.since = batch, time.monotonic()
            if worker.is_lost:  # since before it took this batch, so that nobody was told
                loop.call_soon_threadsafe(self._on_loss, batch)
                break
            deliver = self._run(batch)
            if worker.is_lost:
                break
            seconds = time.monotonic() - worker.since
            worker.batch = None
            self._queue.hold(batch)
            loop.call_soon_threadsafe(deliver, seconds)
        if batch is not None:  # it was given up for lost just as it was done
            self._queue.release(batch)
