"""Writes predictions and opinions, sealed, in the order they came; acknowledged means on disk."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

from sqlalchemy.exc import DBAPIError

from millwright.errors import Busy, CannotStore, MillwrightError
from millwright.privacy.sealed import (
    store_failures,
    store_opinions,
    store_predictions,
    store_shadows,
    take_write_lock,
)
from millwright.privacy.vault import Vault
from millwright.privacy.vault_tokens import VaultToken, settled, store_tokens
from millwright.records import Failure, Opinion, Prediction, Shadow

log = logging.getLogger(__name__)
Record = VaultToken | Prediction | Shadow | Failure | Opinion
Entry = tuple[Sequence[Record], Future[None] | None]  # None where nobody waits
# Records that nobody waits for; beyond them, while nothing can be written, some are lost.
MOST_WAITING = 50_000
GATHER_S = 0.02  # how long what nobody waits for may wait for company: a commit costs as much as many rows


class Journal:
    """One writer thread over a database. Invariant: entries are committed in the order in which they came.

    It takes entries while it `is_open`. While another process keeps the database locked, who waits for an
    entry is told so, and up to MOST_WAITING records of others are kept.
    """

    def __init__(self, vault: Vault, on_lost: Callable[[int], None] = lambda _: None) -> None:
        """Start the thread.

        Args:
            vault: seals what is written.
            on_lost: called, in any thread, with how many predictions of `hand_over` could not be stored.
        """
        self._vault = vault
        self._on_lost = on_lost
        self.is_open = True
        self._is_awaited = False
        self._entries: list[Entry] = []
        self._waiting, self._is_locked = 0, False
        self._told = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[Record]) -> Future[None]:
        """Queue records; the future is done once they are on disk, or holds CannotStore, Corrupt
        or Busy.

        Args:
            records: go to disk together, after all that was written before.

        Returns:
            A future that nobody can cancel: a client that hangs up does not stop the writing.

        Raises:
            CannotStore: the journal is closed.
        """
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # else a cancelled waiter would make `set_result` raise
        self._put(records, done)
        return done

    def hand_over(self, records: Sequence[Record]) -> None:
        """Queue records as `write` does, where nobody waits: what cannot be stored is told to `on_lost`."""
        self._put(records, None)

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self.is_open = False
            self._changed.notify()
        self._thread.join()

    def _put(self, records: Sequence[Record], done: Future[None] | None) -> None:
        with self._changed:
            if not self.is_open:
                raise CannotStore("the journal is closed, the server is stopping; try again in a moment")
            if done is None and self._is_locked and self._waiting >= MOST_WAITING:
                self._lose(records, "the database is locked, and as many wait as may")
                return
            self._entries.append((records, done))
            self._waiting += len(records) if done is None else 0
            self._is_awaited |= done is not None
            if self._is_awaited or len(self._entries) == 1:  # else the thread knows that there is something
                self._changed.notify()

    def _run(self) -> None:
        try:
            while entries := self._gathered():
                self._put_back(*self._commit(entries))
        finally:
            self.is_open = False  # whatever ended the thread, nothing more is taken

    def _gathered(self) -> list[Entry]:
        """What to write next, once there is something; nothing if the journal is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or not self.is_open)
            self._changed.wait_for(lambda: self._is_awaited or not self.is_open, GATHER_S)
            entries, self._entries, self._is_awaited, self._waiting = self._entries, [], False, 0
            return entries

    def _commit(self, entries: list[Entry]) -> tuple[list[Entry], Busy | None]:
        """Write entries; those that another process's lock left over, and what was said of it."""
        try:
            if any(records for records, _ in entries):  # else they wait for what came before them only
                self._store(entries)
        except Busy as error:  # each by itself would wait for the lock as long again
            return entries, error
        except Exception as error:  # also what a driver raises of its own: the thread must outlive it
            if len(entries) > 1:  # one bad entry must not fail its neighbours
                for place, entry in enumerate(entries):
                    left, busy = self._commit([entry])
                    if left:
                        return entries[place:], busy
                return [], None
            ((records, done),) = entries
            if done is None:
                self._lose(records, str(_refused(error)))
            else:
                done.set_exception(_refused(error))
            return [], None
        self._told = ""
        for _, done in entries:
            if done is not None:
                done.set_result(None)
        return [], None

    def _put_back(self, entries: Sequence[Entry], busy: Busy | None) -> None:
        """Tell those who wait that the database is locked; the rest is tried again before what came since."""
        kept, lost = list[Entry](), list[Entry]()
        with self._changed:
            self._is_locked = bool(entries)
            for entry in entries:
                if entry[1] is None:
                    has_room = self.is_open and self._waiting < MOST_WAITING
                    (kept if has_room else lost).append(entry)
                    self._waiting += len(entry[0]) if has_room else 0
            self._entries[:0] = kept
        for records, _ in lost:
            self._lose(records, str(busy))
        for _, done in entries:
            if done is not None:
                done.set_exception(busy)

    def _lose(self, records: Sequence[Record], why: str) -> None:
        if why != self._told:
            log.error("what was answered cannot be stored: %s", why)
            self._told = why
        self._on_lost(sum(isinstance(record, Prediction) for record in records))

    def _store(self, entries: list[Entry]) -> None:
        with self._vault.project.database.begin() as connection:
            take_write_lock(connection, self._vault)
            records = [record for group, _ in entries for record in group]
            tokens = [record for record in records if isinstance(record, VaultToken)]
            # No text has a token without a value.
            instead = store_tokens(connection, self._vault, tokens, of_service=True)
            if instead:
                records = [_with_tokens(record, instead) for record in records]
            predictions = [record for record in records if isinstance(record, Prediction)]
            store_predictions(connection, self._vault, predictions)  # nothing about one precedes it
            store_shadows(connection, self._vault, [one for one in records if isinstance(one, Shadow)])
            store_failures(connection, self._vault, [one for one in records if isinstance(one, Failure)])
            store_opinions(connection, self._vault, [one for one in records if isinstance(one, Opinion)])


def _with_tokens(record: Record, instead: Mapping[str, str]) -> Record:
    """A record with the tokens that stand for what its text held."""
    if isinstance(record, Prediction):
        return replace(record, text=settled(record.text, instead))
    if isinstance(record, Opinion) and record.comment is not None:
        return replace(record, comment=settled(record.comment, instead))
    return record


def _refused(error: Exception) -> MillwrightError:
    if isinstance(error, MillwrightError):  # the database says that the disk is full, or that it is damaged
        return error
    # SQLAlchemy's own text repeats the parameters, which are what a person wrote
    reason = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
    return CannotStore(f"the database refused to write: {reason}; free space and try again")
