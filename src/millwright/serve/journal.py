"""Writes predictions and opinions in the order they came, many to a commit; acknowledged means on disk."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict

from sqlalchemy import Engine, insert
from sqlalchemy.exc import SQLAlchemyError

from millwright.errors import CannotStore
from millwright.records import Opinion, Prediction
from millwright.store.tables import opinions, predictions

Entry = tuple[Sequence[Prediction | Opinion], Future[None]]


class Journal:
    """One writer thread over a database. Invariant: entries are committed in the order of `write`."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[Prediction | Opinion]) -> Future[None]:
        """Queue records; the future is done once they are on disk, or holds CannotStore."""
        done: Future[None] = Future()
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
                    for kind, table in ((Prediction, predictions), (Opinion, opinions)):
                        values = [asdict(record) for record in records if isinstance(record, kind)]
                        if values:
                            connection.execute(insert(table), values)
        except SQLAlchemyError as error:
            if len(entries) > 1:  # one bad entry must not fail its neighbours
                for entry in entries:
                    self._commit([entry])
                return
            reason = str(getattr(error, "orig", error))
            entries[0][1].set_exception(
                CannotStore(f"the database refused to write: {reason}; free space and try again")
            )
            return
        for _, done in entries:
            done.set_result(None)
