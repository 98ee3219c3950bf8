"""Writes predictions and opinions in the order they came, many to a commit; acknowledged means on disk."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from sqlalchemy import Engine, insert
from sqlalchemy.exc import DBAPIError

from millwright.errors import CannotStore, MillwrightError
from millwright.records import Failure, Opinion, Prediction, Shadow
from millwright.store.tables import failures, opinions, predictions, shadows

Record = Prediction | Shadow | Failure | Opinion
Entry = tuple[Sequence[Record], Future[None]]
TABLES = {Prediction: predictions, Shadow: shadows, Failure: failures, Opinion: opinions}


class Journal:
    """One writer thread over a database. Invariant: entries are committed in the order of `write`."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[Record]) -> Future[None]:
        """Queue records; the future is done once they are on disk, or holds CannotStore or Corrupt.

        Args:
            records: go to disk together, after all that was written before.

        Returns:
            A future that nobody can cancel: a client that hangs up does not stop the writing.

        Raises:
            CannotStore: the journal is closed.
        """
        if not self._thread.is_alive():
            raise CannotStore("the journal is closed, the server is stopping; try again in a moment")
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # else a cancelled waiter would make `set_result` raise
        self._entries.put((records, done))
        return done

    def close(self) -> None:
        """Write what waits, then stop."""
        self._entries.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            entries = [self._entries.get()]
            while not self._entries.empty():
                entries.append(self._entries.get())
            is_open = None not in entries
            self._commit([entry for entry in entries if entry is not None])

    def _commit(self, entries: list[Entry]) -> None:
        try:
            with self._database.begin() as connection:
                for records, _ in entries:
                    for kind, table in TABLES.items():
                        values = [vars(record) for record in records if isinstance(record, kind)]
                        if values:
                            connection.execute(insert(table), values)
        except Exception as error:  # also what a driver raises of its own: the thread must outlive it
            if len(entries) > 1:  # one bad entry must not fail its neighbours
                for entry in entries:
                    self._commit([entry])
                return
            entries[0][1].set_exception(_refused(error))
            return
        for _, done in entries:
            done.set_result(None)


def _refused(error: Exception) -> MillwrightError:
    if isinstance(error, MillwrightError):  # the database says that the disk is full, or that it is damaged
        return error
    # SQLAlchemy's own text repeats the parameters, which are what a person wrote
    reason = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
    return CannotStore(f"the database refused to write: {reason}; free space and try again")
