"""Processor time of each stage of an answer, a stage at a time, in one process without a network.

    PROJECT=FOLDER python benchmarks/http_stages.py

Prints rows as JSON; `http_overhead.py --only profile` puts them into its record. Times are those of the
thread that works, the least of some passes over the messages: what else runs on the machine only adds.
"""

import asyncio
import csv
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from noop_app import app
from record import DATA, Row

from millwright.feedback import is_asked
from millwright.modalities.text import clean
from millwright.privacy.access import Guard
from millwright.privacy.mask import masker
from millwright.privacy.sealed import store_predictions, take_write_lock
from millwright.privacy.vault import Place
from millwright.records import Prediction
from millwright.serve.ids import new_id
from millwright.store.database import now
from millwright.surfaces.door import Door
from millwright.surfaces.messages import PredictionAnswer, PredictionRequest, PredictionsAnswer
from millwright.surfaces.metrics import Metrics

PART = "stages of an answer"
PASSES, MESSAGES, TOGETHER = 7, 2048, 64
ROUTE = "/v1/predictions"
Item = TypeVar("Item")


def alone(stage: Callable[[Item], object], items: Sequence[Item], each: int = 1) -> float:
    """Microseconds of this thread that a stage takes; an item stands for `each` requests."""
    least = float("inf")
    for _ in range(PASSES):
        start = time.thread_time()
        for item in items:
            stage(item)
        least = min(least, time.thread_time() - start)
    return least / len(items) / each * 1e6


async def driven(asked: Callable[[bytes], Awaitable[object]], bodies: Sequence[bytes], users: int) -> float:
    """Microseconds of all threads of the process that a request takes, with so many users at once."""
    least = float("inf")
    for _ in range(PASSES):
        left, start = iter(bodies), time.process_time()
        await asyncio.gather(*(_ask_all(asked, left) for _ in range(users)))
        least = min(least, time.process_time() - start)
    return least / len(bodies) * 1e6


async def _ask_all(asked: Callable[[bytes], Awaitable[object]], left: Iterator[bytes]) -> None:
    for body in left:
        await asked(body)


async def through(application, body: bytes) -> None:
    """Ask an ASGI application as a server would."""
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": ROUTE, "headers": headers}

    async def receive():
        """The whole body."""
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        """Nobody reads it."""
        if message.get("status", 200) != 200:
            raise RuntimeError(f"the service answered {message['status']}")

    await application(scope, receive, send)


async def at_once(scope, receive, send) -> None:
    """An application that answers nothing."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def stages(texts: Sequence[str]) -> dict[str, float]:
    """Each stage's microseconds."""
    service = app.state.service
    await service.start()
    try:
        bodies = [json.dumps({"inputs": [text]}).encode() for text in texts]
        guard, most_bytes = Guard(service.project), service.limits.max_body_bytes
        body_s, direct = service.limits.deadline_s, {("POST", ROUTE): at_once}
        door = Door(at_once, most_bytes, Metrics(), body_s=body_s, guard=guard, direct=direct, any_host=True)
        _, model = service.engine.model("champion")
        own, data = masker(service.project, reversible=True), service.project.settings.data
        records = [
            Prediction(new_id(), "v1", text, "label_0", 1.0, None, False, now(), seconds=0.001)
            for text in texts
        ]
        return {
            "the door: key, id, limit, headers, metrics": await driven(lambda b: through(door, b), bodies, 1),
            "JSON to a checked request": alone(PredictionRequest.model_validate_json, bodies),
            "cleaning": alone(clean, texts),
            "personal data": alone(lambda text: own.mask_all([text]), texts),
            "queue, batch, worker thread and back": await driven(
                lambda body: service.engine.answer(model, [body.decode()]), bodies, TOGETHER
            ),
            "whether to ask for the right label": alone(lambda text: is_asked(data, text, None), texts),
            "the answer as JSON": alone(_answer, records),
            "the row sealed": alone(lambda record: _sealed(service.vault, record), records),
            f"rows sealed and committed, {TOGETHER} together": _committing(service.vault, records),
            "all of it, without HTTP": await driven(lambda body: through(app, body), bodies, TOGETHER),
        }
    finally:
        await service.stop()


def _parts(records: Sequence[Prediction]):
    return (records[start : start + TOGETHER] for start in range(0, len(records), TOGETHER))


def _answer(record: Prediction) -> bytes:
    shown = {name: getattr(record, name) for name in ("id", "label", "probability", "version", "ask")}
    made = PredictionsAnswer(predictions=[PredictionAnswer(**shown)])
    return made.model_dump_json(exclude_none=True).encode()


def _sealed(vault, record: Prediction) -> bytes:
    content = {"text": record.text, "label": record.label, "probability": 1.0, "subject": None}
    return vault.seal(Place("predictions", record.id, None), content)


def _committing(vault, records: Sequence[Prediction]) -> float:
    """Microseconds a row of what the journal's thread does, the median commit: no row is written twice."""
    took = []
    for some in _parts(records):
        start = time.thread_time()
        with vault.project.database.begin() as connection:
            take_write_lock(connection, vault)
            store_predictions(connection, vault, some)
        took.append((time.thread_time() - start) / len(some) * 1e6)
    return statistics.median(took)


def main() -> None:
    """Measure and print."""
    with (DATA / "banking77" / "test.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["text"].strip() for row in csv.DictReader(file)][:MESSAGES]
    rows: list[Row] = [
        {"part": PART, "stage": stage, "microseconds": found}
        for stage, found in asyncio.run(stages(texts)).items()
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
