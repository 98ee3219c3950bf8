"""Queue, batches, workers, versions: every request is answered or failed, whatever happens to a worker."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from millwright.errors import DeadlinePassed, NotFound, QueueFull, Unavailable
from millwright.serve.batches import Batch
from millwright.serve.engine import Answering, Beside, Engine, Limits, _Input, _Request
from tests.serve.tiny import LABELS, Deadly, Failing, Gated, Headed, Tiny

Scenario = Callable[[Engine], Awaitable[None]]
ONE = Limits(max_batch=4, queue_size=100, workers=1, replace_after_s=0.001)


def run(scenario: Scenario, limits: Limits = ONE, **changed: object) -> list[int]:
    """Run a scenario with a started engine and stop the engine; return the sizes of its batches."""
    sizes: list[int] = []

    async def whole() -> None:
        engine = Engine(replace(limits, **changed), sizes.append)
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
    while engine.waiting_inputs < wanted or engine._arrived:
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

    assert sorted(run(scenario, max_batch=3)) == [1, 3, 3]


def test_a_batch_holds_texts_of_like_length():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        await engine.answer(model, ["aaaa", "b", "ccc", "dd"])

    run(scenario, max_batch=2)
    assert model.batches == [["ccc", "aaaa"], ["b", "dd"]]


def test_an_idle_engine_answers_one_input_alone():
    async def scenario(engine: Engine) -> None:
        await engine.answer(Tiny(), ["card"])

    assert run(scenario, max_batch=64) == [1]


def test_an_idle_engine_lets_no_time_pass_before_it_answers(monkeypatch):
    timers: list[float] = []

    async def scenario(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def noted(when: float, *rest: object, **more: object) -> asyncio.TimerHandle:
            timers.append(when)
            return call_at(when, *rest, **more)

        monkeypatch.setattr(loop, "call_at", noted)
        since = now()
        await engine.answer(Tiny(), ["card"], since=since)
        assert timers == [since + engine.limits.deadline_s]

    run(scenario)


def test_a_model_never_runs_in_the_event_loop():
    threads = set[threading.Thread]()

    class Noting(Tiny):
        def features(self, texts: Sequence[str]) -> np.ndarray:
            threads.add(threading.current_thread())
            return super().features(texts)

        def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
            threads.add(threading.current_thread())
            return super().probabilities(feature_ND)

    async def scenario(engine: Engine) -> None:
        model = Noting()
        await engine.answer(model, ["card"], beside=[Beside(Headed(model, LABELS), [None])])

    run(scenario)
    assert [thread.name for thread in threads] == ["model"]


def test_what_comes_at_once_goes_through_together_also_where_the_engine_is_idle():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        await asyncio.gather(*(engine.answer(model, [text]) for text in ("card", "pin", "transfer")))

    assert run(scenario) == [3]


def test_a_batch_counts_what_went_through_the_body():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        await engine.answer(model, ["card", "card", "pin"])

    assert run(scenario) == [2]
    assert len(model.batches[0]) == 2


def test_what_waits_goes_through_together():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, model)
        rest = await queued(engine, model, ["pin 1"], ["card 2"], ["transfer 3"])
        model.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [int(answer_NC.argmax()) for answer_NC in answers] == [0, 1, 0, 2]

    assert run(scenario) == [1, 3]


def test_who_asks_again_at_once_shares_a_batch_with_what_waited():
    model = Gated(streams=2)

    async def scenario(engine: Engine) -> None:
        async def ask_twice() -> None:
            await engine.answer(model, ["card 0"])
            await engine.answer(model, ["card 1"])

        asking = asyncio.create_task(ask_twice())
        await asyncio.to_thread(model.entered.wait, 30)
        waiting = await queued(engine, model, ["pin 2"])
        model.gate.set()
        await asyncio.gather(asking, *waiting)

    assert run(scenario) == [1, 2]


class Stopping(Tiny):
    """Raises what no future takes where it reads "stop"."""

    def features(self, texts: Sequence[str]) -> np.ndarray:
        if "stop" in texts:
            raise StopIteration
        return super().features(texts)


class Short(Tiny):
    """Says nothing of the last text of a batch of many."""

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        return super().probabilities(feature_ND)[: max(1, len(feature_ND) - 1)]


@pytest.mark.parametrize(
    ("model", "bad", "error"),
    [(Stopping(), "stop", RuntimeError), (Short(), "longest", IndexError)],
    ids=["an error that no future takes", "a row too few"],
)
def test_what_cannot_be_handed_out_fails_its_own_request_alone_and_is_not_logged(model, bad, error, caplog):
    gate = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, gate)
        failing, waiting = await queued(engine, model, [bad], ["pin"])
        gate.gate.set()
        await first
        with pytest.raises(error):
            await failing
        assert (await waiting).argmax() == 1

    run(scenario)
    assert not caplog.records


def test_what_the_event_loop_logs_of_an_input_is_not_its_text():
    async def scenario(engine: Engine) -> None:
        request = _Request(Tiny(), asyncio.get_running_loop().create_future(), [None])
        assert "Ada" not in repr(_Input(request, 0, "transfer to Ada"))

    run(scenario)


def test_versions_of_different_bodies_never_share_a_batch():
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
        with pytest.raises(QueueFull, match=r"3 inputs wait, serve.queue_size is 3; try again") as full:
            await engine.answer(model, ["card 3"])
        assert full.value.retry_after_s >= 1
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
        with pytest.raises(Unavailable, match="starting or stopping"):
            await engine.answer(model, ["late"])
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        await stopping
        assert [int(answer_NC.argmax()) for answer_NC in answers] == [0, 1, 1]

    run(scenario)


def test_stopping_waits_no_longer_than_a_deadline_for_a_worker_that_hangs():
    hanging = Gated()

    async def scenario(engine: Engine) -> None:
        with pytest.raises(DeadlinePassed):
            await engine.answer(hanging, ["card"], deadline_s=0.01)
        await engine.stop()
        assert hanging.entered.is_set()
        assert hanging.batches == []  # it still hangs
        hanging.gate.set()

    run(scenario, deadline_s=0.2)


def test_what_a_long_request_needs_first_keeps_nobody_waiting():
    model, gate = Tiny(), threading.Event()

    async def scenario(engine: Engine) -> None:
        aside = asyncio.create_task(engine.aside(lambda: gate.wait(30), 99, None, now()))
        while not engine.waiting_inputs:
            await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="99 inputs wait"):
            await engine.answer(model, ["card", "pin"])
        assert (await engine.answer(model, ["pin"])).argmax() == 1
        assert await engine.aside(lambda: True, 1, None, now())  # nor another long one
        gate.set()
        assert await aside
        assert engine.waiting_inputs == 0

    run(scenario)


def test_a_deadline_counts_from_when_the_request_came():
    model, gate = Gated(), threading.Event()

    async def scenario(engine: Engine) -> None:
        with pytest.raises(DeadlinePassed, match=r"no answer within 0\.01 s"):
            await engine.aside(lambda: gate.wait(30), 1, 0.01, now())
        gate.set()
        with pytest.raises(DeadlinePassed, match="no answer within 2 s"):
            await engine.answer(model, ["card"], 2, since=now() - 2)
        model.gate.set()

    run(scenario)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_engine_that_was_not_started_refuses():
    with pytest.raises(Unavailable, match="starting or stopping"):
        asyncio.run(Engine(ONE).answer(Tiny(), ["card"]))


def test_versions_over_one_body_pay_for_it_once_a_text():
    body = Tiny()
    old, new = Headed(body, LABELS), Headed(body, ("transfer", "card"))
    gated = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, gated)
        tasks = await queued(engine, old, ["card 1"]) + await queued(engine, new, ["card 1", "pin 2"])
        gated.gate.set()
        _, before, after = await asyncio.gather(first, *tasks)
        assert before[0] == pytest.approx([0.8, 0.1, 0.1])
        assert after == pytest.approx(np.array([[0.1, 0.8], [0.1, 0.1]]))

    run(scenario)
    assert [sorted(batch) for batch in body.batches] == [["card 1", "pin 2"]]


def test_a_version_beside_answers_over_the_same_pass_of_the_body_as_it_would_by_itself():
    body, texts = Tiny(), ["card 1", "pin 2", "card 1", "transfer 3"]
    old, new = Headed(body, LABELS), Headed(body, ("transfer", "card"))

    async def scenario(engine: Engine) -> None:
        beside = Beside(new, [None] * 4)
        assert (await engine.answer(old, texts, beside=[beside])).argmax(axis=1).tolist() == [0, 1, 0, 2]
        assert sorted(sum(body.batches, [])) == ["card 1", "pin 2", "transfer 3"]
        assert np.array(beside.rows).tolist() == (await engine.answer(new, texts)).tolist()

    run(scenario)


def test_a_version_beside_that_fails_leaves_its_rows_empty_and_the_answers_as_they_are():
    body = Tiny()
    failing = Headed(body, ("no label of the body",))

    async def scenario(engine: Engine) -> None:
        broken, sound = Beside(failing, [None]), Beside(Headed(body, LABELS), [None])
        answers = await asyncio.gather(
            engine.answer(body, ["card"], beside=[broken, sound]), engine.answer(body, ["pin"])
        )
        assert [int(answer_NC.argmax()) for answer_NC in answers] == [0, 1]
        assert broken.rows == [None]
        assert sound.rows[0].argmax() == 0

    run(scenario)
    assert body.batches == [["pin", "card"]]


def test_a_version_of_another_body_is_not_asked_beside():
    other = Tiny()

    async def scenario(engine: Engine) -> None:
        beside = Beside(other, [None])
        await engine.answer(Tiny(), ["card"], beside=[beside])
        assert beside.rows == [None]

    run(scenario)
    assert other.batches == []


def test_what_a_version_said_beside_is_remembered_and_what_came_from_memory_is_not_run():
    body = Tiny()
    old, new = Headed(body, LABELS), Headed(body, ("transfer", "card"))

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": old, "v2": new}, {})
        await engine.answer(old, ["card"], beside=[Beside(new, [None])])
        assert (await engine.answer(new, ["card"])).argmax() == 1
        again = Beside(new, [None, None])
        await engine.answer(old, ["card", "pin"], beside=[again])
        assert [row is None for row in again.rows] == [True, False]

    run(scenario, cache_answers=10)
    assert body.batches == [["card"], ["pin"]]


def test_one_text_that_the_model_cannot_read_fails_alone():
    gate, failing = Gated(), Failing()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, gate)
        good, bad = await queued(engine, failing, ["card"], ["!"])
        gate.gate.set()
        await first
        assert (await good).argmax() == 0
        with pytest.raises(RuntimeError, match="cannot read"):
            await bad

    run(scenario)


def test_two_streams_run_two_batches_at_once():
    model = Gated(streams=2)

    async def scenario(engine: Engine) -> None:
        tasks = [await busy(engine, model)]
        model.entered.clear()
        tasks.append(asyncio.create_task(engine.answer(model, ["pin"])))
        assert await asyncio.to_thread(model.entered.wait, 30)  # while the first is still at the gate
        model.gate.set()
        await asyncio.gather(*tasks)

    run(scenario, workers=2)


def test_a_body_of_one_stream_is_never_run_by_two_workers():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        tasks = [await busy(engine, model), *await queued(engine, model, ["pin 1"], ["pin 2"])]
        other = await engine.answer(Tiny(), ["card"])  # the second worker is free for other bodies
        assert other.argmax() == 0
        assert model.batches == []
        model.gate.set()
        await asyncio.gather(*tasks)

    run(scenario, workers=2)
    assert model.batches == [["card 0"], ["pin 1", "pin 2"]]


def test_a_request_is_failed_at_its_deadline_and_not_run():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        first = await busy(engine, model)
        with pytest.raises(DeadlinePassed, match=r"no answer within 0\.01 s; try again"):
            await engine.answer(model, ["card late"], deadline_s=0.01)
        model.gate.set()
        await first
        assert engine.waiting_inputs == 0

    run(scenario)
    assert model.batches == [["card 0"]]


def test_no_request_waits_longer_than_the_engine_allows():
    model = Gated()

    async def scenario(engine: Engine) -> None:
        with pytest.raises(DeadlinePassed, match=r"0\.01 s"):
            await engine.answer(model, ["card"], deadline_s=99)
        model.gate.set()

    run(scenario, deadline_s=0.01)


async def until(claim: Callable[[], bool]) -> None:
    while not claim():
        await asyncio.sleep(0)


def test_a_worker_that_dies_fails_its_request_and_is_replaced():
    model = Deadly()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        with pytest.raises(Unavailable, match="lost the worker"):
            await engine.answer(model, ["die"])
        assert not engine.is_ready
        await until(lambda: engine.is_ready)
        assert engine.workers_replaced == 1
        assert (await engine.answer(model, ["card"])).argmax() == 0

    run(scenario)


def test_a_worker_that_cannot_be_replaced_yet_is_missed_and_replaced_once_it_can(monkeypatch):
    model, start, refused = Deadly(), threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        refused.append(thread.name)
        raise RuntimeError("can't start new thread")

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Unavailable, match="lost the worker"):
            await engine.answer(model, ["die"])
        await until(lambda: len(refused) >= 2)
        assert not engine.is_ready
        assert engine.workers_replaced == 0
        monkeypatch.setattr(threading.Thread, "start", start)
        await until(lambda: engine.is_ready)
        assert engine.workers_replaced == 1
        assert (await engine.answer(model, ["pin"])).argmax() == 1

    run(scenario)


def test_an_engine_that_could_hire_nobody_is_not_ready(monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        engine = Engine(ONE)
        engine.swap({"v1": Tiny()}, {})
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await engine.start()
        assert not engine.is_ready

    asyncio.run(scenario())


def test_what_waits_behind_a_worker_that_died_is_answered_by_the_next():
    model = Deadly()

    async def scenario(engine: Engine) -> None:
        dying = asyncio.create_task(engine.answer(model, ["die"]))
        waiting = [asyncio.create_task(engine.answer(model, [f"card {n} " + "x" * 99])) for n in range(9)]
        with pytest.raises(Unavailable):
            await dying
        assert {int(answer_NC.argmax()) for answer_NC in await asyncio.gather(*waiting)} == {0}

    run(scenario, max_batch=1)


def test_a_worker_that_hangs_is_given_up_at_the_deadline_and_replaced():
    hanging = Gated()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": hanging}, {})
        with pytest.raises((DeadlinePassed, Unavailable)):
            await engine.answer(hanging, ["card"])
        await until(lambda: engine.workers_replaced == 1)
        assert engine.is_ready
        assert (await engine.answer(Tiny(), ["pin"])).argmax() == 1
        hanging.gate.set()

    run(scenario, deadline_s=0.02)


def test_a_worker_that_hangs_is_replaced_also_where_its_client_hung_up():
    hanging = Gated()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": hanging}, {})
        gone = await busy(engine, hanging)
        gone.cancel()
        await until(lambda: engine.workers_replaced == 1)
        assert engine.is_ready
        hanging.gate.set()

    run(scenario, deadline_s=0.02)


def test_a_worker_that_was_lost_before_it_took_a_batch_loses_no_request():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        (worker,) = engine._workers._workers
        worker.is_lost = True  # as one that is given up while it waits for its next batch
        with pytest.raises(Unavailable, match="lost the worker"):
            await engine.answer(model, ["card"])
        engine._workers._replace(worker)
        assert (await engine.answer(model, ["pin"])).argmax() == 1  # the body is free

    run(scenario)


def test_an_input_takes_as_long_as_the_streams_of_its_body_let_it():
    found = []

    async def scenario(engine: Engine) -> None:
        model = Tiny(streams=len(found) + 1)
        one = _Input(_Request(model, asyncio.get_running_loop().create_future(), [None]), 0, "card")
        engine._run(Batch(model, [one]))(8.0)  # as if it took eight seconds
        found.append(engine._seconds_an_input)

    for _ in range(2):
        run(scenario, workers=4)
    assert found[0] == 2 * found[1] > 0


def test_an_input_that_comes_again_is_answered_from_memory():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        first = await engine.answer(model, ["card", "pin"])
        again = await engine.answer(model, ["pin", "card", "pin"])
        assert again.tolist() == [first[1].tolist(), first[0].tolist(), first[1].tolist()]
        assert engine.cache.hits == 3

    run(scenario, cache_answers=2)
    assert [sorted(batch) for batch in model.batches] == [["card", "pin"]]


def test_the_answers_of_a_version_that_went_are_forgotten():
    old, new = Tiny(), Tiny(labels=("transfer", "card", "pin"))

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": old}, {})
        await engine.answer(old, ["card"])
        engine.swap({"v2": new}, {})
        assert (await engine.answer(new, ["card"])).argmax() == 1
        await engine.answer(old, ["card"])
        assert engine.cache.hits == 0

    run(scenario, cache_answers=10)
    assert old.batches == [["card"], ["card"]]


def test_without_a_cache_every_input_is_run():
    model = Tiny()

    async def scenario(engine: Engine) -> None:
        engine.swap({"v1": model}, {})
        for _ in range(2):
            await engine.answer(model, ["card"])

    run(scenario)
    assert model.batches == [["card"], ["card"]]
