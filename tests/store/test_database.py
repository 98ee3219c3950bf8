import sqlite3
import subprocess
import sys
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from millwright.errors import Busy, CannotStore, Corrupt, MillwrightError
from millwright.store.database import empty_log, now, open_database, scrub, time_between
from millwright.store.tables import datasets, metadata, opinions
from tests.conftest import full_disk

INSERT_AND_DIE = """
import os, sys
from pathlib import Path
from sqlalchemy import insert
from millwright.store.database import open_database
from millwright.store.tables import datasets
with open_database(Path(sys.argv[1])).begin() as connection:
    connection.execute(insert(datasets).values(id="kept", created_at="now", rows=1))
open_connection = open_database(Path(sys.argv[1])).connect()
open_connection.execute(insert(datasets).values(id="not committed", created_at="now", rows=1))
os.kill(os.getpid(), 9)
"""

OPEN_ON_SIGNAL = """
import sys
from pathlib import Path
from millwright.store.database import open_database
print("ready", flush=True)
sys.stdin.readline()
open_database(Path(sys.argv[1]))
"""


def pragma(engine, name):
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def ids(engine):
    with engine.connect() as connection:
        return connection.execute(select(datasets.c.id)).scalars().all()


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("2026-03-28T23:30:00.000+00:00", "2026-03-29T01:00:00.000+00:00", 1.5),
        ("2026-03-01T00:00:00+02:00", "2026-02-28T22:00:00.000+00:00", 0.0),  # zones are seen
        ("2026-03-02T00:00:00.000+00:00", "2026-03-01T00:00:00.000+00:00", -24.0),
    ],
)
def test_the_time_between_two_hours(start, end, hours):
    assert time_between(start, end) == timedelta(hours=hours)


def test_migrations_lead_to_the_tables_as_declared(tmp_path):
    with open_database(tmp_path / "store.db").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_database_is_in_wal_mode_durable_and_checks_foreign_keys(tmp_path):
    engine = open_database(tmp_path / "store.db")
    assert pragma(engine, "journal_mode") == "wal"
    assert pragma(engine, "synchronous") == 2  # FULL
    assert pragma(engine, "foreign_keys") == 1
    assert pragma(engine, "busy_timeout") == 30_000


def test_an_opinion_of_no_prediction_is_refused(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(opinions).values(id="o", prediction="nowhere", created_at=now()))


def test_opening_again_keeps_the_rows(tmp_path):
    with open_database(tmp_path / "store.db").begin() as connection:
        connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=3))
    assert ids(open_database(tmp_path / "store.db")) == ["d-1"]


def test_what_was_committed_survives_a_kill_and_what_was_not_is_gone(tmp_path):
    path = tmp_path / "store.db"
    assert subprocess.run([sys.executable, "-c", INSERT_AND_DIE, str(path)], check=False).returncode == -9
    assert ids(open_database(path)) == ["kept"]


def test_processes_that_open_a_new_database_at_once_all_succeed(tmp_path):
    command = [sys.executable, "-c", OPEN_ON_SIGNAL, str(tmp_path / "store.db")]
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], errors


@pytest.mark.parametrize("name", ["100 %", "what? yes", "a#b", "über", "a b"])
def test_the_database_lies_where_it_was_put_whatever_the_folder_is_called(tmp_path, name):
    open_database(tmp_path / name / "store.db").dispose()
    assert (tmp_path / name / "store.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_database_of_a_newer_millwright_is_refused_and_left_alone(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Corrupt, match=r"revision '9999', made by a newer Millwright; upgrade"):
        open_database(tmp_path / "store.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_what_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "store.db"
    path.write_text("text,label\n" * 500)
    with pytest.raises(Corrupt, match="is not a database"):
        open_database(path)
    assert path.read_text() == "text,label\n" * 500


def test_a_file_where_the_folder_must_be_cannot_store(tmp_path):
    (tmp_path / "kept").write_text("x")
    with pytest.raises(CannotStore, match="cannot write"):
        open_database(tmp_path / "kept" / "store.db")


def test_a_folder_where_the_file_must_be_cannot_store(tmp_path):
    (tmp_path / "store.db").mkdir()
    with pytest.raises(CannotStore, match="cannot open"):
        open_database(tmp_path / "store.db")


def filled(path):
    """A database of a dozen pages, closed, and its bytes."""
    engine = open_database(path)
    with engine.begin() as connection:
        for number in range(300):
            connection.execute(insert(datasets).values(id=f"d-{number:090d}", created_at=now(), rows=1))
    engine.dispose()  # the last connection empties the log into the file
    return path.read_bytes()


def read_all(path):
    with open_database(path).connect() as connection:
        return connection.execute(select(datasets).order_by(datasets.c.created_at)).all()


@pytest.mark.parametrize("keep", [0, 1, 50, 100, 4_096, 8_000, 0.25, 0.5, 0.9, -1, -100, -5_000])
def test_a_truncated_database_is_refused_before_it_is_used_and_left_alone(tmp_path, keep):
    content = filled(tmp_path / "store.db")
    cut = content[: int(keep * len(content)) if isinstance(keep, float) else keep]
    (tmp_path / "store.db").write_bytes(cut)
    with pytest.raises(Corrupt, match=r"store\.db is (truncated|damaged).*; restore it from a backup"):
        read_all(tmp_path / "store.db")
    assert (tmp_path / "store.db").read_bytes() == cut


@pytest.mark.parametrize("whole", [100, 4_096, 20_000])
def test_damage_within_is_refused_when_it_is_met(tmp_path, whole):
    content = filled(tmp_path / "store.db")
    noise = bytes(range(1, 255)) * (len(content) // 254 + 1)
    (tmp_path / "store.db").write_bytes(content[:whole] + noise[: len(content) - whole])
    with pytest.raises(Corrupt, match=r"store\.db is damaged \(.*\); restore it from a backup"):
        read_all(tmp_path / "store.db")


@pytest.mark.parametrize("most_bytes", [0, 4_096, 30_000, 50_000, 70_000])
def test_a_first_migration_that_a_full_disk_cut_short_can_be_repeated(tmp_path, most_bytes):
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        open_database(tmp_path / "store.db")
    assert not (tmp_path / "store.db").exists()
    assert len(inspect(open_database(tmp_path / "store.db")).get_table_names()) == len(metadata.tables) + 1


def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(tmp_path):
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as own:
        own.execute("CREATE TABLE turns (theirs)")  # the last table that the migration makes
    own.close()
    before = path.read_bytes()
    for _ in range(2):  # the second time it says the same, not that an earlier table is there already
        with pytest.raises(OperationalError, match="table turns already exists"):
            open_database(path)
    with sqlite3.connect(path) as own:
        assert own.execute("SELECT name FROM sqlite_schema").fetchall() == [("turns",)]
    own.close()
    assert len(path.read_bytes()) == len(before)


def test_connections_write_in_transactions_after_a_migration(tmp_path):
    engine = open_database(tmp_path / "store.db")

    def give_up() -> None:
        with engine.begin() as connection:
            connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=1))
            raise ZeroDivisionError

    pytest.raises(ZeroDivisionError, give_up)
    assert ids(engine) == []


def test_a_disk_that_fills_up_later_is_told_and_what_was_there_stays(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with engine.begin() as connection:
        connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=1))
    with full_disk(20_000), pytest.raises(CannotStore, match=r"store\.db: disk I/O error; free space"):  # noqa: SIM117
        with engine.begin() as connection:
            connection.execute(insert(datasets).values(id="d-2" * 9_000, created_at=now(), rows=1))
    assert ids(engine) == ["d-1"]
    with engine.begin() as connection:
        connection.execute(insert(datasets).values(id="d-3", created_at=now(), rows=1))
    assert ids(engine) == ["d-1", "d-3"]


def test_a_refusal_never_repeats_what_was_to_be_written(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with full_disk(20_000), pytest.raises(CannotStore) as raised, engine.begin() as connection:
        connection.execute(insert(datasets).values(id="my secret" * 5_000, created_at=now(), rows=1))
    assert "secret" not in str(raised.value)


def test_a_database_that_another_process_keeps_locked_is_busy(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with sqlite3.connect(tmp_path / "store.db") as other:
        other.execute("BEGIN IMMEDIATE")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=1")
            with pytest.raises(Busy, match="another process writes to .* try again"):
                connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=1))
        other.rollback()
    other.close()


def test_another_error_of_the_database_stays_what_it_is(tmp_path):
    with (
        pytest.raises(OperationalError, match="no such table"),
        open_database(tmp_path / "a").connect() as one,
    ):
        one.execute(text("SELECT * FROM nowhere"))


def test_two_writers_wait_for_one_another(tmp_path):
    first, second = open_database(tmp_path / "store.db"), open_database(tmp_path / "store.db")
    for number in range(20):
        with (first if number % 2 else second).begin() as connection:
            connection.execute(insert(datasets).values(id=str(number), created_at=now(), rows=1))
    with first.connect() as connection:
        assert connection.execute(select(func.count()).select_from(datasets)).scalar_one() == 20


def test_hours_are_utc_and_sort_as_text():
    first, second = now(), now()
    assert first.endswith("+00:00")
    assert first <= second
    assert len(first) == len("2026-01-01T00:00:00.000+00:00")


def test_a_scrubbed_database_has_no_byte_of_what_was_deleted(tmp_path):
    engine = open_database(tmp_path / "store.db")
    with engine.begin() as connection:
        for number in range(200):
            connection.execute(insert(datasets).values(id=f"canary {number}", created_at=now(), rows=1))
    with engine.begin() as connection:
        connection.execute(datasets.delete())
    scrub(engine)
    assert [path for path in tmp_path.iterdir() if b"canary" in path.read_bytes()] == []


def test_a_reader_that_keeps_old_pages_in_the_log_is_told(tmp_path):
    engine = open_database(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM datasets").fetchall()
    with engine.begin() as connection:
        connection.execute(insert(datasets).values(id="d-1", created_at=now(), rows=1))
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(Busy, match="another process reads .* run the same command again"):
        empty_log(engine)
    other.close()
    empty_log(engine)


def test_a_sqlite_that_is_too_old_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(MillwrightError, match=r"is too old, a migration needs 3\.38; use a Python"):
        open_database(tmp_path / "kept" / "store.db")
    assert list(tmp_path.iterdir()) == []
