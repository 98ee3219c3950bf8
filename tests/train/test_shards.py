"""Shards: each depends on the rows of its own people alone, and together they are one classifier."""

import hashlib
import random
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, Corrupt
from millwright.project import Project
from millwright.records import Row
from millwright.serve.torch_body import TorchBody
from millwright.settings import FROZEN, PRIVATE, TrainSection, change_settings
from millwright.train.averaging import Heads, ShardHead, average
from millwright.train.calibrate import fit_temperature
from millwright.train.ensemble import Ensemble, open_trained, read_members
from millwright.train.fit import Fitted, fit
from millwright.train.methods import METHODS
from millwright.train.shards import deal, member_key, shard_file, shard_of, shard_settings, weights_sha256
from millwright.train.tuned import drop_checkpoints
from tests.desk import LABELS, dataset_of, make_desk, puzzling_rows, telling_rows
from tests.train.conftest import mostly_quick

PEOPLE = tuple(f"p{n}" for n in range(12))
THREE = TrainSection(method="top", shards=3, epochs=1, batch_size=8)
TEXTS = ["my card is lost", "forgot pin", "where is the money sent please help", "transfer"]


def people_rows(count: int = 180, seed: int = 0, puzzling: bool = False) -> list[Row]:
    """Rows of twelve people, about a fifth of them for validation and a tenth for the test."""
    chance, said = random.Random(seed), (puzzling_rows if puzzling else telling_rows)(count, seed)
    splits = ["train"] * 7 + ["validation"] * 2 + ["test"]
    whose = [(person, chance.choice(splits)) for person in (chance.choice(PEOPLE) for _ in said)]
    return [
        Row(f"{n:04}", text, label, split, f"file:{n}", person, person)
        for n, ((text, label), (person, split)) in enumerate(zip(said, whose, strict=True))
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory, encoder) -> Project:
    """Where everything here is trained; what is cached there changes nothing."""
    return make_desk(tmp_path_factory.mktemp("desk") / "desk", encoder, telling_rows(6))


@pytest.fixture(scope="module")
def first(project) -> Fitted:
    """Three shards of everybody's rows."""
    return fitted(project, people_rows())


def dataset(project: Project, rows: Sequence[Row]) -> Dataset:
    name = hashlib.sha256(repr(rows).encode()).hexdigest()[:8]
    return dataset_of(rows, project.folder / name)


def fitted(project: Project, rows: Sequence[Row], *, known=(), train: TrainSection = THREE) -> Fitted:
    settings = change_settings(project.settings, "train", **train.model_dump())
    told = lambda stage, done: None  # noqa: E731
    return fit(dataset(project, rows), settings, kept=project.kept, progress=told, known=known)


def bytes_of(found: Fitted) -> list[dict[str, bytes]]:
    assert isinstance(found.classifier, Ensemble)
    return [
        {name: tensor.numpy().tobytes() for name, tensor in member.tuned.items()}
        for member in found.classifier.members
    ]


def saved(found: Fitted, folder: Path) -> Path:
    folder.mkdir(parents=True)
    found.classifier.save(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_all_rows_of_a_person_are_in_one_shard_and_stay_there_when_rows_are_added():
    before, after = people_rows(180), people_rows(360)
    shards = {row.subject: shard_of(row, THREE) for row in before}
    assert set(shards.values()) == {0, 1, 2}
    assert all(shard_of(row, THREE) == shards[row.subject] for row in after)


def test_rows_of_nobody_are_dealt_by_their_group():
    row = people_rows()[0]
    nobody = [replace(row, id=str(n), text=str(n), subject=None, group="talk 7") for n in range(9)]
    assert len({shard_of(one, THREE) for one in nobody}) == 1


def test_shards_are_even_and_do_not_follow_the_splits():
    """The hash that splits and the hash that deals must be two: else a shard has test rows alone."""
    from millwright.data.split import split_of

    train = TrainSection(shards=4)
    names = [f"person {n}" for n in range(4_000)]
    row = people_rows()[0]
    counts = np.zeros((4, 3))
    for name in names:
        split = split_of(name, train.seed, 0.2, 0.3)
        shard = shard_of(replace(row, subject=name), train)
        counts[shard, ("train", "validation", "test").index(split)] += 1
    expected = 4_000 / 4 * np.array([0.5, 0.2, 0.3])
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 31.3  # 0.1 % of the distribution with 11 degrees of freedom


def test_dealing_loses_nothing_and_keeps_the_order():
    rows = people_rows()
    dealt = deal(rows, THREE)
    assert sorted(row.id for some in dealt for row in some) == [row.id for row in rows]
    assert all([row.id for row in some] == sorted(row.id for row in some) for some in dealt)


def test_a_shard_with_one_label_is_refused_with_what_to_do():
    rows = people_rows()
    poor = shard_of(rows[0], THREE)
    spoilt = [replace(row, label="pin") if shard_of(row, THREE) == poor else row for row in rows]
    with pytest.raises(BadInput, match=rf"shards is 3 .* shard {poor} have the labels \['pin'\]; .* lower"):
        deal(spoilt, THREE)


@pytest.mark.parametrize("method", mostly_quick(name for name in METHODS if name not in (*FROZEN, *PRIVATE)))
def test_a_shard_is_the_same_to_the_byte_whatever_the_people_of_others_said(project, method):
    """Also where the others' rows change the labels, who stops when, and how many steps there are."""
    size = 2 if method == "adalora" else 8  # which needs ten steps
    train = THREE.model_copy(update={"method": method, "rank": 2, "adapter_size": 4, "batch_size": size})
    rows = people_rows(108)
    changed = shard_of(rows[0], train)

    def otherwise(row: Row) -> Row:
        return row if shard_of(row, train) != changed else replace(row, label=f"new {row.label}")

    more = [replace(row, id=f"x{row.id}", text=f"{row.text} help") for row in rows[:1]]
    before = fitted(project, rows, train=train)
    after = fitted(project, [*map(otherwise, rows), *map(otherwise, more)], train=train)
    same = [one == other for one, other in zip(bytes_of(before), bytes_of(after), strict=True)]
    assert same == [shard != changed for shard in range(3)]


def test_each_shard_is_what_training_it_alone_gives(project, first):
    rows, together = people_rows(), bytes_of(first)
    for shard, some in enumerate(deal([row for row in rows if row.split != "test"], THREE)):
        train = shard_settings(THREE, shard).model_copy(update={"shards": 1})
        alone = fitted(project, some, train=train).classifier
        assert {name: tensor.numpy().tobytes() for name, tensor in alone.tuned.items()} == together[shard]


def test_the_same_rows_in_another_order_and_folder_give_the_same_files(tmp_path, encoder, first):
    mixed = random.Random(1).sample(people_rows(), 180)
    other = fitted(make_desk(tmp_path / "b", encoder, telling_rows(6)), mixed)
    assert files(saved(first, tmp_path / "one")) == files(saved(other, tmp_path / "two"))


def test_known_shards_are_taken_where_their_rows_are_the_same_and_nothing_else_is(project, first, tmp_path):
    rows = people_rows()
    gone = rows[0].subject
    left = [row for row in rows if row.subject != gone]
    touched = shard_of(rows[0], THREE)
    known = read_members(saved(first, tmp_path / "v1"))
    again = fitted(project, left, known=known)
    assert [about["trained"] for about in again.facts["shards"]] == [shard == touched for shard in range(3)]
    anew = fitted(project, left)
    assert all(about["trained"] for about in anew.facts["shards"])
    assert files(saved(again, tmp_path / "v2")) == files(saved(anew, tmp_path / "v3"))
    other = fitted(project, rows, known=known, train=THREE.model_copy(update={"learning_rate": 0.01}))
    assert all(about["trained"] for about in other.facts["shards"])


@pytest.mark.parametrize("change", [{"id": "z"}, {"text": "z"}, {"label": "pin"}, {"split": "validation"}])
def test_a_key_tells_rows_apart_by_all_that_teaches(change):
    rows = people_rows()
    assert (rows[0].label, rows[0].split) == ("card", "train")
    keys = {member_key(some, [], THREE) for some in (rows, [replace(rows[0], **change), *rows[1:]])}
    assert len(keys) == 2
    assert member_key(rows, ["another backbone"], THREE) not in keys
    assert member_key(rows, [], THREE.model_copy(update={"cache_bytes": 5, "shards": 9})) in keys


def test_what_was_trained_answers_the_same_after_it_was_saved_and_opened(first, tmp_path):
    made, found = first.classifier, open_trained(saved(first, tmp_path / "v1"))
    assert np.array_equal(found.probabilities(TEXTS), made.probabilities(TEXTS))
    for name in ("labels", "method", "settings", "temperature"):
        assert getattr(found, name) == getattr(made, name), name


def test_answers_are_the_mean_of_what_each_shard_says_by_itself(project, first):
    """Each shard is trained again as a version of its own and asked by itself."""
    rows, made = people_rows(), first.classifier
    said = []
    for shard, some in enumerate(deal([row for row in rows if row.split != "test"], THREE)):
        train = shard_settings(THREE, shard).model_copy(update={"shards": 1})
        alone = fitted(project, some, train=train).classifier
        assert alone.labels == LABELS
        said.append(alone.probabilities(TEXTS))
    mean = np.mean(said, axis=0) ** (1 / made.temperature)
    # The layers below run in one piece with the others' batches: float32 differs in the last digits.
    assert made.probabilities(TEXTS) == pytest.approx(mean / mean.sum(1, keepdims=True), abs=1e-2)


def test_the_temperature_is_that_of_an_average_whose_shards_never_saw_the_row(project):
    rows = people_rows(360, puzzling=True)
    made = fitted(project, rows).classifier
    held = [row for row in rows if row.split == "validation"]
    texts, own = [row.text for row in held], [shard_of(row, THREE) for row in held]
    said = made.heads.each(TorchBody(made).features(texts))
    for shard, some in enumerate(deal([row for row in rows if row.split != "test"], THREE)):
        stopped = made.members[shard]
        before = np.exp(stopped.held_MK.numpy().astype(float) / stopped.temperature)
        assert len(before) == sum(row.split == "validation" for row in some)
        said[shard][np.array(own) == shard] = before / before.sum(1, keepdims=True)
    truth = np.array([LABELS.index(row.label) for row in held])
    logs = np.log(np.mean(said, axis=0))
    assert made.temperature == pytest.approx(fit_temperature(logs, truth), rel=1e-6)
    assert made.temperature != 1.0


def test_what_a_shard_said_of_validation_rows_was_said_before_their_labels_taught_it(project, first):
    def spoil(row: Row) -> Row:
        return replace(row, label=LABELS[LABELS.index(row.label) - 1]) if row.split == "validation" else row

    spoilt = fitted(project, [spoil(row) for row in people_rows()]).classifier
    for member, other in zip(first.classifier.members, spoilt.members, strict=True):
        assert len(member.held_MK) > 3
        assert torch.equal(member.held_MK, other.held_MK)
        assert not torch.equal(member.tuned["head.weight"], other.tuned["head.weight"])


def test_a_label_that_a_shard_lacks_is_averaged_over_those_that_know_it():
    chance = np.random.default_rng(0)
    places = [np.array([0, 1, 2]), np.array([0, 2])]
    heads = [
        ShardHead(place, chance.normal(size=(len(place), 4)), np.zeros(len(place)), 1.5) for place in places
    ]
    feature_NF = chance.normal(size=(5, 8))
    said = Heads(tuple(heads), 3, 1.0).probabilities(feature_NF)
    for n in range(5):
        sums = [[], [], []]
        for shard, head in enumerate(heads):
            logits = [w @ feature_NF[n, 4 * shard : 4 * shard + 4] / 1.5 for w in head.weight_KD]
            weights = [np.exp(logit) for logit in logits]
            for place, weight in zip(head.place_K, weights, strict=True):
                sums[place].append(weight / sum(weights))
        means = [np.mean(one) for one in sums]
        assert said[n] == pytest.approx(np.array(means) / sum(means))


def test_a_shard_that_is_not_asked_does_not_matter():
    heads = [ShardHead(np.arange(3), np.zeros((3, 1)), np.zeros(3), 1.0)] * 3
    said = [np.eye(3)[[0, 0]], np.eye(3)[[1, 1]], np.eye(3)[[2, 2]]]
    assert average(said, heads, 3, np.array([0, 2])).tolist() == [[0, 0.5, 0.5], [0.5, 0.5, 0]]


def test_a_label_of_one_shard_alone_can_be_answered(project):
    rows = people_rows()
    lonely = shard_of(rows[0], THREE)
    named = [
        replace(row, label="lost", text=f"lost stolen {row.text}")
        if shard_of(row, THREE) == lonely and row.label == "card"
        else row
        for row in rows
    ]
    made = fitted(project, named).classifier
    assert "lost" in made.labels
    assert [("lost" in member.labels) for member in made.members] == [shard == lonely for shard in range(3)]
    assert made.probabilities(["lost stolen lost card"]).sum() == pytest.approx(1)


def test_the_digest_of_weights_is_what_sha256sum_says(first, tmp_path):
    folder = saved(first, tmp_path / "v1")
    said = subprocess.run(
        "sha256sum shard-*.safetensors | sha256sum", shell=True, cwd=folder, capture_output=True, text=True
    )
    assert weights_sha256(folder) == said.stdout.split()[0]


def test_files_hold_what_was_tuned_and_a_damaged_one_is_named(first, tmp_path):
    folder = saved(first, tmp_path / "v1")
    for shard, member in enumerate(first.classifier.members):
        weights = load_file(folder / shard_file(shard))
        assert weights.keys() == {*member.tuned, "validation.logits"}
        assert all(torch.equal(weights[name], member.tuned[name]) for name in member.tuned)
    (folder / shard_file(1)).write_bytes(b"damaged")
    with pytest.raises(Corrupt, match="shard-1.safetensors is damaged"):
        open_trained(folder)


def test_no_checkpoint_is_left_and_a_killed_training_ends_the_same(project):
    class Killed(BaseException):
        pass

    def kill(stage: str, done: float) -> None:
        if stage == "shard 2 of 3: tune" and done > 0.5:
            raise Killed

    rows = people_rows(seed=5)
    settings = change_settings(project.settings, "train", **THREE.model_dump())
    with pytest.raises(Killed):
        fit(dataset(project, rows), settings, kept=project.kept, progress=kill)
    assert list((project.kept / "runs").rglob("checkpoint.safetensors"))
    resumed = fitted(project, rows)
    kept = [path for run in resumed.runs for path in run.rglob("checkpoint.safetensors")]
    assert len(resumed.runs) == 3 <= len(kept)  # until the version is
    drop_checkpoints(resumed.runs)
    assert not any(path.exists() for path in kept)
    assert bytes_of(resumed) == bytes_of(fitted(project, rows))


def test_the_head_has_no_shards_since_solving_it_again_is_the_retrain(project):
    made = fitted(project, people_rows(), train=THREE.model_copy(update={"method": "head"}))
    assert not isinstance(made.classifier, Ensemble)
