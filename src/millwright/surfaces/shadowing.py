"""Lets versions answer that nobody sees, beside the one that answers; nobody waits for them.

One that shares the body of the version that answers does so in the same pass of the network, others after it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from millwright.errors import QueueFull
from millwright.records import Prediction, Shadow
from millwright.serve.engine import Answering, Beside, Engine
from millwright.serve.ids import new_id
from millwright.serve.journal import Journal
from millwright.store.database import now

FREE_SHARE = 0.25  # of the queue may wait; with more, users go first and shadows are left out


class Shadowing:
    """Tasks of shadow answers under way. Use within the engine's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _is_free(self) -> bool:
        return self._engine.waiting_inputs <= FREE_SHARE * self._engine.limits.queue_size

    def beside(self, model: Answering, shadows: Mapping[str, Answering], inputs: int) -> dict[str, Beside]:
        """What a request takes along for its shadows, by version, and `start` wants once it is answered.

        Args:
            model: the version that answers.
            shadows: the versions that are to answer unseen, by name.
            inputs: how many the request has.

        Returns:
            All of them; while users wait for theirs, those of other bodies, for whom `start` looks again.
        """
        return {
            name: Beside(shadow, [None] * inputs)
            for name, shadow in shadows.items()
            if shadow.body is not model.body or self._is_free
        }

    def start(self, name: str, beside: Beside, records: Sequence[Prediction], journal: Journal) -> None:
        """Note what a version says of the texts of predictions.

        Where it said nothing beside the version that users got, it is asked, unless users wait for theirs.

        Args:
            name: of the version.
            beside: the version, and what it said.
            records: the predictions that users got; they must be on their way to the journal.
            journal: takes what the version says.
        """
        task = asyncio.create_task(self._note(name, beside, records, journal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for what is under way; what fails, as where the journal has ended, is lost alone."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _note(self, name: str, beside: Beside, records: Sequence[Prediction], journal: Journal) -> None:
        found = list(zip(records, beside.rows, strict=True))
        said = [_shadow(name, beside.model, one, row, one.seconds) for one, row in found if row is not None]
        if said:
            journal.hand_over(said)
        left = [one for one, row in found if row is None]
        if left and self._is_free:
            await self._answer(name, beside.model, left, journal)

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
        seconds = None if is_known else time.perf_counter() - start
        journal.hand_over(
            [
                _shadow(name, model, one, probability_C, seconds)
                for one, probability_C in zip(records, probability_NC, strict=True)
            ]
        )


def _shadow(
    name: str, model: Answering, given: Prediction, probability_C: Any, seconds: float | None
) -> Shadow:
    best = int(probability_C.argmax())
    label, probability = model.labels[best], float(probability_C[best])
    return Shadow(new_id(), given.id, name, label, probability, seconds, None, now())
