"""Erasure: the refit is the retrain to the byte, nothing of the person stays, a kill changes nothing."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sqlalchemy import select, update

from millwright import membership
from millwright.data.dataset import read_dataset
from millwright.data.prepare import dataset_folder, prepare
from millwright.erase import erased_data
from millwright.erase.erasure import STEPS, erase
from millwright.erase.export import export_subject
from millwright.erase.found import all_datasets
from millwright.errors import BadInput, Busy, Corrupt, MissingExtra, NotFound
from millwright.experiment.plans import plan_of, running, start
from millwright.experiment.rollout import list_decisions
from millwright.loop import turn
from millwright.membership import audit_membership
from millwright.privacy.audit import audit_file, read_audit, verify_chain
from millwright.privacy.consent import HELD, restrict
from millwright.privacy.receipts import check_receipt, make_tombstone, receipt_folder
from millwright.privacy.signing import public_text
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.records import Prediction
from millwright.registry.signatures import BODIES, sign
from millwright.registry.traffic import current_traffic
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    alias,
    list_versions,
    promote,
    resolve,
    roll_back,
)
from millwright.review.annotations import list_annotations
from millwright.review.exchange import export_queue
from millwright.review.items import read_queue
from millwright.serve import promotion
from millwright.serve.runtime_record import RuntimeRecord, read_runtime, this_machine, write_runtime
from millwright.serve.torch_body import open_torch_body, read_body_key
from millwright.settings import change_settings
from millwright.steps import train
from millwright.store.database import now
from millwright.store.files import sealed_folder, sha256_file, write_json
from millwright.store.tables import annotations, erasures, opinions, predictions, review_items
from millwright.train import states
from millwright.train.cache import _open, text_key
from tests.conftest import contents, csv_of, keep, read_predictions
from tests.desk import copy_desk, opine
from tests.erase.people import (
    HEADER,
    KEPT,
    SAID,
    Killed,
    desk_of,
    files_with,
    found_in,
    kill_at,
    owned_rows,
    plan_erasure,
    served,
    shuffled,
    without,
)

EXACT = ("weights.safetensors", "classifier.json", "tokenizer.json")
TUNED = {"method": "top", "epochs": 1}
AWAY = [f"erase: {name}" for name, _ in STEPS]


@pytest.fixture(scope="module")
def tuned_folder(tmp_path_factory, encoder) -> Path:
    """A desk whose champion's last layers were tuned. Copy it, don't touch it."""
    project = served(tmp_path_factory.mktemp("tuned") / "desk", encoder, **TUNED)
    project.database.dispose()
    return project.folder


@pytest.fixture(scope="module")
def never(tmp_path_factory, encoder) -> dict[str, bytes]:
    """What a version holds that was trained on shuffled rows which never had alma's."""
    rows = shuffled(without(owned_rows(), "alma"), seed=3)
    project = desk_of(tmp_path_factory.mktemp("never") / "desk", encoder, rows)
    return held_by(project, train(project).name)


def held_by(project: Project, version: str) -> dict[str, bytes]:
    return {name: (project.kept / "versions" / version / name).read_bytes() for name in EXACT}


def people_in(project: Project) -> set[str | None]:
    return {row.subject for dataset in all_datasets(project) for row in dataset.rows}


def is_clean(project: Project, person: str = "alma") -> bool:
    return plan_erasure(project, person).is_nothing


def test_the_version_after_an_erasure_is_the_one_that_never_saw_the_person_to_the_byte(desk, never):
    assert held_by(desk, "v1") != never
    erased = erase(desk, "alma")
    champion = alias(desk, CHAMPION)
    assert champion == erased.receipt["versions"]["v1"]["successor"] == "v2"
    assert held_by(desk, champion) == never


def test_it_is_the_same_to_the_byte_with_other_batches_and_threads(tmp_path, encoder, never, monkeypatch):
    monkeypatch.setitem(states.TOKENS_A_SHAPE, "cpu", 128)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 3)
    try:
        project = desk_of(tmp_path / "desk", encoder, shuffled(owned_rows(), seed=7), batch_size=64)
        train(project)
        erase(project, "alma")
    finally:
        torch.set_num_threads(threads)
    made = held_by(project, "v2")
    assert made["weights.safetensors"] == never["weights.safetensors"]
    temperatures = [json.loads(held["classifier.json"])["temperature"] for held in (made, never)]
    assert temperatures[0] == temperatures[1]


def test_a_forced_runtime_that_cannot_be_had_is_refused_before_anything_is_changed(desk, monkeypatch):
    forced = Project(desk.folder, change_settings(desk.settings, "serve", runtime="openvino-float32"))
    before, found = contents(desk.folder), plan_erasure(desk, "alma")
    monkeypatch.setitem(sys.modules, "openvino", None)  # as an import of what is not installed ends
    with pytest.raises(MissingExtra, match="serve.runtime is 'openvino-float32'"):
        erase(forced, "alma")
    assert contents(desk.folder) == before
    assert plan_erasure(desk, "alma") == found
    with desk.database.connect() as connection:
        assert connection.execute(select(erasures)).first() is None
    desk.database.dispose()
    # Who taught no version that serves can be erased without it.
    opine(desk, [("please help", "card")], subject="zoe")
    assert erase(forced, "zoe").receipt["versions"] == {}


def test_nothing_of_the_person_is_left_in_any_file_of_the_project(desk):
    opine(desk, [(f"words canary only number {n}", "card") for n in range(4)], subject="alma")
    turn(desk)  # what alma said is now in a dataset, too
    mine = [text for text, _, who in owned_rows() if who == "alma"]
    pseudonym = open_vault(desk).keys.pseudonym("alma")
    with desk.database.connect() as connection:
        sealed = [
            one
            for table in (predictions, opinions, review_items, annotations)
            for one in connection.scalars(select(table.c.sealed).where(table.c.subject == pseudonym)).all()
        ]
    assert len(sealed) == 2 * (len(SAID) + 4) + 4 + 1  # the turn took over what the reviewer said
    hers = {b"canary", b'"alma"', *(text.encode() for text in mine), *(one[-40:] for one in sealed)}
    assert found_in(desk.folder, hers) == hers
    erased = erase(desk, "alma")
    assert found_in(desk.folder, hers) == set()
    assert people_in(desk) == {"bob", "cyd", "dan", "eve"}
    assert is_clean(desk)
    assert erased.receipt["found_afterwards"]["rows"] == dict.fromkeys(KEPT, 0)
    assert len(read_queue(desk)) == len(list_annotations(desk)) == 2  # bob's
    (bob,) = read_predictions(open_vault(desk))
    assert bob.subject == "bob"


def test_features_of_the_persons_texts_are_gone_and_those_of_others_stay_and_none_is_made(desk):
    def cached() -> list[tuple[str, str]]:
        paths = (desk.kept / "cache").glob("*/*.safetensors")
        return sorted((path.parent.name, key) for path in paths for key in _open(path).keys)

    (dataset,) = all_datasets(desk)
    own = {text_key(row.text) for row in dataset.rows if row.subject == "alma"}
    others = {text_key(row.text) for row in dataset.rows if row.subject != "alma"}
    before = cached()
    assert own | others <= {key for _, key in before}  # those of test rows too
    forgotten = erase(desk, "alma").receipt["cached_features_forgotten"]
    assert cached() == [(folder, key) for folder, key in before if key not in own]
    assert forgotten == sum(key in own for _, key in before)


def test_a_dry_run_finds_what_the_erasure_erases_and_changes_nothing(desk):
    before = contents(desk.folder)
    found = plan_erasure(desk, "alma")
    assert contents(desk.folder) == before
    (dataset,) = all_datasets(desk)
    own = [row for row in dataset.rows if row.subject == "alma"]
    assert found.rows == KEPT
    assert found.files["rows.csv"]["rows"] == len(own) == 18
    assert found.datasets[dataset.id]["rows"] == len(own)
    assert found.versions["v1"]["rows_that_taught"] == sum(row.split != "test" for row in own)
    assert erase(desk, "alma").receipt["found"] == {
        **vars(found),
        "not_owned": [],
        "bodies": [],
        "unknown_versions": [],
        "unreadable": {},
        "exports": {},
    }


def test_the_file_in_the_project_loses_the_persons_lines_and_no_other_byte(desk):
    path = desk.folder / "rows.csv"
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if not line.endswith(b",alma\n")]
    erase(desk, "alma")
    assert path.read_bytes() == b"".join(kept)


def desk_outside(folder: Path, encoder: Path) -> Project:
    """A desk whose rows lie beside its own folder."""
    project = desk_of(folder / "desk", encoder, owned_rows())
    (project.folder / "rows.csv").rename(folder / "rows.csv")
    text = (project.folder / "millwright.toml").read_text().replace('"rows.csv"', '"../rows.csv"')
    (project.folder / "millwright.toml").write_text(text)
    return open_project(project.folder)


def test_a_file_outside_of_the_project_is_left_and_named_and_its_rows_enter_no_dataset(tmp_path, encoder):
    project, outside = desk_outside(tmp_path, encoder), tmp_path / "rows.csv"
    train(project)
    before = outside.read_bytes()
    erased = erase(project, "alma")
    assert outside.read_bytes() == before
    assert "18 rows in a file outside" in erased.receipt["left_to_you"]["../rows.csv"]
    assert "alma" not in people_in(project)
    dataset = prepare(project)
    lines = (dataset_folder(project) / dataset.id / "excluded.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["the person was erased"] * 18
    assert erase(project, "alma").path == erased.path


def test_somebody_whose_rows_lie_outside_of_the_project_alone_is_erased_before_any_dataset(tmp_path, encoder):
    project = desk_outside(tmp_path, encoder)
    erased = erase(project, "alma")
    assert "18 rows in a file outside" in erased.receipt["left_to_you"]["../rows.csv"]
    assert "alma" not in {row.subject for row in prepare(project).rows}
    assert erase(project, "alma").path == erased.path
    with pytest.raises(NotFound, match="nothing in this project"):
        erase(project, "adda")


def test_a_file_of_one_person_alone_is_emptied_and_the_next_training_goes_on_without_it(tmp_path, encoder):
    """One file a customer is a common way to keep rows."""
    rows = owned_rows()
    project = desk_of(tmp_path / "desk", encoder, without(rows, "alma"))
    own = [row for row in rows if row[2] == "alma"]
    (project.folder / "alma.csv").write_text(csv_of(own, HEADER))
    text = (project.folder / "millwright.toml").read_text().replace('"rows.csv"', '"rows.csv", "alma.csv"')
    (project.folder / "millwright.toml").write_text(text)
    project = open_project(project.folder)
    train(project)
    receipt = erase(project, "alma").receipt
    assert (project.folder / "alma.csv").read_text() == "text,label,who\n"
    assert receipt["files_rewritten"]["alma.csv"]["rows"] == len(own)
    assert receipt["left_to_you"] == {}
    assert alias(project, CHAMPION) == receipt["versions"]["v1"]["successor"] == "v2"
    assert is_clean(project)
    assert "alma.csv has no rows" in prepare(project).report["notes"]


def test_a_file_that_cannot_be_cut_surely_is_left_to_the_user_and_the_receipt_says_so(tmp_path, encoder):
    project = desk_of(tmp_path / "desk", encoder, without(owned_rows(), "alma"))
    # Without the stray quote of alma's, bob's quotes would no longer be part of the text.
    tsv = 'text\tlabel\twho\nplease help a "stray" " card\tcard\talma\n"lost card"\tcard\tbob\n'
    (project.folder / "more.tsv").write_text(tsv)
    text = (project.folder / "millwright.toml").read_text().replace('"rows.csv"', '"rows.csv", "more.tsv"')
    (project.folder / "millwright.toml").write_text(text)
    project = open_project(project.folder)
    train(project)
    receipt = erase(project, "alma").receipt
    assert receipt["left_to_you"]["more.tsv"].startswith("1 rows in a file that could not be cut safely")
    assert receipt["found_afterwards"]["files"]["more.tsv"]["rows"] == 1
    assert "more.tsv" not in receipt["files_rewritten"]
    assert (project.folder / "more.tsv").read_text() == tsv
    assert "alma" not in people_in(project)
    assert alias(project, CHAMPION) == "v2"


def test_rows_that_cannot_be_read_are_named_in_plan_and_receipt_and_left_to_the_user(tmp_path, encoder):
    project = desk_of(tmp_path / "desk", encoder, owned_rows(30))
    with (project.folder / "rows.csv").open("a") as file:
        file.write("please help, with a canary,card,alma\n")
    train(project)
    assert plan_erasure(project, "alma").unreadable == {"rows.csv": 1}
    receipt = erase(project, "alma").receipt
    (left,) = receipt["left_to_you"].items()
    assert left[0] == "unreadable rows of rows.csv"
    assert left[1].startswith("1 rows that cannot be read, so nobody can tell whose they are; look for")
    assert receipt["found_afterwards"]["unreadable"] == {"rows.csv": 1}
    assert files_with(project.folder, b"canary") == ["rows.csv"]
    with pytest.raises(NotFound, match=r"check how .*; rows\.csv has 1 rows that cannot be read"):
        erase(project, "adda")


def test_a_file_none_of_whose_lines_is_an_object_stops_no_erasure_and_is_left_to_the_user(tmp_path, encoder):
    project = desk_of(tmp_path / "desk", encoder, owned_rows(30))
    (project.folder / "more.jsonl").write_text('{"text": "please help", "label": "card", "who": "alma"\n')
    toml = project.folder / "millwright.toml"
    toml.write_text(toml.read_text().replace('["rows.csv"]', '["rows.csv", "more.jsonl"]'))
    (left,) = erase(open_project(project.folder), "alma").receipt["left_to_you"].items()
    assert left[0] == "unreadable rows of more.jsonl"
    assert left[1].startswith("1 rows that cannot be read, so nobody can tell whose they are")


def test_the_receipt_is_checked_without_the_project_and_names_what_was_and_what_is(desk, tmp_path):
    (before,) = all_datasets(desk)
    public = public_text(open_vault(desk).keys.signing_key)
    erased = erase(desk, "alma")
    copy = tmp_path / "receipt.json"
    copy.write_bytes(erased.path.read_bytes())
    receipt = check_receipt(copy, public)
    assert receipt["datasets"][before.id]["successor"] == prepare(desk).id
    made = receipt["versions"]["v1"]
    assert made["served_as"] == [CHAMPION]
    assert made["successor_sha256"] != made["sha256"]
    assert receipt["data_key"] == "destroyed"
    assert "alma" not in copy.read_text()
    assert any("without a subject" in limit for limit in receipt["limits"])


def test_exports_that_the_log_knows_are_named_in_plan_and_receipt_without_their_places(desk, tmp_path):
    export_subject(desk, "alma", tmp_path / "export-of-alma")
    export_queue(desk, tmp_path / "tasks-of-alma.json", "argilla")  # bob has rows in it, too
    export_subject(desk, "bob", tmp_path / "export-of-bob")
    whole, queue = plan_erasure(desk, "alma").exports.values()
    manifest = sha256_file(tmp_path / "export-of-alma" / "manifest.json")
    assert whole.endswith(f"manifest_sha256 {manifest}")
    assert queue == "rows 4, what review queue for argilla"
    receipt = erase(desk, "alma").receipt
    left = receipt["left_to_you"]
    assert [name.split()[0] for name in left] == ["export", "export"]
    assert all(why.endswith("delete it where it is") for why in left.values())
    assert "alma" not in json.dumps(receipt)
    assert len(plan_erasure(desk, "bob").exports) == 2
    assert plan_erasure(desk, "cyd").exports == {}


def test_a_dataset_that_a_kill_left_aside_is_found_and_erased(desk):
    (before,) = all_datasets(desk)
    before.folder.rename(before.folder.with_name(f".{before.id}.old"))
    receipt = erase(desk, "alma").receipt
    assert receipt["datasets"].keys() == {before.id}
    assert receipt["left_to_you"] == {}
    assert not list(before.folder.parent.glob(".*"))


def test_a_second_call_gives_the_same_receipt_and_changes_nothing(desk):
    first = erase(desk, "alma")
    lines = verify_chain(audit_file(desk)).lines
    assert erase(desk, "alma") == first
    assert verify_chain(audit_file(desk)).lines == lines
    assert [info.name for info in list_versions(desk)] == ["v2"]


def test_kills_between_any_two_steps_and_within_training_end_the_same(desk, never):
    (before,) = all_datasets(desk)
    for stage in (*AWAY[:6], "head", *AWAY[6:]):
        with pytest.raises(Killed):
            erase(open_project(desk.folder), "alma", progress=kill_at(stage))
    again = open_project(desk.folder)
    receipt = erase(again, "alma").receipt
    assert is_clean(again)
    assert held_by(again, alias(again, CHAMPION)) == never
    assert [info.name for info in list_versions(again)] == [receipt["versions"]["v1"]["successor"]]
    assert receipt["rows_deleted"] == KEPT
    assert receipt["files_rewritten"]["rows.csv"]["rows"] == 18
    assert list(receipt["datasets"]) == [before.id]
    assert receipt["versions"]["v1"]["rows_that_taught"] > 0
    assert receipt["data_key"] == "destroyed"
    with again.database.connect() as connection:
        (finished,) = connection.scalars(select(erasures.c.finished_at)).all()
    assert finished is not None


@pytest.mark.parametrize("function", ["rmtree", "rename"])
def test_a_kill_while_a_folder_is_deleted_leaves_nothing_behind(desk, never, function, monkeypatch):
    """The files of a folder go one by one: a kill in between must not leave half of it."""
    real = shutil.rmtree if function == "rmtree" else Path.rename

    def cut_short(path, *rest, **options):
        if Path(path).name.removeprefix(".").startswith("v1"):
            if function == "rmtree":
                (Path(path) / "manifest.json").unlink(missing_ok=True)
            raise Killed
        return real(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil if function == "rmtree" else Path, function, cut_short)
        with pytest.raises(Killed):
            erase(desk, "alma")
    again = open_project(desk.folder)
    erase(again, "alma")
    assert is_clean(again)
    assert held_by(again, alias(again, CHAMPION)) == never
    assert list(again.kept.rglob("*.erased")) == []
    assert [path.name for path in (again.kept / "versions").iterdir()] == ["v2"]


def test_sigkill_after_the_key_was_destroyed_loses_nothing(desk, never):
    code = (
        "import os, sys\n"
        "from millwright.erase.erasure import erase\n"
        "from millwright.project import open_project\n"
        "def progress(name, fraction):\n"
        "    name == 'erase: files' and os.kill(os.getpid(), 9)\n"
        "erase(open_project(sys.argv[1]), 'alma', progress=progress)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(desk.folder)])
    assert ended.returncode == -9
    again = open_project(desk.folder)
    erase(again, "alma")
    assert is_clean(again)
    assert held_by(again, alias(again, CHAMPION)) == never


def test_what_the_person_says_after_a_kill_teaches_no_successor_and_may_teach_later(desk):
    with pytest.raises(Killed):
        erase(desk, "alma", progress=kill_at("erase: dataset"))
    opine(desk, [(f"please help a late canary {n}", "card") for n in range(3)], subject="alma")
    with pytest.raises(BadInput, match="users labelled 1 new rows"):  # bob's
        turn(desk)
    receipt = erase(open_project(desk.folder), "alma").receipt
    taught = read_dataset(dataset_folder(desk), receipt["versions"]["v1"]["successor_dataset"]).rows
    assert {row.subject for row in taught} == {"bob", "cyd", "dan", "eve"}
    assert receipt["found_afterwards"]["rows"]["proposed_rows"] == 3
    assert "alma" not in people_in(desk)
    assert "alma" in {row.subject for row in prepare(desk).rows}


def test_no_dataset_is_made_with_a_person_whose_erasure_was_cut_off(desk):
    with pytest.raises(Killed):
        erase(desk, "alma", progress=kill_at("erase: files"))
    opine(desk, [("please help a late canary", "card")], subject="alma")
    opine(desk, [(f"please help new card {n}", "card") for n in range(3)], subject="bob")
    before = {one.id for one in all_datasets(desk)}
    turn(desk)
    (made,) = (one for one in all_datasets(desk) if one.id not in before)
    assert {row.subject for row in made.rows} == {"bob", "cyd", "dan", "eve"}
    excluded = (made.folder / "excluded.jsonl").read_text()
    assert excluded.count("the person was erased") == 18 + 1


def test_a_successor_dataset_with_the_person_is_not_taken_up_after_a_kill(desk, never):
    """An earlier release let in what a person said meanwhile; the version that it taught was signed off."""
    (before,) = all_datasets(desk)
    with pytest.raises(Killed):
        erase(desk, "alma", progress=kill_at("erase: successors"))
    with desk.database.begin() as connection:
        (record,) = connection.scalars(select(erasures.c.record)).all()
        connection.execute(update(erasures).values(record={**record, "successor_dataset": before.id}))
    again = open_project(desk.folder)
    about = erase(again, "alma").receipt["versions"]["v1"]
    assert about["successor_dataset"] != before.id
    assert held_by(again, about["successor"]) == never
    assert is_clean(again)


def test_a_dataset_that_appeared_after_a_kill_is_followed_by_one_of_the_rows_of_now(desk, tmp_path):
    """A `prepare` takes no lock: it may have begun before the erasure and ended after the kill."""
    rows, late = desk.folder / "rows.csv", [f"please help new card {n}" for n in range(3)]
    more = rows.read_text() + "".join(f"{text},card,bob\n" for text in late)
    before = rows.read_text()
    rows.write_text(more)
    dataset = prepare(desk)
    dataset.folder.rename(tmp_path / dataset.id)
    rows.write_text(before)
    with pytest.raises(Killed):
        erase(desk, "alma", progress=kill_at("erase: successors"))
    (tmp_path / dataset.id).rename(dataset.folder)
    rows.write_text(more)
    receipt = erase(open_project(desk.folder), "alma").receipt
    (successor,) = {about["successor"] for about in receipt["datasets"].values()}
    assert receipt["versions"]["v1"]["successor_dataset"] == successor
    assert {row.text for row in read_dataset(dataset_folder(desk), successor).rows} >= set(late)
    assert "alma" not in people_in(desk)


def test_no_receipt_is_signed_for_a_successor_of_which_nobody_can_tell_whom_it_saw(desk):
    def lose(name: str, _fraction: float) -> None:
        if name == "erase: database":
            for dataset in all_datasets(desk):
                shutil.rmtree(dataset.folder)

    with pytest.raises(Corrupt, match="v2 .* nobody can tell whom it saw"):
        erase(desk, "alma", progress=lose)
    assert list(receipt_folder(desk).glob("*")) == []
    receipt = erase(desk, "alma").receipt  # makes the same dataset again
    assert receipt["found_afterwards"]["unknown_versions"] == []


def test_what_killed_commands_left_half_written_goes_too(desk):
    left = [
        desk.folder / ".rows.csv.0123abcd.part",
        desk.folder / ".erasing-x" / "rows.csv",
        desk.kept / "datasets" / ".d-0123456789ab.0123abcd.part" / "rows.jsonl",
        desk.kept / "versions" / ".v2.0123abcd.part" / "weights.safetensors",
        desk.kept / "versions" / ".v0.erased" / "README.md",
        desk.kept / "cache" / "0123" / ".0123.safetensors.0123abcd.part",
        desk.kept / "spill" / "0123" / "rows",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words canary only")
    assert erase(desk, "alma").receipt["files_rewritten"]
    assert [path for path in left if path.exists()] == []
    assert files_with(desk.folder, b"canary") == []


def test_versions_that_do_not_serve_are_retired_and_their_names_never_given_again(desk):
    train(desk)
    promote(desk, "v2", "by hand")
    promote(desk, "v1", "again")
    receipt = erase(desk, "alma").receipt
    assert receipt["versions"]["v2"]["successor"] is None
    assert "did not serve" in receipt["versions"]["v2"]["how"]
    assert [info.name for info in list_versions(desk)] == ["v3"]
    with pytest.raises(NotFound, match="v1 was retired when a person .* was erased; v3 took its place"):
        resolve(desk, "v1")
    with pytest.raises(BadInput, match="no champion before v3"):
        roll_back(desk)
    assert train(desk).name == "v4"


def test_champion_and_challenger_of_one_kind_get_one_successor(desk):
    promote(desk, train(desk).name, "to be tried", CHALLENGER)
    receipt = erase(desk, "alma").receipt
    assert alias(desk, CHAMPION) == alias(desk, CHALLENGER) == receipt["versions"]["v2"]["successor"]


def test_an_experiment_with_a_version_that_goes_ends_and_the_receipt_says_what_served(desk):
    for _ in range(2):
        train(desk)
    start(desk, plan_of(desk, ["v2", "v3"]), "trial")
    assert alias(desk, CHALLENGER) == "v2"  # v3 serves, too, under no alias
    receipt = erase(desk, "alma").receipt
    assert receipt["versions"]["v3"]["served_as"] == ["trial"]
    assert receipt["versions"]["v3"]["successor"] is None
    assert "served in the experiment trial, which ended with it" in receipt["versions"]["v3"]["how"]
    assert receipt["versions"]["v2"]["successor"] == alias(desk, CHALLENGER)
    assert (running(desk), current_traffic(desk)) == (None, None)
    assert "a person was erased" in list_decisions(desk, "trial")[-1].reason


def test_a_tuned_version_is_withdrawn_where_that_is_asked_for_and_the_receipt_says_so(tmp_path, tuned_folder):
    project = copy_desk(tuned_folder, tmp_path / "desk")
    receipt = erase(project, "alma", withdraw_only=True).receipt
    assert alias(project, CHAMPION) is None
    assert list_versions(project) == []
    assert "withdrawn from service: its body saw the person (method top)" in receipt["versions"]["v1"]["how"]
    assert not list((project.kept / "versions").glob("v*"))


@pytest.mark.parametrize("method", ["head", "top"])
def test_where_the_backbone_is_gone_the_erasure_waits_for_it_or_withdraws_the_version(
    tmp_path, encoder, method, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    own = shutil.copytree(encoder, tmp_path / "encoder")
    project = desk_of(tmp_path / "desk", own, owned_rows(30), method=method, epochs=1)
    train(project)
    shutil.rmtree(own)
    with pytest.raises(NotFound, match="no backbone"):
        erase(project, "alma")
    assert alias(project, CHAMPION) == "v1"
    receipt = erase(project, "alma", withdraw_only=True).receipt
    assert alias(project, CHAMPION) is None
    assert receipt["versions"]["v1"]["how"].startswith("withdrawn from service: its b")
    assert is_clean(project)


def test_a_key_of_a_body_is_read_without_the_backbone(tmp_path, tuned_folder):
    folder = copy_desk(tuned_folder, tmp_path / "desk").kept / "versions" / "v1"
    assert read_body_key(folder) == open_torch_body(folder)[1]


def test_a_tuned_version_is_trained_anew_to_the_byte(tmp_path, encoder, tuned_folder):
    project = copy_desk(tuned_folder, tmp_path / "desk")
    erase(project, "alma")
    other = desk_of(tmp_path / "never", encoder, shuffled(without(owned_rows(), "alma"), 5), **TUNED)
    assert held_by(project, "v2") == held_by(other, train(other).name)


def test_where_nothing_can_be_trained_on_what_is_left_the_version_is_withdrawn(tmp_path, encoder):
    rows = [(text, label, "alma" if label != "pin" else "bob") for text, label, _ in owned_rows()]
    project = desk_of(tmp_path / "desk", encoder, rows)
    train(project)
    receipt = erase(project, "alma").receipt
    assert alias(project, CHAMPION) is None
    assert "every row has the label 'pin'" in receipt["versions"]["v1"]["how"]
    assert is_clean(project)


def test_what_the_person_says_afterwards_is_kept_under_a_new_key_and_can_be_erased_again(desk):
    first = erase(desk, "alma")
    opine(desk, [("a new canary", "card")], subject="alma")
    (again, bob) = sorted(read_predictions(open_vault(desk)), key=lambda row: row.subject)
    assert again.text == "a new canary"
    second = erase(desk, "alma")
    assert second.path != first.path
    assert second.receipt["rows_deleted"]["predictions"] == 1
    assert second.receipt["versions"] == {}


def test_a_version_whose_dataset_is_gone_is_named_since_nobody_can_tell_whom_it_saw(desk):
    (dataset,) = all_datasets(desk)
    shutil.rmtree(dataset.folder)
    receipt = erase(desk, "alma").receipt
    assert "nobody can tell whom it saw" in receipt["left_to_you"]["v1"]
    assert receipt["versions"] == {}


def test_a_version_whose_folder_is_gone_is_retired_with_its_dataset_and_left_to_the_user(desk):
    (dataset,) = all_datasets(desk)
    shutil.rmtree(desk.kept / "versions" / "v1")
    receipt = erase(desk, "alma").receipt
    assert list(receipt["datasets"]) == [dataset.id]
    assert "whose folder is not here" in receipt["left_to_you"]["v1"]
    assert (alias(desk, CHAMPION), list_versions(desk)) == (None, [])
    assert is_clean(desk)
    assert "withdrawn" in [line.action for line in read_audit(desk)]
    assert train(desk).name == "v2"


def test_a_legal_hold_keeps_the_data(desk):
    restrict(desk, "alma", HELD)
    with pytest.raises(BadInput, match="a legal hold keeps this person's data since .* --lift"):
        erase(desk, "alma")
    assert not is_clean(desk)


def test_somebody_unknown_is_not_found_and_no_key_or_tombstone_is_made(desk):
    keys = open_vault(desk).keys
    owners = keys.owners()
    with pytest.raises(NotFound, match="nothing in this project belongs to that person"):
        erase(desk, "adda")
    assert (keys.owners(), keys.tombstones()) == (owners, {})


def test_an_erasure_waits_for_no_training_that_could_bring_the_person_back(desk):
    with open_project(desk.folder).lock("train"), pytest.raises(Busy, match="another `train` runs"):
        erase(desk, "alma")
    assert not is_clean(desk)


def test_the_audit_log_knows_begin_and_end_by_pseudonym(desk):
    erase(desk, "alma")
    pseudonym = open_vault(desk).keys.pseudonym("alma")
    lines = read_audit(desk)
    assert [line.action for line in lines if line.subject == pseudonym] == ["erasure begun", "erased"]
    assert ("promoted", "v2") in [(line.action, line.details.get("version")) for line in lines]


def test_a_turn_after_an_erasure_counts_what_is_new(desk):
    turn(desk)
    erase(desk, "alma")
    opine(desk, [(f"my card number {n}", "card") for n in range(3)], subject="cyd")
    assert turn(desk).new_rows == 3


def test_texts_of_an_erased_persons_cut_off_write_are_deleted_when_the_vault_opens(desk):
    """A server that answered before the key was destroyed may write a moment later."""
    erase(desk, "alma")
    opine(desk, [("a late canary", "card")], subject="alma")
    with desk.database.begin() as connection:
        early = {"created_at": "2020-01-01T00:00:00.000+00:00"}
        connection.execute(update(predictions).where(predictions.c.subject.is_not(None)).values(**early))
    vault = open_vault(desk)
    assert {row.subject for row in read_predictions(vault)} == {"bob"}
    assert [line.action for line in read_audit(desk)][-1] == "tombstone replayed"


def test_what_is_written_while_keys_are_destroyed_is_never_left_without_its_key(desk, monkeypatch):
    """An answer that a server gives and stores between the hour of the tombstone and the end of the key."""
    server, waiting = open_project(desk.folder), list[Prediction]()
    with server.database.connect() as connection:  # the pool hands the same connection to whoever comes next
        connection.exec_driver_sql("PRAGMA busy_timeout=10")

    def answer_meanwhile(keys, person, hour):
        while now() <= hour:
            pass
        late = Prediction("late", "v1", "a late text", "card", 0.5, "alma", False, now())
        try:
            keep(server, late)
        except Busy:  # then the journal tries again
            waiting.append(late)
        return make_tombstone(keys, person, hour)

    monkeypatch.setattr(erased_data, "make_tombstone", answer_meanwhile)
    erase(desk, "alma")
    keep(server, *waiting)
    assert {row.id for row in read_predictions(open_vault(desk)) if row.subject == "alma"} == {"late"}


def test_csv_of_every_shape_is_cut_by_rows_and_not_by_lines(tmp_path, encoder):
    rows = [(f'say "{n}",\nplease {text}', label, who) for n, (text, label, who) in enumerate(owned_rows())]
    project = desk_of(tmp_path / "desk", encoder, rows)
    prepare(project)
    erase(project, "alma")
    left = list(csv.reader(io.StringIO((project.folder / "rows.csv").read_text())))
    assert [tuple(row) for row in left[1:]] == without(rows, "alma")
    assert read_dataset(dataset_folder(project), prepare(project).id)


def add_body(project: Project, name: str, rows: list[str], used_by: str | None = None) -> Path:
    """A converted body that these rows calibrated, and what says that a version runs it."""
    with sealed_folder(project.kept / "bodies" / name) as folder:
        write_json(folder / "body.json", {"rows": rows})
    sign(project, BODIES, name)
    if used_by:
        write_runtime(project, RuntimeRecord(used_by, "openvino-int8", name, (), this_machine(), 1.0))
    return project.kept / "bodies" / name


def test_bodies_that_the_person_calibrated_go_with_what_says_to_use_them(desk):
    (dataset,) = all_datasets(desk)
    own = [row.id for row in dataset.rows if row.subject == "alma"]
    others = [row.id for row in dataset.rows if row.subject != "alma"]
    gone = add_body(desk, "aa-int8", [*others[:3], own[0]], used_by="v1")
    kept = add_body(desk, "bb-int8", others[:3])
    receipt = erase(desk, "alma").receipt
    assert receipt["bodies_deleted"] == ["aa-int8"]
    assert (gone.exists(), kept.exists()) == (False, True)
    assert read_runtime(desk, "v2").body is None
    signed = sorted(
        path.relative_to(desk.kept / "signatures") for path in desk.kept.rglob("signatures/**/*.json")
    )
    assert [str(path) for path in signed] == ["bodies/bb-int8.json", "runtimes/v2.json", "v2.json"]


def test_bodies_with_weights_that_the_person_taught_go(tmp_path, tuned_folder):
    project = copy_desk(tuned_folder, tmp_path / "desk")
    _, key = open_torch_body(project.kept / "versions" / "v1")
    gone, kept = add_body(project, f"{key}-float32", []), add_body(project, "bb-float32", [])
    erase(project, "alma", withdraw_only=True)
    assert (gone.exists(), kept.exists()) == (False, True)


def test_nothing_caches_what_rows_say_beside_an_erasure(desk, monkeypatch):
    monkeypatch.setattr(promotion, "WAIT_S", 0)
    monkeypatch.setattr(membership, "WAIT_S", 0)
    shutil.rmtree(desk.kept / "runtimes", ignore_errors=True)  # so that a promotion measures
    with desk.lock("train"):  # as an erasure does
        for measure in (lambda: promotion.promote(desk, "v1", "by hand"), lambda: audit_membership(desk)):
            with pytest.raises(Busy, match="another `train` runs"):
                measure()
