"""Lets versions answer that nobody sees, beside the one that answers; nobody waits for them."""

import asyncio
import time
from collections.abc import Sequence

from millwright.errors import QueueFull
from millwright.records import Prediction, Shadow
from millwright.serve.engine import Answering, Engine
from millwright.serve.ids import new_id
from millwright.serve.journal import Journal
from millwright.store.database import now

FREE_SHARE = 0.25  # of the queue may wait; with more, users go first and shadows are left out


class Shadowing:
    """Tasks of shadow answers under way. Use within the engine's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, model: Answering, records: Sequence[Prediction], journal: Journal) -> None:
        """Answer the texts of predictions again by another version, unless users wait for theirs.

        Args:
            name: of the version.
            model: the version.
            records: the predictions that users got; they must be on their way to the journal.
            journal: takes what the version says.
        """
        if self._engine.waiting_inputs > FREE_SHARE * self._engine.limits.queue_size:
            return
        task = asyncio.create_task(self._answer(name, model, records, journal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for what is under way; what fails, as where the journal has ended, is lost alone."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(
        self, name: str, model: Answering, records: Sequence[Prediction], journal: Journal
    ) -> None:
        texts = [record.text for record in records]
        is_known, start = self._engine.cache.knows_any(model, texts), time.perf_counter()
        try:
            probability_NC = await self._engine.answer(model, texts)
        except QueueFull:
            return
        except Exception as error:  # a shadow that fails is noted, and fails nobody
            kind = type(error).__name__
            journal.hand_over(
                [Shadow(new_id(), one.id, name, None, None, None, kind, now()) for one in records]
            )
            return
        seconds, made = None if is_known else time.perf_counter() - start, []
        for record, probability_C in zip(records, probability_NC, strict=True):
            best = int(probability_C.argmax())
            said = (model.labels[best], float(probability_C[best]), seconds)
            made.append(Shadow(new_id(), record.id, name, *said, None, now()))
        journal.hand_over(made)
