"""Opens a project's database: SQLite in WAL mode by default, migrated to the newest shape."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event

from millwright.errors import Busy, CannotStore, Corrupt, MillwrightError
from millwright.store.files import make_folder, storing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent / "migrations"
OLDEST_SQLITE = (3, 38, 0)  # drops columns, makes JSON
AT_ONCE = 500  # values in a statement
SMALLEST_BYTES = 512  # a page of SQLite has at least so many
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
UNWRITABLE = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


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
        Corrupt: it is not a SQLite database, is damaged, or a newer Millwright made it. The engine
            raises this and CannotStore too, when damage or a full disk shows later.
        Busy: another process wrote to it for longer than that.
        MillwrightError: this Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise MillwrightError(
            f"SQLite {sqlite3.sqlite_version} is too old, a migration needs 3.38; use a Python with a "
            "newer one"
        )
    make_folder(path.parent)
    lock = FileLock(f"{path}.lock")
    engine = connect_to(path)
    with storing(path), lock:  # processes that open a new database at once migrate it in turn
        is_new = not path.exists()
        if path.is_file() and path.stat().st_size < SMALLEST_BYTES:  # SQLite would begin it anew
            raise Corrupt(
                f"{path} is truncated to {path.stat().st_size} bytes; restore it from a backup, or delete it"
            )
        try:
            _migrate(engine, path)
        except BaseException:
            engine.dispose()
            if is_new:  # a full disk would leave an empty file, which looks like one that lost its content
                _remove(path)
            raise
    return engine


def connect_to(path: Path) -> Engine:
    """An engine over a SQLite file as it is, with durable commits and errors of ours; see `open_database`."""
    # Any number of connections: writers that wait for one another must not keep readers from theirs.
    engine = create_engine(URL.create("sqlite", database=str(path)), max_overflow=-1)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "handle_error", _refusing(path))
    return engine


def scrub(engine: Engine) -> None:
    """Write a database anew without what was deleted from it, and empty its log.

    Args:
        engine: over the database.

    Raises:
        CannotStore: the disk has no room for a second copy.
        Busy: another process writes to it.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM")
    empty_log(engine)


def empty_log(engine: Engine) -> None:
    """Move what the write-ahead log holds into the file and empty the log, so that no old page stays in it.

    Args:
        engine: over the database.

    Raises:
        Busy: another process reads from the log for longer than the busy timeout.
    """
    with engine.connect() as connection:
        is_busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
    if is_busy:
        raise Busy(
            f"another process reads {engine.url.database}, so deleted rows would stay in its log; run the "
            "same command again"
        )


def in_parts(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in lists for one statement each; SQLite bounds how many values one may have."""
    whole = list(names)
    return (whole[start : start + AT_ONCE] for start in range(0, len(whole), AT_ONCE))


def now() -> str:
    """The hour in UTC, to the millisecond, as it stands in every table."""
    return hour_of(datetime.now(UTC))


def hour_of(moment: datetime) -> str:
    """A moment in UTC as it stands in every table, where the order of texts is that of hours."""
    return moment.isoformat(timespec="milliseconds")


def time_between(start: str, end: str) -> timedelta:
    """How long it is from one hour of a table to another; below 0 if the second comes first."""
    return datetime.fromisoformat(end) - datetime.fromisoformat(start)


def _check_length(connection: Connection, path: Path) -> None:
    """Refuse a file that ends within its last page, which SQLite would fill up with zeros.

    The file itself is never opened here: closing it would drop the locks that this process holds on it.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        return  # then the last pages may still be in the log
    pages, page_bytes = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in ("page_count", "page_size")
    )
    have_bytes = path.stat().st_size
    if have_bytes < pages * page_bytes:
        raise Corrupt(
            f"{path} is truncated, it has {have_bytes:,} bytes of {pages * page_bytes:,}; restore it from a "
            "backup"
        )


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    pragmas = ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    for pragma in (*pragmas, "secure_delete=ON"):  # what is deleted is overwritten
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _refusing(path: Path) -> Callable[[ExceptionContext], None]:
    """Make what SQLite says of a full disk or of damage an error of ours, whenever it says so."""

    def refuse(context: ExceptionContext) -> None:
        """Raise what the error means to a user, if it means anything to one."""
        error = context.original_exception
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits are details
        if code in DAMAGED:
            raise Corrupt(f"{path} is damaged ({error}); restore it from a backup") from error
        if code in UNWRITABLE:
            raise CannotStore(
                f"cannot open or write {path}: {error}; free space or make the folder writable"
            ) from error
        if code in LOCKED:
            raise Busy(f"another process writes to {path} ({error}); try again when it is done") from error

    return refuse


def _config() -> "Config":
    from alembic.config import Config  # here, since not every verb opens a database

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _scripts() -> "ScriptDirectory":
    """The migrations; read once, since to look at them takes longer than to open a database."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _migrate(engine: Engine, path: Path) -> None:
    from alembic import command
    from alembic.runtime.migration import MigrationContext

    config, scripts = _config(), _scripts()
    with engine.connect() as connection:
        _check_length(connection, path)
        have = MigrationContext.configure(connection).get_current_revision()
        if have == scripts.get_current_head():
            return
        if have is not None and have not in {script.revision for script in scripts.walk_revisions()}:
            raise Corrupt(f"the database has revision {have!r}, made by a newer Millwright; upgrade with pip")
        connection.rollback()
        driver: Any = connection.connection.driver_connection
        # By itself the driver opens no transaction for CREATE TABLE, and half a migration would stay.
        driver.isolation_level = None
        try:
            with connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        finally:
            driver.isolation_level = ""
