import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from millwright.errors import NotFound, Overloaded
from millwright.serve.engine import Answering, Engine
from tests.serve.tiny import Failing, Gated, Tiny


def run(
    scenario: Callable[[Engine], Awaitable[None]], *, max_batch: int = 4, queue_size: int = 100
) -> list[int]:
    """Run a scenario with a started engine and stop the engine; return the sizes of its batches."""
    sizes: list[int] = []

    async def whole() -> None:
        engine = Engine(max_batch, queue_size, sizes.append)
        await engine.start()
        try:
            await scenario(engine)
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(whole(), 30))
    return sizes


async def busy(engine: Engine, model: Gated) -> asyncio.Task[np.ndarray]:
    """Start a request and wait until the worker is at the model's gate with it."""
    task = asyncio.create_task(engine.answer(model, ["card 0"]))
    await asyncio.to_thread(model.entered.wait, 30)
    return task


async def queued(engine: Engine, model: Answering, *requests: list[str]) -> list[asyncio.Task[np.ndarray]]:
    """Start requests and return once all stand in the queue."""
    wanted = engine.waiting_inputs + sum(map(len, requests))
    tasks = [asyncio.create_task(engine.answer(model, texts)) for texts in requests]
    while engine.waiting_inputs < wanted:
        await asyncio.sleep(0)
    return tasks


def test_answers_stand_in_the_order_of_the_inputs_whatever_their_lengths():
    texts = [
        "transfer " + "x" * 50,
        "pin",
        "card " + "y" * 20,
        "transfer",
        "card",
        "pin " + "z" * 99,
        "card 2",
    ]

    async def scenario(engine: Engine) -> None:
        answer_NC = await engine.answer(Tiny(), texts)
        assert answer_NC.argmax(axis=1).tolist() == [2, 1, 0, 2, 0, 1, 0]

    assert run(scenario, max_batch=3) == [3, 3, 1]


def test_a_batch_holds_texts_of_like_length():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        await engine.answer(model, ["aaaa", "b", "ccc", "dd"])

    run(scenario, max_batch=2)
    assert model.batches == [["b", "dd"], ["ccc", "aaaa"]]


def test_an_idle_engine_answers_one_input_alone():
    async def scenario(engine: Engine) -> None:
        await engine.answer(Tiny(), ["card"])

    assert run(scenario, max_batch=64) == [1]


def test_what_waits_goes_through_together():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, model)
        rest = await queued(engine, model, ["pin 1"], ["card 2"], ["transfer 3"])
        model.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [int(answer_NC.argmax()) for answer_NC in answers] == [0, 1, 0, 2]

    assert run(scenario) == [1, 3]


def test_versions_never_share_a_batch():
    gated, other = Gated(), Tiny(labels=("transfer", "card"))

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, gated)
        mixed = [*await queued(engine, gated, ["card 1"]), *await queued(engine, other, ["card 2"])]
        gated.gate.set()
        answers = await asyncio.gather(first, *mixed)
        assert [answer_NC.shape for answer_NC in answers] == [(1, 3), (1, 3), (1, 2)]

    assert run(scenario) == [1, 1, 1]
    assert other.batches == [["card 2"]]


def test_a_full_queue_refuses_and_takes_again_once_it_is_empty():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        tasks = [await busy(engine, model), *await queued(engine, model, ["card 1", "card 2"])]
        with pytest.raises(Overloaded, match=r"3 inputs wait, serve.queue_size is 3; try again"):
            await engine.answer(model, ["card 3"])
        model.gate.set()
        await asyncio.gather(*tasks)
        assert engine.waiting_inputs == 0
        assert (await engine.answer(model, ["card 4"])).shape == (1, 3)

    run(scenario, queue_size=3)


def test_one_request_longer_than_the_queue_is_answered_when_nothing_waits():
    async def scenario(engine: Engine) -> None:
        assert (await engine.answer(Tiny(), ["card"] * 5)).shape == (5, 3)

    run(scenario, queue_size=2)


def test_a_failing_model_fails_its_own_requests_only():
    failing = Failing()

    async def scenario(engine: Engine) -> None:
        with pytest.raises(RuntimeError, match="cannot read"):
            await engine.answer(failing, ["!"])
        assert (await engine.answer(failing, ["card"])).argmax() == 0
        assert engine.waiting_inputs == 0

    run(scenario)


def test_a_swap_leaves_requests_that_wait_with_the_version_that_took_them():
    old, new = Gated(), Tiny(labels=("transfer", "card"))

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": old}, {"champion": "v1"})
        first = await busy(engine, old)
        waiting = await queued(engine, engine.model("champion")[1], ["card 1"])
        engine.swap({"v2": new}, {"champion": "v2"})
        name, model = engine.model("champion")
        later = await queued(engine, model, ["card 2"])
        old.gate.set()
        answers = await asyncio.gather(first, *waiting, *later)
        assert name == "v2"
        assert [answer_NC.shape[1] for answer_NC in answers] == [3, 3, 2]

    run(scenario)


def test_a_version_that_is_not_loaded_is_not_found():
    async def scenario(engine: Engine) -> None:
        engine.swap({"v2": Tiny()}, {"champion": "v2"})
        with pytest.raises(NotFound, match=r"'v1' is not served; there are v2, champion"):
            engine.model("v1")

    run(scenario)


def test_a_request_that_nobody_waits_for_any_more_is_not_run():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, model)
        gone, kept = await queued(engine, model, ["card gone"], ["card kept"])
        gone.cancel()
        model.gate.set()
        await asyncio.gather(first, kept)

    run(scenario)
    assert model.batches == [["card 0"], ["card kept"]]


def test_stopping_answers_what_waits_and_refuses_what_comes():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        assert engine.is_ready
        tasks = [await busy(engine, model), *await queued(engine, model, ["pin 1"], ["pin 2"])]
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(0)
        assert not engine.is_ready
        with pytest.raises(Overloaded, match="starting or stopping"):
            await engine.answer(model, ["late"])
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        await stopping
        assert [int(answer_NC.argmax()) for answer_NC in answers] == [0, 1, 1]

    run(scenario)


def test_an_engine_that_was_not_started_refuses():
    with pytest.raises(Overloaded, match="starting or stopping"):
        asyncio.run(Engine(4, 4).answer(Tiny(), ["card"]))
