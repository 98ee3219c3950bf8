"""Reversible tokens: what stands in texts, what rests sealed, who gets it back, and what outlives whom."""

import os
import re
import signal
import string
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, insert, select, text

from millwright.data.prepare import prepare
from millwright.errors import CannotStore, Corrupt
from millwright.modalities.text import bare, canonical
from millwright.privacy.audit import audit_file, read_audit
from millwright.privacy.detect import detector
from millwright.privacy.entities import ENTITIES
from millwright.privacy.mask import Masker, masker
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.retention import expire
from millwright.privacy.sealed import read_opinions
from millwright.privacy.tombstones import delete_said
from millwright.privacy.unmask import PLACED, tokens_in, unmask
from millwright.privacy.vault import Vault, open_vault, rotate_master_key
from millwright.privacy.vault_tokens import TokenBook, Value, _random_token, store_tokens
from millwright.project import Project, open_project
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.serve.journal import Journal
from millwright.settings import change_settings
from millwright.store.database import now
from millwright.store.tables import predictions, spent_tokens, vault_tokens
from tests.conftest import csv_of, full_disk, keep, read_predictions
from tests.desk import telling_rows
from tests.privacy.test_detect import TEXTS
from tests.privacy.test_mask import project_with

ALL = dict.fromkeys(ENTITIES, "tokenise")
WRITTEN = r"<EMAIL_ADDRESS:[a-z]{24}>"
few = settings(max_examples=30, derandomize=True, deadline=None, database=None)


@pytest.fixture
def project(tmp_path) -> Project:
    return project_with(tmp_path / "desk", policies=ALL)


def masked(project: Project, *texts: str, owner: str | None = None) -> list[str]:
    vault = open_vault(project)
    own = masker(project, reversible=True)
    return own.mask_all(texts, owners=[vault.pseudonym(owner)] * len(texts))


def back(project: Project, *texts: str) -> tuple[str, ...]:
    return unmask(open_vault(project), texts, by="test").texts


def count(project: Project, table=vault_tokens) -> int:
    with project.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_value_becomes_a_token_and_comes_back_character_by_character(project):
    given = "My name is Ada Lovelace, mail Ada@Example.COM or call 13800138000"
    (put,) = masked(project, given, owner="ada")
    assert "Ada" not in put
    assert "Example" not in put
    assert "138" not in put
    found = unmask(open_vault(project), [put], by="test")
    assert found.texts == (given,)
    assert (found.restored, found.erased, found.expired, found.unknown) == (3, (), (), ())


@few
@given(TEXTS)
def test_whatever_is_tokenised_comes_back_as_it_was(text):
    project = _shared()
    (put,) = masked(project, text, owner="ada")
    assert masked(project, put, owner="bob") == [put]
    assert detector().find(put) == detector().find(PLACED.sub(r"<\1>", put)) == ()
    assert back(project, put) == (text,)


_made: list[Project] = []


@pytest.fixture(autouse=True, scope="module")
def shared_project(tmp_path_factory):
    """One project for all examples of a property: they only add tokens."""
    _made.append(project_with(tmp_path_factory.mktemp("shared") / "desk", policies=ALL))
    yield
    _made.pop().database.dispose()


def _shared() -> Project:
    return _made[0]


def test_the_same_value_of_a_person_has_one_token_and_other_people_have_others(project):
    first, again = masked(project, "a@example.com", "say a@example.com", owner="ada")
    assert again == f"say {first}"
    assert masked(open_project(project.folder), "a@example.com", owner="ada") == [first]
    others = masked(project, "a@example.com", owner="bob"), masked(project, "a@example.com")
    assert len({first, *(one for (one,) in others)}) == 3
    assert masked(project, "A@example.com", owner="ada") != [first]  # else it would not come back as it was
    assert count(project) == 4


def test_a_token_is_24_random_letters_of_which_none_is_rare():
    tokens = [_random_token() for _ in range(2_000)]
    assert len(set(tokens)) == 2_000
    assert {len(token) for token in tokens} == {24}
    counts = Counter("".join(tokens))
    assert set(counts) == set(string.ascii_lowercase)
    # Of 48,000 letters each is 9/256 or 10/256 of them, give or take five standard deviations.
    for letter, count in counts.items():
        share = (10 if ord(letter) - ord("a") < 256 % 26 else 9) / 256
        assert abs(count - 48_000 * share) < 5 * (48_000 * share * (1 - share)) ** 0.5


def test_texts_are_compared_and_read_as_if_they_were_only_masked(project):
    plain = Masker(dict.fromkeys(ENTITIES, "mask")).mask("mail a@example.com or b@example.com, Ada Lovelace")
    (put,) = masked(project, "mail a@example.com or b@example.com, Ada Lovelace", owner="ada")
    assert bare(put) == plain
    assert canonical(put) == canonical(plain)
    assert (
        bare("<PERSON:5f0c3b0000000000> <b> <PERSON:short>") == "<PERSON:5f0c3b0000000000> <b> <PERSON:short>"
    )


def test_where_nothing_is_kept_nothing_is_stored_and_models_read_the_same(project):
    assert masker(project).mask("mail a@example.com") == "mail <EMAIL_ADDRESS>"
    assert count(project) == 0


def test_no_value_stands_in_the_clear_anywhere_on_the_disk(project):
    canary = "canary.of.ada@example.com"
    (put,) = masked(project, f"mail {canary}", owner="ada")
    assert back(project, put) == (f"mail {canary}",)
    for path in project.folder.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
    assert "canary" not in audit_file(project).read_text()
    with project.database.connect() as connection:
        (row,) = connection.execute(select(vault_tokens))
    assert "canary" not in repr(row)
    assert "canary" not in repr(Value("ada", "EMAIL_ADDRESS", canary))


def test_a_value_moved_to_another_token_or_person_does_not_open(project):
    (ada,) = masked(project, "a@example.com", owner="ada")
    (bob,) = masked(project, "b@example.com", owner="bob")
    a, b = tokens_in(ada).pop(), tokens_in(bob).pop()
    with project.database.begin() as connection:
        moved = text("UPDATE vault_tokens SET sealed = (SELECT sealed FROM vault_tokens WHERE token = :a) ")
        connection.execute(text(f"{moved} WHERE token = :b"), {"a": a, "b": b})
    with pytest.raises(Corrupt):
        back(project, bob)


def test_what_is_no_token_of_this_project_stays_and_is_named(project, tmp_path):
    other = project_with(tmp_path / "other", policies=ALL)
    (foreign,) = masked(other, "a@example.com")
    (own,) = masked(project, "b@example.com")
    wrong = own.replace("EMAIL_ADDRESS", "PERSON")
    given = f"{foreign} {own} {wrong} <EMAIL_ADDRESS:short> <EMAIL_ADDRESS>"
    found = unmask(open_vault(project), [given], by="test")
    assert found.texts == (f"{foreign} b@example.com {wrong} <EMAIL_ADDRESS:short> <EMAIL_ADDRESS>",)
    assert found.unknown == (foreign, wrong)


SIGNS = st.sampled_from(
    ["<", ">", ":", "EMAIL_ADDRESS", "PERSON", "a" * 24, "b" * 23, "<<", "\n", "é", "<TOKEN>"]
)


@few
@given(st.lists(SIGNS, max_size=14))
def test_the_parser_changes_nothing_but_known_tokens_however_they_are_cut_and_nested(signs):
    project = _shared()
    (known,) = masked(project, "c@example.com", owner="cyd")
    given = "".join(known if sign == "<TOKEN>" else sign for sign in signs)
    found = unmask(open_vault(project), [given], by="test")
    assert found.texts == (given.replace(known, "c@example.com"),)  # a plain replacement is the reference
    assert found.restored == given.count(known)
    assert set(found.unknown) <= {f"<{kind}:{'a' * 24}>" for kind in ("EMAIL_ADDRESS", "PERSON")}


def test_what_a_value_says_is_not_read_as_a_token(project):
    vault = open_vault(project)
    (secret,) = masked(project, "a@example.com", owner="ada")
    inner = Value(vault.pseudonym("bob"), "PERSON", f"see {secret}")
    outer = TokenBook(vault).kept([inner])[inner]
    found = unmask(vault, [f"<PERSON:{outer}>"], by="test")
    assert found.texts == (f"see {secret}",)


def test_each_use_stands_in_the_audit_log_with_who_how_many_and_whose(project):
    vault = open_vault(project)
    (ada,) = masked(project, "a@example.com", owner="ada")
    (bob,) = masked(project, "b@example.com", owner="bob")
    unmask(vault, [ada, "nothing"], by="key 4f2a")
    unmask(vault, [ada, f"{bob} {bob} <PERSON:{'q' * 24}>"], by="uid 7")
    unmask(vault, ["nothing"], by="uid 7")
    one, two, none = read_audit(project)[-3:]
    whose = {name: vault.pseudonym(name) for name in ("ada", "bob")}
    assert (one.action, one.subject) == ("unmasked", whose["ada"])
    assert one.details == {
        "by": "key 4f2a", "texts": 2, "values": 1, "erased": 0, "expired": 0, "unknown": 0,
        "subjects": whose["ada"],
    }  # fmt: skip
    assert two.details["subjects"] == " ".join(sorted(whose.values()))
    assert (two.details["values"], two.details["unknown"], two.subject) == (3, 1, None)
    assert (none.details["values"], none.details["subjects"]) == (0, "")
    assert "example.com" not in audit_file(project).read_text()


def test_without_a_line_in_the_log_nobody_gets_an_answer(project):
    (put,) = masked(project, "a@example.com", owner="ada")
    vault = open_vault(project)
    _ = vault.keys
    size = audit_file(project).stat().st_size if audit_file(project).exists() else 0
    with full_disk(size), pytest.raises(CannotStore):
        unmask(vault, [put], by="test")


def test_rotation_of_the_master_key_leaves_tokens_readable(project):
    (put,) = masked(project, "a@example.com", owner="ada")
    rotate_master_key(project)
    assert back(open_project(project.folder), put) == ("a@example.com",)


def erase_rows(project: Project, person: str) -> Vault:
    """What an erasure does first."""
    vault = open_vault(project)
    pseudonym = vault.keys.pseudonym(person)
    stone = make_tombstone(vault.keys, pseudonym, now())
    vault.keys.destroy(stone)
    delete_said(project.database, pseudonym, stone["erased_at"])
    return vault


def test_an_erasure_destroys_values_and_tokens_say_so_afterwards(project):
    (ada,) = masked(project, "a@example.com", owner="ada")
    (bob,) = masked(project, "b@example.com", owner="bob")
    vault = erase_rows(project, "ada")
    found = unmask(vault, [f"{ada} {bob}"], by="test")
    assert found.texts == (f"{ada} b@example.com",)
    assert (found.erased, found.unknown) == ((ada,), ())
    with project.database.connect() as connection:
        (left,) = connection.execute(select(spent_tokens))
    assert tuple(left) == (tokens_in(ada).pop(), "erased")  # nothing tells whose it was
    (again,) = masked(project, "a@example.com", owner="ada")
    assert again != ada  # what she says from now on does not open what was said before


def test_a_key_that_is_gone_before_its_rows_reads_as_erased(project):
    (ada,) = masked(project, "a@example.com", owner="ada")
    vault = open_vault(project)
    vault.keys.destroy(make_tombstone(vault.keys, vault.keys.pseudonym("ada"), now()))
    assert unmask(vault, [ada], by="test").erased == (ada,)


def test_a_server_that_remembers_tokens_forgets_them_with_the_keys(project):
    vault = open_vault(project)
    book, value = TokenBook(vault), Value(vault.pseudonym("ada"), "EMAIL_ADDRESS", "a@example.com")
    first = book.taken([value])[value]
    assert book.taken([value])[value].token == first.token  # though nothing is on the disk yet
    assert count(project) == 0
    erase_rows(project, "ada")
    assert book.taken([value])[value].token != first.token


def test_a_token_outlives_the_failure_of_the_text_that_brought_it(project):
    """Each text brings its tokens along: another one may have been lost that had the same one."""
    vault, own = open_vault(project), masker(project, reversible=True)
    journal = Journal(vault)

    def answered(name: str) -> Future[None]:
        taken: dict = {}
        (text,) = own.mask_all(["mail a@example.com"], owners=[vault.pseudonym("ada")], taken=taken)
        given = Prediction(name, "v1", text, "pin", 0.5, "ada", False, HOURS[0])
        return journal.write([*taken.values(), given])

    vault.keys.data_key(vault.keys.pseudonym("ada"))
    assert count(project) == 0
    with full_disk(0):
        assert isinstance(answered("p1").exception(30), CannotStore)
    assert (count(project), count(project, predictions)) == (0, 0)
    answered("p2").result(30)
    with pytest.raises(CannotStore):
        answered("p2").result(30)  # a second one of that name
    journal.close()
    (kept,) = read_predictions(vault)
    assert back(project, kept.text) == ("mail a@example.com",)
    assert count(project) == 1


def test_a_restored_backup_brings_no_value_back(project):
    (ada,) = masked(project, "a@example.com", owner="ada")
    with project.database.connect() as connection:
        before = [dict(row._mapping) for row in connection.execute(select(vault_tokens))]
    erase_rows(project, "ada")
    with project.database.begin() as connection:
        connection.execute(insert(vault_tokens), before)
    vault = open_vault(open_project(project.folder))
    assert unmask(vault, [ada], by="test").erased == (ada,)
    assert count(project) == 0


HOURS = [f"2026-0{month}-01T00:00:00.000+00:00" for month in range(1, 7)]


def test_the_time_of_a_token_is_over_with_what_holds_it(tmp_path):
    made = project_with(tmp_path / "desk", policies=ALL)
    privacy = {"keep_service_days": 40, "keep_training_days": 100}
    project = Project(made.folder, change_settings(made.settings, "privacy", **privacy))
    vault, own = open_vault(project), masker(project, reversible=True)
    put = {}
    for month, hour in enumerate(HOURS, start=1):
        taken: dict = {}
        owner = vault.pseudonym("ada")
        (said,) = own.mask_all([f"m{month}@example.com all@example.com"], owners=[owner], taken=taken)
        put[month] = said.split()
        with project.database.begin() as connection:
            used = [replace(token, created_at=hour) for token in taken.values()]
            store_tokens(connection, vault, used, of_service=True)
        name = f"p{month}"
        keep(
            project,
            Prediction(name, "v1", said, "pin", 0.5, "ada", False, hour),
            Opinion(name, name, "card", None, None, hour),
            ProposedRow(name, name, said, "card", "ada", "train", 2),
        )
    (filed,) = masked(project, "file@example.com", owner="ada")
    day = "2026-06-30T00:00:00.000+00:00"
    # 40 days before is 21 May, 100 days before is 22 March: rows hold April's and May's
    assert expire(project, dry_run=True, hour=day).tokens == 3
    assert expire(project, hour=day).tokens == 3
    found = unmask(open_vault(project), [put[month][0] for month in put] + [put[1][1], filed], by="test")
    assert found.expired == tuple(put[month][0] for month in (1, 2, 3))
    assert found.texts[3:] == (
        *(f"m{n}@example.com" for n in (4, 5, 6)),
        "all@example.com",
        "file@example.com",
    )
    assert expire(project, hour=day).tokens == 0


def test_a_token_of_the_service_that_stands_in_a_file_stays(tmp_path):
    """What was exported and comes back as rows of a file is bound by no time."""
    made = project_with(tmp_path / "desk", policies=ALL)
    project = Project(made.folder, change_settings(made.settings, "privacy", keep_service_days=40))
    vault, own = open_vault(project), masker(project, reversible=True)
    texts = {}
    for name in ("filed", "refused", "gone"):
        taken: dict = {}
        (texts[name],) = own.mask_all([f"please mail {name}@example.com"], taken=taken)
        with project.database.begin() as connection:
            used = [replace(token, created_at=HOURS[0]) for token in taken.values()]
            store_tokens(connection, vault, used, of_service=True)
    rows = [(texts["filed"], "card"), (texts["refused"], "")]  # the second is no row of a dataset
    (project.folder / "rows.csv").write_text(csv_of([*rows, *telling_rows(30)], ("text", "label")))
    prepare(Project(project.folder, change_settings(project.settings, "data", files=["rows.csv"])))
    assert expire(project, hour=HOURS[5]).tokens == 2
    assert back(project, texts["filed"]) == ("please mail filed@example.com",)
    assert unmask(open_vault(project), list(texts.values()), by="test").expired == tuple(
        re.findall(WRITTEN, texts["refused"] + texts["gone"])
    )


AT_ONCE = """
import sys
from millwright.privacy.mask import masker
from millwright.privacy.vault import open_vault
from millwright.project import open_project
from millwright.records import Opinion, Prediction
from millwright.serve.journal import Journal
from millwright.store.database import now

project, name = open_project(sys.argv[1]), sys.argv[2]
vault, own, taken = open_vault(project), masker(project, reversible=True), {}
owner = vault.pseudonym("ada")
texts = own.mask_all(["mail a@example.com", "or b@example.com"], owners=[owner, owner], taken=taken)
print("masked", flush=True)
sys.stdin.readline()
journal = Journal(vault)
given = Prediction(name, "v1", texts[0], "pin", 0.5, "ada", False, now())
said = Opinion(name, name, None, None, texts[1], now())
journal.write([*taken.values(), given, said]).result(60)
journal.close()
"""


def test_two_processes_that_meet_a_value_at_once_give_it_one_token(project):
    open_vault(project).keys.data_key(open_vault(project).pseudonym("ada"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(project.folder), name],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("p1", "p2")
    ]  # fmt: skip
    assert [process.stdout.readline() for process in processes] == ["masked\n"] * 2  # nothing is on disk yet
    assert count(project) == 0
    for process in processes:
        process.communicate("go\n")
    assert count(project) == 2
    vault = open_vault(project)
    for read, whole in (
        ([one.text for one in read_predictions(vault)], "mail a@example.com"),
        ([one.comment for one in read_opinions(vault)], "or b@example.com"),
    ):
        assert len(read) == 2
        assert len(set(read)) == 1
        assert back(project, read[0]) == (whole,)
    assert masked(project, "a@example.com", owner="ada") == [read_predictions(vault)[0].text[5:]]


KILLED = """
import os, signal, sys
from millwright.privacy import mask
from millwright.project import open_project
from millwright.store.tables import predictions
from millwright.privacy.vault import open_vault
from tests.conftest import keep
from millwright.records import Prediction

project = open_project(sys.argv[1])
own = mask.masker(project, reversible=True)
for number in range(10_000):
    texts = own.mask_all([f"user{number}-{n}@example.com" for n in range(20)])
    keep(project, *(Prediction(f"{number}-{n}", "v1", text, "pin", 0.5, None, False, "2026-01-01")
                    for n, text in enumerate(texts)))
    print(number, flush=True)
"""


def test_after_a_kill_every_token_that_stands_anywhere_has_its_value(project):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    command = [sys.executable, "-c", KILLED, str(project.folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    vault = open_vault(open_project(project.folder))
    _ = vault.keys
    said = {one.id: one.text for one in read_predictions(vault)}
    assert len(said) >= 100
    found = unmask(vault, list(said.values()), by="test")
    assert found.unknown == ()
    assert found.texts == tuple(f"user{name}@example.com" for name in said)
    with project.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(predictions)) == len(said)


def test_a_batch_is_one_commit(project):
    commits = []
    event.listen(project.database, "commit", lambda connection: commits.append(1))
    put = masked(project, *(f"user{number}@example.com" for number in range(1_200)), owner="ada")
    assert len(commits) == 1
    assert count(project) == len(set(put)) == 1_200
    commits.clear()
    assert masked(project, *(f"user{number}@example.com" for number in range(1_200)), owner="ada") == put
    assert commits == []  # all are known: nothing is written
