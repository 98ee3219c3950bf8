"""Erasure of versions of shards: what the person's shard was is trained anew, the others stay to the byte."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from millwright.data.split import split_of
from millwright.erase.erasure import erase, erase_all
from millwright.erase.found import all_datasets
from millwright.privacy.receipts import check_receipt
from millwright.privacy.signing import public_text
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.registry.card import model_card
from millwright.registry.versions import CHAMPION, alias, list_versions, version_manifest
from millwright.serve.torch_body import open_torch_body
from millwright.settings import change_settings
from millwright.steps import evaluate, predict, train
from millwright.store.files import sealed_folder, write_json
from millwright.surfaces import screen
from millwright.surfaces.screen import found_lines, receipt_lines, version_table
from tests.conftest import contents
from tests.desk import copy_desk, make_desk, telling_rows
from tests.erase.people import DATA, HEADER, Killed, Rows, kill_at, plan_erasure, shuffled, without

PEOPLE = tuple(f"person {n}" for n in range(10))
TWO = {"method": "top", "shards": 2, "epochs": 1, "batch_size": 8}
FILES = ("shard-0.safetensors", "shard-1.safetensors", "classifier.json", "tokenizer.json")


def rows_of_ten(count: int = 120) -> list[tuple[str, str, str]]:
    return [(text, label, PEOPLE[n % 10]) for n, (text, label) in enumerate(telling_rows(count))]


def ten(folder: Path, encoder: Path, rows: Rows) -> Project:
    """A project of two shards in which a person stands in one split."""
    data = {**DATA, "group": "who", "validation_share": 0.2, "split_seed": 1}
    return make_desk(folder, encoder, rows, header=HEADER, data=data, train=TWO)


@pytest.fixture(scope="module")
def shards_folder(tmp_path_factory, encoder) -> Path:
    """A desk whose champion has two shards. Copy it, don't touch it."""
    project = ten(tmp_path_factory.mktemp("shards") / "desk", encoder, rows_of_ten())
    train(project)
    project.database.dispose()
    return project.folder


@pytest.fixture
def desk(tmp_path, shards_folder) -> Project:
    return copy_desk(shards_folder, tmp_path / "desk")


def held_by(project: Project, version: str) -> dict[str, bytes]:
    return {name: (project.kept / "versions" / version / name).read_bytes() for name in FILES}


def taught_by(people: Sequence[str]) -> list[str]:
    return [name for name in people if split_of(f"g:{name}", 1, 0.2, 0.2) == "train"]


def people_in(project: Project, *splits: str) -> list[str]:
    (dataset,) = all_datasets(project)
    return sorted({row.subject for row in dataset.split(*splits)})


def never_saw(folder: Path, encoder: Path, rows: Rows, person: str) -> dict[str, bytes]:
    """What a version holds whose project was given shuffled rows that never had the person's."""
    project = ten(folder, encoder, shuffled(without(rows, person), seed=3))
    return held_by(project, train(project).name)


def shard_number(person: str) -> int:
    """The documented hash, by hand."""
    digest = hashlib.blake2b(f"shard 0\0{person}".encode(), digest_size=8).digest()
    return int(int.from_bytes(digest, "big") / 2**64 * 2)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_persons_shard_is_the_retrain_to_the_byte_and_the_others_are_what_they_were(
    desk, tmp_path, encoder, split
):
    person = people_in(desk, split)[0]
    before = held_by(desk, "v1")
    receipt = erase(desk, person).receipt
    after = held_by(desk, alias(desk, CHAMPION))
    assert after == never_saw(tmp_path / "never", encoder, rows_of_ten(), person)
    touched = {f"shard-{shard_number(person)}.safetensors"}
    changed = {name for name in FILES[:2] if before[name] != after[name]}
    assert changed == (set() if split == "test" else touched)
    made = receipt["versions"]["v1"]
    assert set(made["shards_trained_anew"]) == changed
    assert set(made["shards_kept"]) == set(FILES[:2]) - changed
    for name in FILES[:2]:
        hashes = [hashlib.sha256(one[name]).hexdigest() for one in (before, after)]
        anew, kept = made["shards_trained_anew"].get(name), made["shards_kept"].get(name)
        assert hashes == ([anew["before"], anew["after"]] if anew else [kept, kept])
    assert f"{len(changed)} of 2 shards trained anew" in receipt_lines(receipt)


def test_people_of_one_call_train_each_touched_shard_once_and_to_the_byte(desk, tmp_path, encoder):
    by_shard = {n: [name for name in people_in(desk, "train") if shard_number(name) == n] for n in (0, 1)}
    chosen = by_shard[0][:1] + by_shard[1][:2]
    assert all(set(by_shard[n]) - set(chosen) for n in (0, 1))  # somebody is left to teach each
    begun: list[str] = []
    done = erase_all(desk, chosen, progress=lambda stage, _: begun.append(stage))
    for shard in (1, 2):
        stage = f"shard {shard} of 2: tune on all"
        runs = [place for place, name in enumerate(begun) if name == stage and begun[place - 1] != stage]
        assert len(runs) == 1
    rows = [row for row in rows_of_ten() if row[2] not in chosen[1:]]
    assert held_by(desk, alias(desk, CHAMPION)) == never_saw(tmp_path / "never", encoder, rows, chosen[0])
    for person, one in done.erased.items():
        made = one.receipt["versions"]["v1"]
        assert made["shards_that_saw"] == [shard_number(person)]
        assert set(made["shards_trained_anew"]) == set(FILES[:2])


def test_the_plan_names_the_shards_that_saw_the_person_and_changes_nothing(desk):
    person = people_in(desk, "train")[0]
    before = contents(desk.folder)
    found = plan_erasure(desk, person)
    assert contents(desk.folder) == before
    assert (found.versions["v1"]["shards"], found.versions["v1"]["shards_that_saw"]) == (
        2,
        [shard_number(person)],
    )
    assert "in 1 of 2 shards" in found_lines(found.to_json())


def test_the_receipt_is_signed_over_the_shards(desk, tmp_path):
    erased = erase(desk, people_in(desk, "train")[0])
    public = public_text(open_vault(desk).keys.signing_key)
    receipt = check_receipt(erased.path, public)
    manifest = version_manifest(desk, alias(desk, CHAMPION))
    assert [about["trained"] for about in manifest["facts"]["shards"]].count(True) == 1
    made = receipt["versions"]["v1"]
    folder = desk.kept / "versions" / made["successor"]
    lines = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES[:2]
    )
    assert made["successor_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_a_kill_while_the_shard_trains_ends_the_same(desk, tmp_path, encoder):
    person = people_in(desk, "train")[0]
    with pytest.raises(Killed):
        erase(desk, person, progress=kill_at(f"shard {shard_number(person) + 1} of 2: tune on all"))
    again = open_project(desk.folder)
    erase(again, person)
    assert held_by(again, alias(again, CHAMPION)) == never_saw(
        tmp_path / "never", encoder, rows_of_ten(), person
    )


def test_a_row_of_somebody_else_that_stood_back_for_the_persons_reaches_its_own_shard(tmp_path, encoder):
    """Of two equal rows one teaches: when its owner goes, the other's shard is trained anew, too."""
    rows = rows_of_ten()
    shard = {name: shard_number(name) for name in PEOPLE}
    taught = taught_by(PEOPLE)
    pairs = [(a, b) for a in taught for b in taught if shard[a] != shard[b]]
    first, second = pairs[0]
    text, label, _ = next(row for row in rows if row[2] == first)
    rows = [*rows, (text, label, second)]
    project = ten(tmp_path / "desk", encoder, rows)
    train(project)
    (dataset,) = all_datasets(project)
    owner = next(row.subject for row in dataset.rows if row.text == text)
    receipt = erase(project, owner).receipt
    assert len(receipt["versions"]["v1"]["shards_trained_anew"]) == 2
    never = never_saw(tmp_path / "never", encoder, rows, owner)
    assert held_by(project, alias(project, CHAMPION)) == never


def test_where_a_shard_cannot_learn_without_the_person_the_version_is_withdrawn_and_the_receipt_says_so(
    tmp_path, encoder
):
    taught = taught_by(PEOPLE)
    person = taught[0]
    others = {name for name in PEOPLE if shard_number(name) == shard_number(person)} - {person}
    rows = [(text, "pin" if who in others else label, who) for text, label, who in rows_of_ten()]
    project = ten(tmp_path / "desk", encoder, rows)
    train(project)
    receipt = erase(project, person).receipt
    assert alias(project, CHAMPION) is None
    assert list_versions(project) == []
    how = receipt["versions"]["v1"]["how"]
    assert how.startswith("withdrawn from service: no version can be trained on what is left (")
    assert f"shard {shard_number(person)} have the labels ['pin']" in how
    assert receipt["versions"]["v1"]["successor"] is None


def test_a_successor_answers(desk):
    erase(desk, people_in(desk, "train")[0])
    (answer,) = predict(desk, ["card lost stolen please"], top_k=3)
    assert sum(answer.probabilities) == pytest.approx(1)


def test_the_report_says_what_the_shards_cost_once_there_is_a_version_in_one_piece(desk):
    evaluation, page = evaluate(desk)
    assert "2 shards learnt apart: train the same dataset with --shards 1" in evaluation.notes[-1]
    whole = replace(desk, settings=change_settings(desk.settings, "train", shards=1))
    assert train(whole).name == "v2"
    in_pieces, page = evaluate(desk)
    in_one, _ = evaluate(desk, version="v2")
    lost = 100 * (in_one.accuracy.value - in_pieces.accuracy.value)
    assert f"in one piece (v2) the accuracy is {in_one.accuracy.value:.4f}" in in_pieces.notes[-1]
    assert (f"they cost {lost:.1f} points" in in_pieces.notes[-1]) == (lost > 0)
    assert in_pieces.notes[-1] in page.read_text()
    assert not any("shards" in note for note in in_one.notes)


def test_bodies_with_weights_that_the_person_taught_a_shard_go(desk):
    _, key = open_torch_body(desk.kept / "versions" / "v1")
    for name in (f"{key}-float32", "bb-float32"):
        with sealed_folder(desk.kept / "bodies" / name) as folder:
            write_json(folder / "body.json", {"rows": []})
    receipt = erase(desk, people_in(desk, "train")[0]).receipt
    assert receipt["bodies_deleted"] == [f"{key}-float32"]
    assert [path.name for path in (desk.kept / "bodies").iterdir()] == ["bb-float32"]


def test_a_version_is_shown_with_its_shards(desk, capsys):
    manifest = version_manifest(desk, "v1")
    sizes = [about["rows"] for about in manifest["facts"]["shards"]]
    (dataset,) = all_datasets(desk)
    taught = [shard_number(row.subject) for row in dataset.split("train", "validation")]
    assert sizes == [taught.count(0), taught.count(1)]
    screen.out.print(version_table(manifest, ()))
    assert f"2 that learnt apart, of {sizes[0]}, {sizes[1]} rows" in capsys.readouterr().out
    assert f"2 shards by person, of {sizes[0]}, {sizes[1]} rows" in model_card(manifest)
