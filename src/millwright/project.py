"""A project: a folder with a millwright.toml, and `.millwright/` beside it for what Millwright keeps.

desk/
├── millwright.toml     settings, yours to edit
├── reports/            HTML pages and pictures
└── .millwright/        store.db, datasets/, versions/, runs/, cache/
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from millwright.errors import Busy
from millwright.settings import FILENAME, Settings, read_settings
from millwright.store.database import open_database
from millwright.store.files import make_folder, storing

WAIT_S = 60.0  # for a training or an erasure to end, of what must not run beside one


@dataclass(frozen=True)
class Project:
    """A folder and its settings; the database opens at first use."""

    folder: Path
    settings: Settings

    @property
    def kept(self) -> Path:
        """Where Millwright keeps what it makes."""
        return self.folder / ".millwright"

    @property
    def reports(self) -> Path:
        """Where pages and pictures are written."""
        return self.folder / "reports"

    @cached_property
    def database(self) -> Engine:
        """The project's database."""
        engine = open_database(self.kept / "store.db")
        with suppress(PermissionError):  # of a folder that is another user's
            self.kept.chmod(0o700)  # rows of datasets may lie there in the clear
        return engine

    @contextmanager
    def lock(self, action: str, wait_s: float = 0) -> Iterator[None]:
        """Hold the project's lock for `action`; another process that holds it for `wait_s` raises Busy."""
        path = self.kept / f"{action}.lock"
        make_folder(path.parent)
        with storing(path):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=wait_s)
            except Timeout:  # a TimeoutError, hence an OSError: caught here, before `storing` takes it
                raise Busy(f"another `{action}` runs on {self.folder}; wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()


def open_project(folder: Path | str = ".") -> Project:
    """Open the project in `folder`, or in the nearest folder above it that has a millwright.toml.

    Args:
        folder: where to start looking.

    Returns:
        The project.

    Raises:
        NotFound: no millwright.toml there or above.
        BadSetting: it has an unknown key or a wrong value.
    """
    start = Path(folder).resolve()
    for candidate in (start, *start.parents):
        if (candidate / FILENAME).exists():
            return Project(candidate, read_settings(candidate / FILENAME))
    return Project(start, read_settings(start / FILENAME))
