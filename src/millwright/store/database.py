"""Opens a project's database: SQLite in WAL mode by default, migrated to the newest shape."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from millwright.errors import CannotStore, Corrupt
from millwright.store.files import storing

MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(path: Path) -> Engine:
    """Open the SQLite database at `path`, made and migrated where needed.

    Commits are durable: WAL with `synchronous=FULL`, so what was acknowledged survives a kill and a
    loss of power. Writers wait up to 30 s for one another.

    Args:
        path: the database file.

    Returns:
        An engine whose connections are set up that way.

    Raises:
        CannotStore: the file cannot be made or written.
        Corrupt: it is not a SQLite database, or a newer Millwright made it.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _set_up)
    try:
        with storing(path), lock:  # processes that open a new database at once migrate it in turn
            _migrate(engine)
    except OperationalError as error:
        raise CannotStore(
            f"cannot open {path}: {error.orig}; free space or make the folder writable"
        ) from error
    except DatabaseError as error:
        raise Corrupt(f"{path} is not a database: {error.orig}; restore it from a backup") from error
    return engine


def now() -> str:
    """The hour in UTC, to the millisecond, as it stands in every table."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        have = MigrationContext.configure(connection).get_current_revision()
        if have == scripts.get_current_head():
            return
        if have is not None and have not in {script.revision for script in scripts.walk_revisions()}:
            raise Corrupt(f"the database has revision {have!r}, made by a newer Millwright; upgrade with pip")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
