"""Keys as they are pressed at a terminal: none is lost that comes before it is asked for."""

import codecs
import os
import re
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from millwright.errors import BadInput

DEVICE = "/dev/tty"  # where keys come from if stdin is something else
AT_ONCE = 1_024  # bytes
# What an arrow or a function key sends is one key, everything else a key a character.
KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)


@contextmanager
def pressed_keys() -> Iterator[Callable[[], str]]:
    """Let the terminal give single keys, without showing them, until the block ends.

    Yields:
        What waits for a key and returns it, or "" once there will be none. Ctrl-C interrupts as ever.

    Raises:
        BadInput: there is no terminal; raised when the first key is asked for.
    """
    with ExitStack() as stack:
        try:
            source = sys.stdin if sys.stdin.isatty() else stack.enter_context(open(DEVICE, encoding="utf-8"))
            terminal = source.fileno()
            before = termios.tcgetattr(terminal)
        except (OSError, ValueError, termios.error):
            yield _no_terminal
            return
        tty.setcbreak(terminal, termios.TCSANOW)  # the default would forget what was typed already
        stack.callback(termios.tcsetattr, terminal, termios.TCSADRAIN, before)
        decoder, waiting = codecs.getincrementaldecoder("utf-8")("replace"), deque[str]()

        def key() -> str:
            """The next key."""
            while not waiting:
                got = os.read(terminal, AT_ONCE)
                if not got:
                    return ""
                waiting.extend(KEY.findall(decoder.decode(got)))
            return waiting.popleft()

        yield key


def _no_terminal() -> str:
    raise BadInput(
        "there is no terminal to read keys from; use `millwright review next` and `review answer`, "
        "POST /v1/reviews, or `review export`"
    )
