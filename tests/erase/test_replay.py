"""A restored backup does not bring an erased person back."""

import gc
import shutil

import pytest

from millwright.data.prepare import prepare
from millwright.erase.erasure import erase, erase_all
from millwright.erase.found import all_datasets
from millwright.erase.replay import replay
from millwright.errors import BadInput, Corrupt, NotFound
from millwright.privacy.audit import read_audit
from millwright.privacy.consent import HELD, ConsentGiven, grant, restrict, withdraw
from millwright.privacy.receipts import make_tombstone, write_receipt
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.registry.versions import CHAMPION, alias, list_versions
from millwright.settings import Settings
from millwright.store.database import now
from tests.conftest import read_predictions
from tests.desk import opine
from tests.erase.people import plan_erasure

KEYS = ("keys.db", "keys.db-wal", "keys.db-shm")


def restored(desk: Project, backup, *, with_keys: bool) -> Project:
    """The project as a backup has it; keys have a backup of their own, or none."""
    desk.database.dispose()
    gc.collect()  # vaults that nobody uses any more close their databases now, not on the restored files
    kept = {path.name: path.read_bytes() for path in desk.kept.glob("keys.db*")}
    shutil.rmtree(desk.folder)
    shutil.copytree(backup, desk.folder)
    if not with_keys:
        for path in desk.kept.glob("keys.db*"):
            path.unlink()
        for name in KEYS:
            if name in kept:
                (desk.kept / name).write_bytes(kept[name])
    return open_project(desk.folder)


def found(project: Project, person: str = "alma"):
    return plan_erasure(project, person)


def test_data_without_its_keys_cannot_be_read_and_is_deleted_when_the_vault_opens(desk, served_folder):
    erase(desk, "alma")
    again = restored(desk, served_folder, with_keys=False)
    assert {row.subject for row in read_predictions(open_vault(again))} == {"bob"}
    pseudonym = open_vault(again).keys.pseudonym("alma")
    said = [(line.action, line.subject) for line in read_audit(again)]
    assert said[-1] == ("tombstone replayed", pseudonym)
    with pytest.raises(NotFound, match="it was destroyed"):
        open_vault(again).keys.existing_key(pseudonym)


def test_replay_reaches_files_datasets_and_versions_that_came_back(desk, served_folder):
    erase(desk, "alma")
    again = restored(desk, served_folder, with_keys=False)
    assert found(again).versions
    assert alias(again, CHAMPION) == "v1"
    (receipt,) = replay(again).values()
    assert found(again).is_nothing
    assert receipt.receipt["versions"]["v1"]["successor"] == alias(again, CHAMPION)
    assert replay(again) == {}


def test_all_who_came_back_are_erased_in_one_walk(desk, served_folder):
    erase_all(desk, ["alma", "bob"])
    again = restored(desk, served_folder, with_keys=False)
    receipts = replay(again)
    assert set(receipts) == {open_vault(again).keys.pseudonym(name) for name in ("alma", "bob")}
    assert {one.receipt["versions"]["v1"]["successor"] for one in receipts.values()} == {"v2"}
    assert [info.name for info in list_versions(again)] == ["v2"]
    assert found(again).is_nothing
    assert found(again, "bob").is_nothing


def test_who_consented_anew_after_the_erasure_had_not_come_back_by_a_backup(desk, served_folder):
    erase(desk, "alma")
    grant(desk, "alma", ConsentGiven("training", "consent", "web", now()))
    rows = desk.folder / "rows.csv"
    rows.write_text(f"{rows.read_text()}please help a new card,card,alma\n")
    assert replay(desk) == {}
    assert found(desk).files["rows.csv"]["rows"] == 1
    withdraw(desk, "alma", "training")
    assert list(replay(desk)) == [open_vault(desk).keys.pseudonym("alma")]


def test_a_file_that_was_left_to_the_user_is_no_reason_to_erase_again(desk, tmp_path):
    (tmp_path / "copy.csv").hardlink_to(desk.folder / "rows.csv")
    assert "rows.csv" in erase(desk, "alma").receipt["left_to_you"]
    assert replay(desk) == {}
    assert found(desk).files


def test_whom_a_hold_keeps_is_named_after_the_others_were_erased_again(desk, served_folder):
    erase_all(desk, ["alma", "bob"])
    again = restored(desk, served_folder, with_keys=False)
    restrict(again, "bob", HELD)
    with pytest.raises(BadInput, match="legal hold"):
        replay(again)
    assert found(again).is_nothing
    assert found(again, "bob").files


def test_a_receipt_from_elsewhere_erases_where_the_tombstone_was_lost_too(desk, served_folder, tmp_path):
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(erase(desk, "alma").path.read_bytes())
    again = restored(desk, served_folder, with_keys=True)
    assert len(read_predictions(open_vault(again))) == 4
    assert replay(again) == {}
    assert list(replay(again, [receipt])) == [open_vault(again).keys.pseudonym("alma")]
    assert found(again).is_nothing
    assert len(read_predictions(open_vault(again))) == 1


def test_a_receipt_of_another_project_is_refused(desk, tmp_path):
    other = Project(tmp_path / "other", Settings())
    keys, pseudonym = open_vault(other).keys, open_vault(desk).keys.pseudonym("alma")
    stone = make_tombstone(keys, pseudonym, "2026-01-01T00:00:00.000+00:00")
    receipt = write_receipt(other, keys, {"id": "r1", "subject": pseudonym, "tombstone": stone})
    with pytest.raises(Corrupt, match="is not what the key .* signed"):
        replay(desk, [receipt])
    assert not found(desk).is_nothing


def test_replay_leaves_what_the_person_said_since(desk):
    erase(desk, "alma")
    opine(desk, [("please help a new card", "card")], subject="alma")
    assert replay(desk) == {}
    assert "alma" in {row.subject for row in read_predictions(open_vault(desk))}
    assert [info.name for info in list_versions(desk)] == ["v2"]
    assert prepare(desk).id in {dataset.id for dataset in all_datasets(desk)}
