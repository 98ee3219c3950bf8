import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select

from millwright.errors import Busy, CannotStore
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.vault import Vault, open_vault
from millwright.project import Project
from millwright.records import Failure, Opinion, Prediction
from millwright.serve import journal as journal_module
from millwright.serve.journal import Journal
from millwright.settings import Settings
from millwright.store.database import now, open_database
from millwright.store.tables import opinions, predictions
from tests.conftest import locked, read_predictions


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    opened = open_vault(Project(tmp_path, Settings()))
    assert opened.keys
    return opened


@pytest.fixture
def database(vault: Vault) -> Engine:
    return vault.project.database


def prediction(name: str, text: str = "card lost") -> Prediction:
    return Prediction(name, "v1", text, "card", 0.9, None, False, now())


def opinion(name: str, of: str) -> Opinion:
    return Opinion(name, of, "pin", None, None, now())


def failure() -> Failure:
    return Failure("f", 1, "champion", 0.5, "u", None, "RuntimeError", now())


def count(database: Engine, table: str = "opinions") -> int:
    with database.connect() as connection:
        chosen = {"opinions": opinions, "predictions": predictions}[table]
        return connection.scalar(select(func.count()).select_from(chosen)) or 0


def test_a_done_opinion_is_seen_by_another_connection(vault, database, tmp_path):
    journal = Journal(vault)
    journal.write([prediction("p")])
    journal.write([opinion("o", of="p")]).result(30)
    assert count(open_database(tmp_path / ".millwright" / "store.db")) == 1
    journal.close()


def test_an_opinion_never_precedes_its_prediction(vault, database):
    journal = Journal(vault)  # foreign keys are on: a wrong order would be refused
    done = []
    for number in range(300):
        journal.write([prediction(f"p{number}")])
        done.append(journal.write([opinion(f"o{number}", of=f"p{number}")]))
    for future in done:
        future.result(30)
    journal.close()
    assert count(database) == 300


def test_closing_writes_what_waits(vault, database):
    journal = Journal(vault)
    for number in range(200):
        journal.write([prediction(f"p{number}")])
    journal.close()
    assert count(database, "predictions") == 200


def test_many_entries_share_a_commit(vault, database):
    commits = []
    with database.begin() as blocking:  # a writer that holds the database while entries gather
        blocking.exec_driver_sql("CREATE TABLE held (n INTEGER)")
        journal = Journal(vault)
        event.listen(database, "commit", commits.append)
        done = [journal.write([prediction(f"p{number}")]) for number in range(50)]
    for future in done:
        future.result(30)
    journal.close()
    assert count(database, "predictions") == 50
    assert len(commits) <= 1 + 2  # the blocker's, the first entry's, all that gathered meanwhile


def test_what_nobody_waits_for_goes_to_disk_in_company_and_with_the_first_that_is_awaited(
    vault, database, monkeypatch
):
    monkeypatch.setattr(journal_module, "GATHER_S", 3_600)
    commits = []
    journal = Journal(vault)
    event.listen(database, "commit", commits.append)
    for number in range(50):
        journal.hand_over([prediction(f"p{number}")])
    journal.write([opinion("o", of="p49")]).result(30)
    assert (count(database, "predictions"), len(commits)) == (50, 1)
    journal.hand_over([prediction("last")])
    journal.close()
    assert (count(database, "predictions"), len(commits)) == (51, 2)


def test_what_nobody_waits_for_is_written_though_nothing_follows(vault, database):
    journal = Journal(vault)
    journal.hand_over([prediction("p")])
    end = time.monotonic() + 30
    while not count(database, "predictions") and time.monotonic() < end:
        time.sleep(0.01)
    assert count(database, "predictions") == 1
    journal.close()


def test_an_opinion_on_nothing_fails_alone(vault, database):
    journal = Journal(vault)
    journal.write([prediction("p")])
    with database.begin() as blocking:
        blocking.exec_driver_sql("CREATE TABLE held (n INTEGER)")
        lost, kept = journal.write([opinion("x", of="nobody")]), journal.write([opinion("o", of="p")])
    assert kept.result(30) is None
    with pytest.raises(CannotStore, match="the database refused to write: FOREIGN KEY"):
        lost.result(30)
    journal.close()
    assert count(database) == 1


def test_a_full_disk_is_told_to_the_waiter_and_the_journal_goes_on(vault, database):
    def limit(pages: int) -> None:
        with database.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    journal = Journal(vault)
    limit(1)  # the pool hands the journal the same connection
    with pytest.raises(CannotStore, match=r"database or disk is full; free space"):
        journal.write([prediction("p", text="x" * 1_000_000)]).result(30)
    limit(1_000_000)
    journal.write([prediction("q")]).result(30)
    journal.close()
    assert count(database, "predictions") == 1


def test_what_nobody_waits_for_is_written_in_its_turn_and_told_where_it_cannot_be(vault, database):
    lost = []
    journal = Journal(vault, lost.append)
    journal.hand_over([prediction("p")])
    journal.hand_over([prediction("q", text="half a pair: \ud800"), prediction("r"), failure()])
    journal.write([opinion("o", of="p")]).result(30)
    assert count(database, "predictions") == 1
    assert lost == [2]
    journal.close()
    with pytest.raises(CannotStore, match="the journal is closed"):
        journal.hand_over([prediction("s")])


def test_a_locked_database_is_told_to_waiters_and_the_rest_is_written_once_it_is_free(vault, database):
    lost = []
    journal = Journal(vault, lost.append)
    with locked(database):
        journal.hand_over([prediction("p")])
        with pytest.raises(Busy, match="another process writes"):
            journal.write([opinion("o", of="p")]).result(30)
        journal.hand_over([prediction("q")])
    journal.write([opinion("again", of="p"), opinion("other", of="q")]).result(30)
    journal.close()
    assert (count(database, "predictions"), count(database), lost) == (2, 2, [])


def test_while_the_database_is_locked_only_so_much_waits(vault, database, monkeypatch):
    monkeypatch.setattr(journal_module, "MOST_WAITING", 3)
    lost = []
    journal = Journal(vault, lost.append)
    with locked(database):
        for number in range(20):
            journal.hand_over([prediction(f"p{number}")])
        with pytest.raises(Busy):
            journal.write([opinion("o", of="p0")]).result(30)
    journal.close()
    assert 3 <= count(database, "predictions") == 20 - sum(lost) <= 6  # in hand and in the queue


def test_what_a_locked_database_refuses_while_the_journal_closes_is_counted(vault, database):
    lost = []
    journal = Journal(vault, lost.append)
    with locked(database):
        journal.hand_over([prediction("p"), prediction("q")])
        journal.close()
    assert (count(database, "predictions"), sum(lost)) == (0, 2)


def test_a_text_that_the_driver_cannot_encode_does_not_end_the_journal(vault, database):
    journal = Journal(vault)
    with pytest.raises(CannotStore, match="surrogates|UnicodeEncodeError"):
        journal.write([prediction("p", text="half a pair: \ud800")]).result(30)
    journal.write([prediction("q")]).result(30)
    journal.close()


def test_a_waiter_that_goes_away_does_not_end_the_journal(vault, database):
    async def scenario() -> None:
        journal = Journal(vault)
        with database.begin() as blocking:
            blocking.exec_driver_sql("CREATE TABLE held (n INTEGER)")
            waiting = asyncio.wrap_future(journal.write([prediction("p")]))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(asyncio.wrap_future(journal.write([opinion("o", of="p")])), 30)
        journal.close()

    asyncio.run(scenario())
    assert count(database) == 1


def test_a_refusal_does_not_repeat_what_a_user_wrote(vault, database):
    journal = Journal(vault)
    with pytest.raises(CannotStore) as refused:
        journal.write([opinion("o", of="my name is Ada")]).result(30)
    assert "Ada" not in str(refused.value)
    journal.close()


def test_a_closed_journal_refuses(vault, database):
    journal = Journal(vault)
    journal.close()
    with pytest.raises(CannotStore, match="the journal is closed"):
        journal.write([prediction("p")])


def test_a_running_journal_seals_with_a_new_key_once_the_old_one_was_destroyed(vault):
    def said(name: str, month: int) -> Prediction:
        hour = f"2026-{month:02}-01T00:00:00.000+00:00"
        return Prediction(name, "v1", f"text {name}", "card", 0.9, "ada", False, hour)

    journal = Journal(vault)
    journal.write([said("before", 1)]).result(30)
    other = open_vault(vault.project).keys  # as another process that erases ada
    other.destroy(make_tombstone(other, other.pseudonym("ada"), "2026-02-01T00:00:00.000+00:00"))
    journal.write([said("after", 3)]).result(30)
    journal.close()
    assert [row.text for row in read_predictions(open_vault(vault.project))] == ["text after"]
