"""Every exception of Millwright; the class decides the HTTP status and the exit code.

MillwrightError                500, exit 1
├── BadInput                   422, exit 2   what came cannot be used; the message says what to pass
│   ├── BadSetting             422, exit 2   millwright.toml holds a wrong key or value
│   └── NoRows                 422, exit 2   a file is empty or has only a header
├── NotFound                   404, exit 2   no such version, project, file, prediction
├── TooLarge                   413, exit 2   over a limit of the settings
├── TooSlow                    408, exit 2   a request did not come whole in its time
├── Busy                       409, exit 1   another process does the same thing now
├── Unavailable                503, exit 1   the server is starting, stopping, or lost a worker
├── Unauthorised               401, exit 1   no key, or one that opens nothing
├── Forbidden                  403, exit 1   the key may not do this
├── TryLater                   429, exit 1   more was asked than is answered now
│   ├── TooOften               429, exit 1   the key has used up its rate
│   └── QueueFull              429, exit 1   as many inputs wait as may
├── DeadlinePassed             504, exit 1   no answer within the time that a request may take
├── MissingExtra               501, exit 1   an optional dependency is not installed
├── CannotStore                507, exit 1   the disk is full, or the folder may not be written
└── Corrupt                    500, exit 1   an artefact is not what was written
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class MillwrightError(Exception):
    """Base of all errors that Millwright raises on purpose; the message is for the user.

    `field` names where in a request or in the settings the fault stood, `value` is what stood there; None
    where that is not known.
    """

    status = 500
    exit_code = 1
    field: str | None = None
    value: str | int | None = None

    def __init__(self, message: str, field: str | None = None, value: str | int | None = None) -> None:
        super().__init__(message)
        self.field, self.value = self.field if field is None else field, value


class BadInput(MillwrightError):
    """What came cannot be used."""

    status = 422
    exit_code = 2


class BadSetting(BadInput):
    """millwright.toml holds an unknown key or a wrong value."""


class NoRows(BadInput):
    """A file has no row; those that it had may have been erased."""


class NotFound(MillwrightError):
    """Something was named that does not exist."""

    status = 404
    exit_code = 2


class TooLarge(BadInput):
    """The request is over a limit that the settings state."""

    status = 413


class TooSlow(BadInput):
    """A request did not come whole within the time that it may take."""

    status = 408


class Busy(MillwrightError):
    """Another process holds the lock for this action."""

    status = 409


class Unavailable(MillwrightError):
    """The server is starting or stopping, or lost the worker that had this request."""

    status = 503


class Unauthorised(MillwrightError):
    """The request came without a key, or with one that is unknown, expired or revoked."""

    status = 401
    field = "authorization"


class Forbidden(MillwrightError):
    """The key of the request may not do this, or it came under another's name."""

    status = 403
    field = "authorization"


class TryLater(MillwrightError):
    """More was asked than is answered now; `retry_after_s` is when to ask again."""

    status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooOften(TryLater):
    """The key of the request has used up its rate."""


class QueueFull(TryLater):
    """As many inputs wait as may; they should have room again after `retry_after_s`."""


class DeadlinePassed(MillwrightError):
    """A request got no answer within the time that it may take."""

    status = 504


class MissingExtra(MillwrightError):
    """An optional dependency is not installed or cannot run here; the message says why, with the pip line."""

    status = 501


class CannotStore(MillwrightError):
    """The disk is full or the folder may not be written; what was there before is untouched."""

    status = 507


class Corrupt(MillwrightError):
    """An artefact differs from what was written: truncated, edited, or of an unknown format."""


def loggable(error: BaseException) -> str:
    """What a log may say of an error: ours in its words, another by its type: it may quote a person.

    Args:
        error: what was raised.

    Returns:
        The message or the name of the type.
    """
    return str(error) if isinstance(error, MillwrightError) else type(error).__name__


@dataclass
class Trouble:
    """What goes wrong time after time: a line of the log when it begins, and when it changes."""

    log: logging.Logger
    about: str
    told: str = ""

    def tell(self, error: Exception) -> None:
        """Log an error, unless it is the one of the last time."""
        reason = loggable(error)
        if reason != self.told:
            self.log.error("%s: %s", self.about, reason)
        self.told = reason

    def is_over(self) -> None:
        """Let the same error be told again when it comes back."""
        self.told = ""


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is among `known`.

    Args:
        kind: what is named, for the message: "version", "method".
        name: what was asked for.
        known: every valid name.

    Returns:
        `name`, unchanged.

    Raises:
        NotFound: `name` is not known; the message lists what is, nearest first.
    """
    names = list(known)
    if name in names:
        return name
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
    raise NotFound(
        f"no {kind} named {name!r}; there {'is' if len(names) == 1 else 'are'} {listed or 'none'}.{hint}",
        value=name,
    )


def choice(kind: str, name: str, known: Iterable[str], field: str) -> str:
    """Return `name` if it is among `known`; for what came in a request: BadInput that names the field."""
    try:
        return one_of(kind, name, known)
    except NotFound as unknown:
        raise BadInput(str(unknown), field=field, value=name) from None
