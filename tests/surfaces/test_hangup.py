"""A request ends with its client, and for no other reason."""

import asyncio

import pytest

from millwright.surfaces import hangup
from millwright.surfaces.hangup import HungUp, unless_hung_up

GONE = {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(hangup, "LISTEN_AFTER_S", 0.0)


async def gone() -> dict[str, str]:
    return GONE


async def silent() -> dict[str, str]:
    return await asyncio.get_running_loop().create_future()


def test_who_hangs_up_ends_the_request_and_the_task_goes_on():
    ended = []

    async def answering() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def whole() -> None:
        with pytest.raises(HungUp):
            await unless_hung_up(answering(), gone)
        await asyncio.sleep(0)  # a task that was left cancelled would end here

    asyncio.run(asyncio.wait_for(whole(), 30))
    assert ended == [True]


def test_an_answer_in_time_leaves_nobody_listening():
    heard = asyncio.Event()

    async def receive() -> dict[str, str]:
        heard.set()
        return await silent()

    async def whole() -> None:
        await unless_hung_up(wait(heard), receive)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


async def wait(event: asyncio.Event) -> None:
    await event.wait()


def test_a_request_that_the_server_cancels_is_cancelled():
    async def whole() -> None:
        never = asyncio.Event()
        task = asyncio.create_task(unless_hung_up(wait(never), silent))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())


def test_what_an_answer_raises_is_raised():
    async def failing() -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        asyncio.run(unless_hung_up(failing(), silent))
