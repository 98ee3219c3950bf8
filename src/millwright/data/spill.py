"""What preparation cannot hold in memory, as named streams of bytes in a folder that is removed at the end.

The folder lies in the project, since the streams hold people's texts. A killed run leaves its folder
behind; the next run removes it, which a lock tells from the folder of a run that still works.
"""

import io
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import polars as pl
from filelock import FileLock, Timeout

from millwright.store.files import storing

HELD_BYTES = 64_000_000
_LOCK = "running.lock"


class Spill:
    """Streams that only grow. They stay in memory until all of them together are over `held_bytes`."""

    def __init__(self, folder: Path, held_bytes: int) -> None:
        self.folder = folder
        self._held: defaultdict[str, list[bytes]] = defaultdict(list)
        self._size: defaultdict[str, int] = defaultdict(int)
        self._unwritten, self._held_bytes = 0, held_bytes

    def append(self, name: str, content: bytes) -> None:
        """Add bytes to the end of a stream."""
        if not content:
            return
        self._held[name].append(content)
        self._size[name] += len(content)
        self._unwritten += len(content)
        if self._unwritten > self._held_bytes:
            self._write_out()

    def append_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Add a frame to a stream of frames with the same columns."""
        if len(frame):
            buffer = io.BytesIO()
            frame.write_ipc_stream(buffer)
            self.append(name, len(buffer.getvalue()).to_bytes(8, "little"))
            self.append(name, buffer.getvalue())

    def take_frame(self, name: str) -> pl.DataFrame | None:
        """All frames of a stream as one, None if there are none; the stream is gone afterwards."""
        content = memoryview(self.take(name))
        frames, start = [], 0
        while start < len(content):
            size = int.from_bytes(content[start : start + 8], "little")
            start += 8 + size
            frames.append(pl.read_ipc_stream(io.BytesIO(content[start - size : start])))
        return pl.concat(frames) if frames else None

    def names(self, prefix: str) -> list[str]:
        """The streams whose names begin with `prefix`, sorted."""
        return sorted(name for name in self._size if name.startswith(prefix))

    def size(self, name: str) -> int:
        """How many bytes a stream has."""
        return self._size.get(name, 0)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """A stretch of a stream; nothing if nothing was appended to it."""
        stop = self.size(name) if stop is None else stop
        return self.gather(name, [start], [stop - start])

    def take(self, name: str) -> bytes:
        """A whole stream, which is gone afterwards."""
        content = self.read(name)
        self._unwritten -= sum(map(len, self._held.pop(name, ())))
        self._size.pop(name, None)
        self._path(name).unlink(missing_ok=True)
        return content

    def gather(self, name: str, starts: Sequence[int], sizes: Sequence[int]) -> bytes:
        """Stretches of a stream end to end."""
        if not self.size(name):
            return b""
        if not self._path(name).exists():
            if len(self._held[name]) > 1:
                self._held[name] = [b"".join(self._held[name])]
            (whole,) = self._held[name]
            view = memoryview(whole)
            stretches = [view[start : start + size] for start, size in zip(starts, sizes, strict=True)]
            return b"".join(stretches)
        if self._held[name]:
            self._write(name)
        with self._path(name).open("rb") as file:
            number = file.fileno()
            return b"".join([_read(number, start, size) for start, size in zip(starts, sizes, strict=True)])

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _write_out(self) -> None:
        for name in list(self._held):
            self._write(name)

    def _write(self, name: str) -> None:
        content = self._held.pop(name, [])
        with storing(self._path(name)), self._path(name).open("ab") as file:
            file.writelines(content)
        self._unwritten -= sum(map(len, content))


def _read(file: int, start: int, size: int) -> bytes:
    content = os.pread(file, size, start)
    while len(content) < size:  # one call reads 2 GB at most
        more = os.pread(file, size - len(content), start + len(content))
        assert more, "a stream is shorter than what was appended"
        content += more
    return content


@contextmanager
def spilling(kept: Path) -> Iterator[Spill]:
    """A spill in a folder of its own below `kept`; what killed runs left there is removed.

    Args:
        kept: the project's folder of things kept.

    Yields:
        The spill; its folder is removed at the end, whatever happens.

    Raises:
        CannotStore: the disk is full or read-only.
    """
    parent = kept / "spill"
    with storing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        # One at a time: a folder that was made and not locked yet would look abandoned.
        with FileLock(kept / "spill.lock"):
            for left in filter(Path.is_dir, parent.iterdir()):
                _remove_if_abandoned(left)
            folder = parent / uuid4().hex[:12]
            folder.mkdir(mode=0o700)
            lock = FileLock(folder / _LOCK)
            lock.acquire()
    try:
        yield Spill(folder, HELD_BYTES)
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        with FileLock(folder / _LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        pass  # its run still works
