"""Answers many requests at once: a bounded queue, batches, worker threads, versions side by side.

Knows nothing of HTTP, of opinions, or of how a version is loaded. Use an Engine within one event loop.

Shape suffixes: N texts, D features, C labels.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from millwright.errors import DeadlinePassed, NotFound, QueueFull, Unavailable
from millwright.serve.answer_cache import AnswerCache
from millwright.serve.batches import Batch, BatchQueue
from millwright.serve.workers import Workers

RECENT = 0.2  # weight of the newest batch in the running mean of seconds an input
QUIET_PASSES = 4  # of the event loop, in which nothing new came; each takes microseconds
LONG_AT_ONCE = 4  # take turns, so that the longest request does not keep all long ones waiting
Made = TypeVar("Made")


class Body(Protocol):
    """What makes features of texts. Versions that differ in their heads alone share one."""

    @property
    def streams(self) -> int:
        """How many threads may run it at once to good effect."""

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Features [N, D] of N texts."""


class Answering(Protocol):
    """What the engine serves: a body, and a head of its own over the body's features.

    Features and answers of a model that finds spans are objects, one a text, not rows of numbers.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns of `probabilities`."""

    @property
    def body(self) -> Body:
        """What makes its features."""

    @property
    def runtime(self) -> str:
        """What runs it, for people to read."""

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """Probabilities [N, C] of N texts' features; each row sums to one."""


@dataclass(frozen=True)
class Limits:
    """What an engine bears. `workers` threads run batches of up to `max_batch` inputs."""

    max_batch: int = 64
    queue_size: int = 2_048
    deadline_s: float = 30.0
    workers: int = 2
    cache_answers: int = 0
    replace_after_s: float = 1.0


@dataclass(eq=False)
class Beside:
    """A version that answers beside the one that was asked, over the same features: a row a text.

    A row stays None where the version has another body, where the text did not run because its answer came
    from memory, and where the version failed.
    """

    model: Answering
    rows: list[Any]


@dataclass(eq=False)
class _Request:
    """What one caller waits for; it keeps the models it was accepted for, so a swap cannot drop it."""

    model: Answering
    answer: asyncio.Future[None]
    rows: list[Any]
    left: int = 0
    beside: Sequence[Beside] = ()


@dataclass(eq=False, slots=True)
class _Input:
    """One text of a request, and its place in it."""

    request: _Request
    place: int
    text: str = field(repr=False)  # of a person, and what fails in the event loop is logged

    @property
    def body(self) -> Body:
        """What runs it."""
        return self.request.model.body

    @property
    def streams(self) -> int:
        """How many batches its body runs at once."""
        return self.request.model.body.streams


@dataclass
class _Outcome:
    """What became of some inputs: their probabilities, or the error that they share."""

    items: list[_Input]
    probability_NC: np.ndarray | None = None
    error: BaseException | None = None


class Engine:
    """Queue, workers and loaded versions: `start`, `answer`, `stop`.

    Invariant: at most `queue_size` inputs wait (or one request, however long), and each waiting
    request is answered or failed by its deadline.
    """

    def __init__(self, limits: Limits, on_batch: Callable[[int], None] = lambda _: None) -> None:
        """Take nothing yet.

        Args:
            limits: what it bears.
            on_batch: called in the event loop with how many distinct texts went through a body together.
        """
        self.limits = limits
        self.waiting_inputs = 0
        self.cache = AnswerCache(limits.cache_answers)
        self._on_batch = on_batch
        self._models: Mapping[str, Answering] = {}
        self._names: Mapping[str, str] = {}
        self._queue: BatchQueue[_Input] = BatchQueue(limits.max_batch)
        self._workers = Workers(self._queue, limits.workers, self._run)
        self._aside = ThreadPoolExecutor(LONG_AT_ONCE, "aside")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds_an_input = 0.0
        self._arrived: list[_Input] = []
        self._quiet_passes, self._is_queueing = 0, False
        self._is_draining = False
        self._drained = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """True while a model is loaded, every worker lives, and requests are taken."""
        return bool(self._models) and not self._is_draining and self._workers.is_whole

    @property
    def workers_replaced(self) -> int:
        """How many workers died or hung since the start."""
        return self._workers.replaced

    def swap(self, models: Mapping[str, Answering], names: Mapping[str, str]) -> None:
        """Serve these versions from now on, under these aliases; requests in flight keep theirs."""
        self._models, self._names = dict(models), dict(names)
        self.cache.keep_only(models.values())

    def model(self, name: str) -> tuple[str, Answering]:
        """The loaded version that a name or an alias means; NotFound if it is not loaded."""
        resolved = self._names.get(name, name)
        if resolved not in self._models:
            served = ", ".join([*self._models, *self._names]) or "none yet"
            raise NotFound(f"version {name!r} is not served; there are {served}", field="version", value=name)
        return resolved, self._models[resolved]

    async def start(self) -> None:
        """Start taking requests."""
        self._loop = asyncio.get_running_loop()
        self._workers.start(self._fail, self.limits.replace_after_s)

    async def aside(
        self, work: Callable[[], Made], inputs: int, deadline_s: float | None, since: float
    ) -> Made:
        """Do what a long request needs before it is answered in a thread, while others are answered.

        Args:
            work: what to do; it runs to its end even if nobody waits any more.
            inputs: how many the request has; they count as waiting.
            deadline_s: as of `answer`.
            since: when the request came, by the event loop's clock.

        Returns:
            What came of the work.

        Raises:
            Unavailable: the engine is starting or stopping.
            QueueFull: as many inputs wait as may.
            DeadlinePassed: it was not done in time.
        """
        loop, seconds = self._admit(inputs), self._seconds(deadline_s)
        self.waiting_inputs += inputs
        try:
            async with asyncio.timeout_at(since + seconds):
                return await loop.run_in_executor(self._aside, work)
        except TimeoutError:
            raise _passed(seconds) from None
        finally:
            self._leave(inputs)

    async def answer(
        self,
        model: Answering,
        texts: Sequence[str],
        deadline_s: float | None = None,
        since: float | None = None,
        beside: Sequence[Beside] = (),
    ) -> np.ndarray:
        """Probabilities of texts, run together with whatever else waits.

        Args:
            model: which version answers.
            texts: the inputs.
            deadline_s: seconds after which nobody waits any more; the limits' own at the most.
            since: when the request came, by the event loop's clock; now if None.
            beside: what else is to answer where its body is the model's; filled in once the answer is there.

        Returns:
            Probabilities [N, C], a row a text; or an object a text, of a model that answers so.

        Raises:
            Unavailable: the engine is starting or stopping, or lost the worker that had the request.
            QueueFull: as many inputs wait as may.
            DeadlinePassed: there was no answer in time.
        """
        loop = self._admit(len(texts))
        request = _Request(
            model,
            loop.create_future(),
            [None] * len(texts),
            beside=[one for one in beside if one.model.body is model.body],
        )
        items = [_Input(request, place, text) for place, text in enumerate(texts)]
        missing = self.cache.fill(model, items, request.rows) if self.cache.size else items
        if not missing:
            return np.array(request.rows)
        request.left = len(missing)
        seconds = self._seconds(deadline_s)
        timer = loop.call_at((since or loop.time()) + seconds, self._expire, request, seconds)
        self.waiting_inputs += len(missing)
        try:
            self._queue_soon(missing)
            await request.answer
        finally:
            timer.cancel()
            if request.left:  # nobody waits any more, of whom a worker may still have a batch
                self._arrived = [item for item in self._arrived if item.request is not request]
                self._queue.discard(missing)
                self._workers.suspect(lambda item: item.request is request, self.limits.deadline_s)
            self._leave(len(missing))
        self._remember(model, missing, request.rows)
        for one in request.beside:
            ran = [item for item in missing if one.rows[item.place] is not None]
            self._remember(one.model, ran, one.rows)
        return np.array(request.rows)

    async def stop(self) -> None:
        """Refuse new requests, answer those that wait, then let the workers go."""
        self._is_draining = True
        if self.waiting_inputs:
            await self._drained.wait()
        self._queue.close()
        self._aside.shutdown(wait=False)
        await self._workers.join(self.limits.deadline_s)

    def _admit(self, inputs: int) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._is_draining:
            raise Unavailable("the server is starting or stopping; try again in a moment")
        if self.waiting_inputs and self.waiting_inputs + inputs > self.limits.queue_size:
            wait_s = max(1, math.ceil(self.waiting_inputs * self._seconds_an_input))
            raise QueueFull(
                f"{self.waiting_inputs} inputs wait, serve.queue_size is {self.limits.queue_size}; "
                f"try again in {wait_s} s",
                wait_s,
            )
        return self._loop

    def _seconds(self, deadline_s: float | None) -> float:
        return min(deadline_s or math.inf, self.limits.deadline_s)

    def _remember(self, model: Answering, items: Sequence[_Input], rows: Sequence[Any]) -> None:
        if self.cache.size and any(served is model for served in self._models.values()):
            self.cache.store(model, items, rows)

    def _leave(self, inputs: int) -> None:
        self.waiting_inputs -= inputs
        if self._is_draining and not self.waiting_inputs:
            self._drained.set()

    def _queue_soon(self, items: Sequence[_Input] = ()) -> None:
        """Queue inputs, and let workers take, once the event loop is quiet or a whole batch came.

        What comes at once then shares a batch, also what those ask next who got the answers of the last.
        """
        self._arrived += items
        self._quiet_passes = 0
        if not self._is_queueing:
            self._is_queueing = True
            asyncio.get_running_loop().call_soon(self._queue_arrived)

    def _queue_arrived(self) -> None:
        self._quiet_passes += 1
        if self._quiet_passes < QUIET_PASSES and len(self._arrived) < self.limits.max_batch:
            asyncio.get_running_loop().call_soon(self._queue_arrived)
            return
        self._is_queueing = False
        arrived, self._arrived = self._arrived, []
        self._queue.put(arrived)

    def _expire(self, request: _Request, seconds: float) -> None:
        if not request.answer.done():
            request.answer.set_exception(_passed(seconds))

    def _fail(self, batch: Batch[_Input]) -> None:
        lost = Unavailable("the server lost the worker that had this request; try again in a moment")
        _deliver([_Outcome(batch.items, error=lost)])

    def _run(self, batch: Batch[_Input]) -> Callable[[float], None]:
        """Run a batch in a worker's thread; what it returns is called in the event loop."""
        items = [item for item in batch.items if not item.request.answer.done()]
        at_once = min(self.limits.workers, batch.items[0].streams)
        return partial(self._finish, items, _outcomes(items) if items else [], at_once)

    def _finish(self, items: list[_Input], outcomes: list[_Outcome], at_once: int, seconds: float) -> None:
        if items:
            self._on_batch(len({item.text for item in items}))
            newest = seconds / len(items) / at_once
            self._seconds_an_input += RECENT * (newest - self._seconds_an_input)
        _deliver(outcomes)
        self._queue_soon()  # else nobody would take before somebody asks


def _passed(seconds: float) -> DeadlinePassed:
    return DeadlinePassed(f"no answer within {seconds:g} s; try again, or send fewer inputs at a time")


def _outcomes(items: list[_Input]) -> list[_Outcome]:
    """Features once a distinct text, then each version's head over the features of its own inputs.

    Versions beside come last, and have their rows written for them.
    """
    texts = {text: place for place, text in enumerate(dict.fromkeys(item.text for item in items))}
    try:
        feature_ND = items[0].body.features(list(texts))
        by_model: dict[int, list[_Input]] = {}
        for item in items:
            by_model.setdefault(id(item.request.model), []).append(item)
        outcomes = [
            _Outcome(same, same[0].request.model.probabilities(feature_ND[[texts[i.text] for i in same]]))
            for same in by_model.values()
        ]
    except Exception as error:  # whatever the model raised belongs to the requests that caused it
        requests = {id(item.request): item.request for item in items}
        if len(requests) == 1:
            if isinstance(error, StopIteration):  # which no future takes
                error = RuntimeError("the model raised StopIteration")
            return [_Outcome(items, error=error)]
        alone = ([item for item in items if item.request is request] for request in requests.values())
        return [outcome for same in alone for outcome in _outcomes(same)]
    _answer_beside(items, texts, feature_ND)
    return outcomes


def _answer_beside(items: list[_Input], texts: Mapping[str, int], feature_ND: np.ndarray) -> None:
    """Write the rows of versions beside, over features [N, D] of the texts at their places."""
    by_model: dict[int, list[tuple[Beside, _Input]]] = {}
    for item in items:
        for beside in item.request.beside:
            by_model.setdefault(id(beside.model), []).append((beside, item))
    for same in by_model.values():
        with suppress(Exception):  # whatever it raises, those who asked another version must be answered
            places = [texts[item.text] for _, item in same]
            probability_NC = same[0][0].model.probabilities(feature_ND[places])
            for (beside, item), probability_C in zip(same, probability_NC, strict=True):
                beside.rows[item.place] = probability_C


def _deliver(outcomes: list[_Outcome]) -> None:
    """Hand answers and errors to who waits for them; runs in the event loop."""
    for outcome in outcomes:
        for place, item in enumerate(outcome.items):
            try:
                _hand_out(outcome, place, item.request, item.place)
            except Exception as error:  # what cannot be handed out fails its own request alone
                if not item.request.answer.done():
                    item.request.answer.set_exception(error)


def _hand_out(outcome: _Outcome, place: int, request: _Request, row: int) -> None:
    if outcome.probability_NC is not None:
        request.rows[row] = outcome.probability_NC[place]
        request.left -= 1
    if request.answer.done():
        return
    if outcome.error is not None:
        request.answer.set_exception(outcome.error)
    elif not request.left:
        request.answer.set_result(None)
