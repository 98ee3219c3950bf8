"""Ends a request whose client hung up, so that nothing is computed for nobody."""

import asyncio
from collections.abc import Awaitable

from starlette.types import Message, Receive

LISTEN_AFTER_S = 1.0  # most answers are there sooner, and to listen takes a task


class HungUp(Exception):
    """The client went before it was answered."""


async def unless_hung_up(answering: Awaitable[None], receive: Receive) -> None:
    """Await an answer, but no longer than the client does.

    Args:
        answering: sends the answer; it is cancelled if the client hangs up. It must not receive.
        receive: tells of the client, whose body was read.

    Raises:
        HungUp: the client went.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    listening: asyncio.Task[Message] | None = None
    is_gone = False

    def listen() -> None:
        """Wait for whatever comes from the client, which can be its end alone."""
        nonlocal listening
        listening = asyncio.ensure_future(receive())
        listening.add_done_callback(hang_up)

    def hang_up(heard: "asyncio.Future[Message]") -> None:
        """Cancel the answer."""
        nonlocal is_gone
        if not heard.cancelled():
            is_gone = True
            task.cancel()

    timer = loop.call_later(LISTEN_AFTER_S, listen)
    try:
        await answering
    except asyncio.CancelledError:
        if not is_gone:
            raise
        task.uncancel()
        raise HungUp from None
    finally:
        timer.cancel()
        if listening is not None:
            listening.cancel()
