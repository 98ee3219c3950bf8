"""People erased in one call: one walk, one training that never saw any of them, a receipt of each alone."""

import json

import pytest
from sqlalchemy import select, update

from millwright.erase import cases
from millwright.erase.erasure import STEPS, erase, erase_all, plan_erasures
from millwright.erase.found import all_datasets
from millwright.errors import BadInput, Busy, NotFound
from millwright.privacy.audit import audit_file, read_audit, verify_chain
from millwright.privacy.consent import HELD, restrict
from millwright.privacy.receipts import check_receipt
from millwright.privacy.signing import public_text
from millwright.privacy.vault import open_vault
from millwright.project import open_project
from millwright.registry.versions import CHAMPION, alias, list_versions
from millwright.steps import train
from millwright.store.tables import erasures
from millwright.train.cache import _open, text_key
from tests.conftest import contents, read_predictions
from tests.desk import opine
from tests.erase.people import (
    KEPT,
    Killed,
    desk_of,
    files_with,
    kill_at,
    owned_rows,
    shuffled,
    without,
)

EXACT = ("weights.safetensors", "classifier.json", "tokenizer.json")
BOTH = ("alma", "bob")


def weights(project, version: str) -> dict[str, bytes]:
    return {name: (project.kept / "versions" / version / name).read_bytes() for name in EXACT}


@pytest.fixture(scope="module")
def never(tmp_path_factory, encoder) -> dict[str, bytes]:
    """What a version holds that was trained on shuffled rows which never had alma's nor bob's."""
    rows = shuffled(without(without(owned_rows(), "alma"), "bob"), seed=5)
    project = desk_of(tmp_path_factory.mktemp("never") / "desk", encoder, rows)
    return weights(project, train(project).name)


def test_one_successor_is_the_version_that_never_saw_any_of_them_to_the_byte(desk, never):
    names = [name for name, _ in STEPS]
    seen: list[str] = []
    done = erase_all(
        desk, ["alma", "adda", "bob"], progress=lambda stage, _: seen.append(stage.removeprefix("erase: "))
    )
    assert [stage for stage in seen if stage in names] == names  # one walk, not two
    assert [info.name for info in list_versions(desk)] == ["v2"]
    assert weights(desk, alias(desk, CHAMPION)) == never
    assert list(done.erased) == ["alma", "bob"]
    assert list(done.refused) == ["adda"]
    assert isinstance(done.refused["adda"], NotFound)
    assert {row.subject for dataset in all_datasets(desk) for row in dataset.rows} == {"cyd", "dan", "eve"}
    assert read_predictions(open_vault(desk)) == []
    assert files_with(desk.folder, b"canary") == []
    assert all(found.is_nothing for found in plan_erasures(desk, BOTH).values())
    lines = verify_chain(audit_file(desk)).lines
    again = erase_all(desk, BOTH)
    assert (again.erased, again.refused) == (done.erased, {})
    assert verify_chain(audit_file(desk)).lines == lines


def test_each_receipt_tells_what_was_done_for_that_person_and_nothing_of_the_others(desk, tmp_path):
    (before,) = all_datasets(desk)
    own = {name: [row for row in before.rows if row.subject == name] for name in BOTH}
    keys = open_vault(desk).keys
    erased = erase_all(desk, BOTH).erased
    public = public_text(keys.signing_key)
    said = {"alma": KEPT["predictions"], "bob": 1}
    for name, other in (BOTH, BOTH[::-1]):
        copy = tmp_path / f"{name}.json"
        copy.write_bytes(erased[name].path.read_bytes())
        receipt = check_receipt(copy, public)
        assert receipt["subject"] == receipt["tombstone"]["subject"] == keys.pseudonym(name)
        for what in (other, keys.pseudonym(other), erased[other].receipt["id"], "batch"):
            assert what not in copy.read_text()
        assert receipt["rows_deleted"]["predictions"] == said[name]
        assert receipt["files_rewritten"]["rows.csv"]["rows"] == 18
        assert receipt["datasets"][before.id]["rows"] == len(own[name])
        taught = [row for row in own[name] if row.split != "test"]
        assert receipt["versions"]["v1"]["rows_that_taught"] == len(taught)
        assert receipt["found_afterwards"]["datasets"] == {}
        assert any("more than the person's rows may have gone" in limit for limit in receipt["limits"])
    hashes = {one.receipt["files_rewritten"]["rows.csv"]["sha256_after"] for one in erased.values()}
    assert len(hashes) == 1
    actions = [(line.action, line.subject) for line in read_audit(desk) if line.action == "erased"]
    assert actions == [("erased", keys.pseudonym(name)) for name in BOTH]


def test_features_of_a_text_that_two_of_them_wrote_count_for_both(tmp_path, encoder):
    shared = [f"please help together {n}" for n in "abcdef"]
    rows = [*owned_rows(60), *((text, "card", "alma") for text in shared)]
    rows += [(text, "pin", "bob") for text in shared]  # another label, so that both rows are kept
    project = desk_of(tmp_path / "desk", encoder, rows)
    train(project)
    (dataset,) = all_datasets(project)
    keys = {name: {text_key(row.text) for row in dataset.rows if row.subject == name} for name in BOTH}
    assert keys["alma"] & keys["bob"]
    cached = [key for path in (project.kept / "cache").glob("*/*.safetensors") for key in _open(path).keys]
    erased = erase_all(project, BOTH).erased
    for name, one in erased.items():
        count = sum(key in keys[name] for key in cached)
        assert one.receipt["cached_features_forgotten"] == count > 0


def test_a_plan_for_several_finds_each_and_changes_nothing(desk):
    before = contents(desk.folder)
    plans = plan_erasures(desk, ["bob", "adda", "alma"])
    assert contents(desk.folder) == before
    assert list(plans) == ["bob", "adda", "alma"]
    assert plans["adda"].is_nothing
    assert plans["alma"].rows == KEPT
    assert plans["bob"].rows["predictions"] == 1
    assert plans["alma"].files["rows.csv"]["rows"] == plans["bob"].files["rows.csv"]["rows"] == 18


def test_after_kills_a_call_for_one_of_them_goes_on_for_all(desk, never):
    for stage in ("erase: rows", "erase: files", "erase: dataset", "head", "erase: versions"):
        with pytest.raises(Killed):
            erase_all(open_project(desk.folder), BOTH, progress=kill_at(stage))
    again = open_project(desk.folder)
    (alma,) = erase_all(again, ["alma"]).erased.values()
    assert weights(again, alias(again, CHAMPION)) == never
    bob = erase(again, "bob")  # nothing is left: the receipt of the same walk
    for receipt in (alma.receipt, bob.receipt):
        assert receipt["versions"]["v1"]["successor"] == alias(again, CHAMPION)
        assert receipt["files_rewritten"]["rows.csv"]["rows"] == 18
        assert receipt["started_at"] == alma.receipt["started_at"]
    assert [info.name for info in list_versions(again)] == [alias(again, CHAMPION)]


def test_a_kill_between_two_receipts_leaves_the_second_to_the_next_call(desk, never, monkeypatch):
    real, written = cases.write_receipt, []

    def write(*what):
        if written:
            raise Killed
        written.append(real(*what))
        return written[0]

    with monkeypatch.context() as patched:
        patched.setattr(cases, "write_receipt", write)
        with pytest.raises(Killed):
            erase_all(desk, BOTH)
    again = open_project(desk.folder)
    done = erase_all(again, BOTH)
    assert done.erased["alma"].path == written[0]
    assert done.erased["bob"].receipt["versions"]["v1"]["successor"] == "v2"
    assert weights(again, "v2") == never


def test_an_erasure_that_an_earlier_release_began_is_finished_before_what_is_new(desk, never):
    with pytest.raises(Killed):
        erase(desk, "alma", progress=kill_at("erase: files"))
    with desk.database.begin() as connection:
        (record,) = connection.scalars(select(erasures.c.record)).all()
        record = {name: value for name, value in record.items() if name != "batch"}
        connection.execute(update(erasures).values(record=record))
    done = erase_all(open_project(desk.folder), BOTH)
    assert weights(desk, alias(desk, CHAMPION)) == never
    assert done.erased["alma"].receipt["versions"]["v1"]["successor"] == "v2"
    assert done.erased["bob"].receipt["versions"]["v2"]["successor"] == "v3"


def test_whom_a_legal_hold_keeps_does_not_stop_the_others(desk):
    restrict(desk, "bob", HELD)
    done = erase_all(desk, BOTH)
    assert list(done.erased) == ["alma"]
    assert isinstance(done.refused["bob"], BadInput)
    assert "legal hold keeps this person's data since" in done.not_erased()[0]["why"]
    assert not plan_erasures(desk, ["bob"])["bob"].is_nothing


def test_a_person_whose_hold_came_between_two_calls_is_told_the_truth_of_the_version_that_went(desk):
    """Both were begun; one goes on alone, and the version that the other saw is deleted with it."""
    with pytest.raises(Killed):
        erase_all(desk, BOTH, progress=kill_at("erase: dataset"))
    again = open_project(desk.folder)
    restrict(again, "bob", HELD)
    assert list(erase_all(again, BOTH).erased) == ["alma"]
    restrict(again, "bob", HELD, lift=True)
    about = erase(again, "bob").receipt["versions"]["v1"]
    assert (about["successor"], about["how"]) == ("v2", "deleted before this erasure came to it")


def test_who_appears_again_meanwhile_does_not_keep_the_others_from_their_receipts(desk):
    def back(stage: str, _fraction: float) -> None:
        if stage == "erase: database":
            with (desk.folder / "rows.csv").open("a") as file:
                file.write("please help again,card,bob\n")

    with pytest.raises(Busy, match="appeared again"):
        erase_all(desk, BOTH, progress=back)
    with desk.database.connect() as connection:
        finished = connection.execute(select(erasures).where(erasures.c.finished_at.is_not(None))).all()
    assert [row.subject for row in finished] == [open_vault(desk).keys.pseudonym("alma")]
    opine(desk, [("please help", "card")], subject="cyd")
    done = erase_all(desk, BOTH)
    assert list(done.erased) == list(BOTH)
    assert b"bob" not in (desk.folder / "rows.csv").read_bytes()
    assert json.loads(done.erased["bob"].path.read_text()) == done.erased["bob"].receipt
