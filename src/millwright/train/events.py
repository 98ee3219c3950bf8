"""A run's curves as a TensorBoard event file.

Written by the thread that trains: the writer that tensorboardX offers has a thread of its own, which dies
of a full disk, and then training waits for it for ever.
"""

import time
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from millwright.store.files import storing


class Events:
    """An open event file; use as a context. Invariant: what was flushed can be read by TensorBoard."""

    def __init__(self, run: Path) -> None:
        self._run = run
        with storing(run):
            run.mkdir(parents=True, exist_ok=True)
            # Each opening has a file of its own, also two within the second that names it.
            self._file = EventsWriter(str(run / "events"), f".{uuid4().hex[:8]}")

    def __enter__(self) -> "Events":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storing(self._run):
            self._file.close()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to the curve `name`; it is on disk after the next flush or the end.

        Args:
            name: of the curve, as in "train/loss".
            value: what was measured.
            step: of training.

        Raises:
            CannotStore: the disk is full.
        """
        event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
        with storing(self._run):
            self._file.write_event(event)

    def flush(self) -> None:
        """Write what waits to disk; CannotStore if it is full."""
        with storing(self._run):
            self._file.flush()
