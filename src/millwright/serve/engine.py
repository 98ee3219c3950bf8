"""Forms batches of whatever waits and runs them in one worker thread; versions swap without a drop.

Knows nothing of HTTP, of opinions, or of how a version is loaded.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from millwright.errors import NotFound, Overloaded


class Answering(Protocol):
    """What the engine runs: a classifier, or anything with labels and probabilities."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns of `probabilities`."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [N, C] of N texts."""


@dataclass
class _Waiting:
    """A request in the queue; it keeps the model it was accepted for, so a swap cannot drop it."""

    texts: Sequence[str]
    model: Answering
    answer: asyncio.Future[np.ndarray]


class Engine:
    """Queue, worker and loaded versions. Use within one event loop: `start`, `answer`, `stop`.

    Invariant: at most `queue_size` inputs wait (or one request, however long), and each waiting
    request will be answered or failed.
    """

    def __init__(
        self, max_batch: int, queue_size: int, on_batch: Callable[[int], None] = lambda _: None
    ) -> None:
        self.max_batch = max_batch
        self.queue_size = queue_size
        self.waiting_inputs = 0
        self._on_batch = on_batch
        self._models: Mapping[str, Answering] = {}
        self._names: Mapping[str, str] = {}
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None
        self._draining = False

    @property
    def is_ready(self) -> bool:
        """True while a model is loaded and the worker runs."""
        return bool(self._models) and self._task is not None and not self._task.done() and not self._draining

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the versions in memory."""
        return tuple(self._models)

    def swap(self, models: Mapping[str, Answering], names: Mapping[str, str]) -> None:
        """Serve these versions from now on, under these aliases; requests in flight keep theirs."""
        self._models, self._names = dict(models), dict(names)

    def model(self, name: str) -> tuple[str, Answering]:
        """The loaded version that a name or an alias means; NotFound if it is not loaded."""
        resolved = self._names.get(name, name)
        if resolved not in self._models:
            served = ", ".join([*self._models, *self._names]) or "none yet"
            raise NotFound(f"version {name!r} is not served; there are {served}")
        return resolved, self._models[resolved]

    async def start(self) -> None:
        """Start taking requests."""
        self._task = asyncio.create_task(self._run())

    async def answer(self, model: Answering, texts: Sequence[str]) -> np.ndarray:
        """Probabilities [N, C] of texts, together with whatever else waits; Overloaded when full."""
        if self._draining or self._task is None or self._task.done():
            raise Overloaded("the server is starting or stopping; try again in a moment")
        if self.waiting_inputs and self.waiting_inputs + len(texts) > self.queue_size:
            raise Overloaded(
                f"{self.waiting_inputs} inputs wait, serve.queue_size is {self.queue_size}; "
                "try again in a moment"
            )
        future: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self.waiting_inputs += len(texts)
        try:
            self._queue.put_nowait(_Waiting(texts, model, future))
            return await future
        finally:
            self.waiting_inputs -= len(texts)

    async def stop(self) -> None:
        """Refuse new requests, answer those that wait, then stop the worker."""
        self._draining = True
        self._queue.put_nowait(None)
        if self._task is not None:
            await self._task
        self._worker.shutdown()

    async def _run(self) -> None:
        is_open = True
        while is_open:
            taken, is_open = await self._take()
            for model in {id(item.model): item.model for item in taken}.values():
                same = [item for item in taken if item.model is model and not item.answer.done()]
                await self._answer_together(model, same)

    async def _take(self) -> tuple[list[_Waiting], bool]:
        """Wait for one request, then take what else waits, up to a batch; False once the end came."""
        following = await self._queue.get()
        taken: list[_Waiting] = []
        inputs = 0
        while following is not None:
            taken.append(following)
            inputs += len(following.texts)
            if inputs >= self.max_batch or self._queue.empty():
                return taken, True
            following = self._queue.get_nowait()
        return taken, False

    async def _answer_together(self, model: Answering, items: list[_Waiting]) -> None:
        try:
            answers = await self._probabilities(model, [text for item in items for text in item.texts])
        except Exception as error:  # whatever the model raised belongs to these requests, not to the worker
            for item in items:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        start = 0
        for item in items:
            if not item.answer.done():
                item.answer.set_result(answers[start : start + len(item.texts)])
            start += len(item.texts)

    async def _probabilities(self, model: Answering, texts: list[str]) -> np.ndarray:
        """Run the model over texts of like length at a time, so that little of a batch is padding."""
        loop = asyncio.get_running_loop()
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        answer_NC = np.empty((len(texts), len(model.labels)))
        for start in range(0, len(texts), self.max_batch):
            batch = by_length[start : start + self.max_batch]
            self._on_batch(len(batch))
            some = [texts[place] for place in batch]
            answer_NC[batch] = await loop.run_in_executor(self._worker, model.probabilities, some)
        return answer_NC
