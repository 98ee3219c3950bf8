"""From rows to a classifier: the method and why, who teaches, and that the same rows give the same bytes."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch

from millwright.data.dataset import Dataset
from millwright.data.prepare import prepare
from millwright.errors import BadInput, CannotStore, NotFound
from millwright.project import Project
from millwright.records import Row
from millwright.settings import FROZEN, PRIVATE, change_settings
from millwright.steps import train
from millwright.train import fit as fitting
from millwright.train import states
from millwright.train.fit import Fitted, fit
from millwright.train.heads import log_loss
from millwright.train.methods import METHODS
from millwright.train.tuned import drop_checkpoints
from millwright.train.work import truth_of
from tests.conftest import full_disk
from tests.desk import LABELS, dataset_of, make_desk, puzzling_rows, telling_rows
from tests.train.conftest import mostly_quick

TUNED = [name for name in METHODS if name not in (*FROZEN, *PRIVATE)]


def fitted(project: Project, dataset: Dataset | None = None, **train: object) -> Fitted:
    settings = change_settings(project.settings, "train", **train)
    return fit(dataset or prepare(project), settings, kept=project.kept, progress=lambda stage, done: None)


def head_bytes(found: Fitted) -> bytes:
    return b"".join(found.classifier.tuned[f"head.{part}"].numpy().tobytes() for part in ("weight", "bias"))


def all_bytes(found: Fitted) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in found.classifier.tuned.items()}


def with_rows(project: Project, dataset: Dataset, change: Callable[[Row], Row]) -> Dataset:
    return dataset_of([change(row) for row in dataset.rows], project.folder / uuid4().hex)


def others(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)]


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    return make_desk(tmp_path / "desk", encoder, telling_rows(150))


@pytest.mark.parametrize("method", list(METHODS))
def test_a_method_that_the_settings_name_is_taken(project, method):
    found = fitted(project, method=method, epochs=2, epsilon=50.0)
    assert (found.method, found.classifier.method) == (method, method)
    assert found.why == "the settings name it"


def test_auto_takes_the_head_where_validation_rows_show_that_it_is_good_enough(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(300), data={"validation_share": 0.3})
    dataset = prepare(project)
    held = len(dataset.split("validation"))
    assert held / (held + 1.96**2) > 0.9  # where Wilson's interval begins if every row is right
    found = fitted(project, dataset, method="auto")
    assert (found.method, found.facts["validation_accuracy"]) == ("head", 1.0)
    assert found.why == (
        f"a head on the frozen backbone is right on 100.0% of {held} validation rows: good enough, and it "
        "trains in seconds"
    )


def test_auto_asks_cross_validation_where_validation_rows_are_too_few_to_tell(project):
    dataset = prepare(project)
    held, rows = (len(dataset.split(*names)) for names in (["validation"], ["train", "validation"]))
    low = held / (held + 1.959964**2)
    assert low < 0.9
    found = fitted(project, dataset, method="auto")
    assert found.method == "head"
    assert (
        f"100.0% of {held} validation rows, too few to tell (95 % between {low:.1%} and 100.0%)" in found.why
    )
    assert f"of {rows} rows in cross-validation: good enough" in found.why


def test_a_lucky_validation_row_does_not_make_a_weak_head_good_enough(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, puzzling_rows(480), train={"epochs": 1})
    dataset = prepare(project)
    telling = fitted(project, dataset, method="head").classifier
    held = dataset.split("validation")
    said = telling.probabilities([row.text for row in held]).argmax(1)
    lucky = {row.id for row, best in zip(held, said, strict=True) if telling.labels[best] == row.label}
    lucky = set(sorted(lucky)[:4])
    few = with_rows(
        project, dataset,
        lambda row: replace(row, split="train") if row.split == "validation" and row.id not in lucky else row,
    )  # fmt: skip
    found = fitted(project, few, method="auto")
    assert f"of {len(lucky)} validation rows, too few to tell" in found.why
    assert found.method == "top"


def test_auto_decides_by_cross_validation_where_there_are_no_validation_rows(project):
    dataset = prepare(project)
    trained = with_rows(
        project, dataset, lambda row: replace(row, split="train") if row.split == "validation" else row
    )
    found = fitted(project, trained, method="auto")
    assert found.facts["validation_accuracy"] is None
    assert f"of {len(trained.split('train'))} rows in cross-validation: good enough" in found.why


@pytest.mark.parametrize(
    ("count", "names", "teachers"),
    [
        (60, {"card": "my_card_lost", "pin": "my_pin_forgot", "transfer": "transfer_money_sent"}, 3),
        (60, {"card": "a1", "pin": "b2", "transfer": "c3"}, 0),  # codes say nothing
        (150, {}, 0),  # rows enough
    ],
)
def test_labels_names_teach_where_rows_are_few_and_the_names_say_something(
    tmp_path, encoder, count, names, teachers
):
    rows = [(text, names.get(label, label)) for text, label in telling_rows(count)]
    found = fitted(make_desk(tmp_path / "desk", encoder, rows), method="head")
    assert found.facts["label_names"] == teachers


def test_auto_takes_the_head_where_rows_are_too_few_to_train_layers(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, puzzling_rows(90))
    dataset = prepare(project)
    found = fitted(project, dataset, method="auto")
    rows_a_label = len(dataset.split("train")) / len(found.classifier.labels)
    assert found.method == "head"
    assert f"; {rows_a_label:.0f} rows a label are too few" in found.why


def test_auto_trains_the_last_layers_where_the_head_is_weak_and_rows_are_many(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, puzzling_rows(480), train={"epochs": 1})
    found = fitted(project, method="auto")
    assert found.method == found.classifier.method == "top"
    assert "can teach the last layers more" in found.why
    assert any(name.startswith("encoder.") for name in found.classifier.tuned)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only a CPU minds how many tokens there are")
def test_auto_spares_a_processor_an_hour_of_training(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(fitting, "AUTO_MOST_TOKENS", 100)
    found = fitted(make_desk(tmp_path / "desk", encoder, puzzling_rows(480)), method="auto")
    assert found.method == "head"
    assert "tokens are many for a CPU: try --method top" in found.why


def test_the_same_rows_in_another_order_give_the_same_head(tmp_path, encoder):
    rows = telling_rows(150)
    shuffled = random.Random(1).sample(rows, len(rows))
    first, second = (
        fitted(make_desk(tmp_path / name, encoder, some)) for name, some in (("a", rows), ("b", shuffled))
    )
    assert head_bytes(first) == head_bytes(second)
    assert first.classifier.temperature == second.classifier.temperature


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"epochs": 1}, {"seed": 9}, {"learning_rate": 0.1}])
def test_the_head_does_not_depend_on_settings_of_the_loop(project, change):
    assert head_bytes(fitted(project)) == head_bytes(fitted(project, **change))


def test_the_head_is_the_same_from_the_cache_and_without_it(project, tmp_path):
    first = fitted(project)
    again = fitted(project)
    assert (first.facts["texts_run"], again.facts["texts_run"]) == (first.facts["taught_by"], 0)
    assert head_bytes(first) == head_bytes(again)


@pytest.mark.parametrize("method", mostly_quick(TUNED))
def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path, encoder, method):
    first, second, third = (
        fitted(make_desk(tmp_path / name, encoder, telling_rows(60)), method=method, seed=seed, epochs=1,
               batch_size=4)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )  # fmt: skip
    assert all_bytes(first) == all_bytes(second)
    assert all_bytes(first) != all_bytes(third)


@pytest.mark.parametrize("method", ["head", "top"])
def test_test_rows_are_never_looked_at(project, method):
    dataset = prepare(project)

    def spoil(row: Row) -> Row:
        return replace(row, text="help", label=others(row.label)) if row.split == "test" else row

    first, second = (
        fitted(project, some, method=method) for some in (dataset, with_rows(project, dataset, spoil))
    )
    assert all_bytes(first) == all_bytes(second)
    assert first.classifier.temperature == second.classifier.temperature


@pytest.mark.parametrize("method", ["head", "top"])
def test_validation_rows_teach_once_they_have_chosen(project, method):
    dataset = prepare(project)
    held = dataset.split("validation")[0]

    def spoil(row: Row) -> Row:
        return replace(row, label=others(row.label)) if row == held else row

    first, second = (
        fitted(project, some, method=method) for some in (dataset, with_rows(project, dataset, spoil))
    )
    assert first.facts["taught_by"] == len(dataset.split("train", "validation"))
    assert all_bytes(first) != all_bytes(second)


def test_what_the_validation_rows_said_is_measured_before_they_teach(tmp_path, encoder):
    project = make_desk(
        tmp_path / "desk", encoder, puzzling_rows(90), data={"validation_share": 0.3},
        train={"method": "full", "epochs": 12, "patience": 99, "label_smoothing": 0, "learning_rate": 0.003},
    )  # fmt: skip
    dataset = prepare(project)
    found = fitted(project, dataset)
    held = dataset.split("validation")
    learnt = log_loss(
        found.classifier.probabilities([row.text for row in held]), truth_of(held, found.classifier.labels)
    )
    chance = np.log(3)
    assert found.facts["validation_log_loss"] > 0.95 * chance  # labels by chance cannot be foretold
    assert learnt < found.facts["validation_log_loss"]  # but they can be learnt by heart


def test_without_validation_rows_every_row_teaches_and_nothing_is_claimed(project):
    dataset = prepare(project)
    trained = with_rows(
        project, dataset, lambda row: replace(row, split="train") if row.split == "validation" else row
    )
    found = fitted(project, trained, method="top")
    assert found.facts["validation_accuracy"] is None
    assert found.facts["validation_log_loss"] is None
    assert found.facts["taught_by"] == len(trained.split("train"))
    assert found.classifier.temperature == 1.0
    assert fitted(project, trained).classifier.temperature == 1.0


def test_a_label_that_only_validation_rows_have_is_left_out(project):
    dataset = prepare(project)
    held = dataset.split("validation")[0]
    strange = with_rows(project, dataset, lambda row: replace(row, label="strange") if row == held else row)
    found = fitted(project, strange)
    assert found.classifier.labels == LABELS
    assert found.facts["taught_by"] == len(dataset.split("train", "validation")) - 1


def test_one_label_in_training_is_refused_before_a_backbone_is_loaded(project):
    dataset = with_rows(project, prepare(project), lambda row: replace(row, label="card"))
    nowhere = change_settings(project.settings, "backbone", name="/nowhere")
    with pytest.raises(BadInput, match=r"training rows have the labels \['card'\]; at least two"):
        fit(dataset, nowhere, kept=project.kept, progress=lambda stage, done: None)


def test_a_backbone_that_is_nowhere_is_named(project, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    nowhere = change_settings(project.settings, "backbone", name="/nowhere")
    with pytest.raises(NotFound, match="no backbone '/nowhere'"):
        fit(prepare(project), nowhere, kept=project.kept, progress=lambda stage, done: None)


@pytest.mark.parametrize("method", ["head", "top", "full"])
def test_each_stage_tells_its_progress_and_its_cost(project, method):
    told: dict[str, list[float]] = {}
    settings = change_settings(project.settings, "train", method=method)
    found = fit(
        prepare(project), settings, kept=project.kept,
        progress=lambda stage, done: told.setdefault(stage, []).append(done),
    )  # fmt: skip
    assert (
        set(told)
        == {
            "head": {"features", "head"},
            "top": {"states", "tune", "tune on all"},
            "full": {"tune", "tune on all"},
        }[method]
    )
    for parts in told.values():
        assert parts == sorted(parts)
        assert 0 <= parts[0] <= parts[-1] == 1
    assert set(told) <= set(found.facts["stages"])
    assert all(cost["seconds"] >= 0 for cost in found.facts["stages"].values())
    assert found.facts["peak_memory_bytes"] > 50e6


def test_layers_learn_in_float32_where_bfloat16_does_not_agree(tmp_path, encoder, monkeypatch):
    project, other = (make_desk(tmp_path / name, encoder, telling_rows(60)) for name in ("a", "b"))
    monkeypatch.setattr(states, "fast_precision", lambda: torch.float32)
    exact = fitted(project, method="full", epochs=1)
    monkeypatch.setattr(states, "fast_precision", lambda: torch.bfloat16)
    monkeypatch.setattr(states, "LEAST_AGREEMENT", 1.1)
    assert all_bytes(fitted(other, method="full", epochs=1)) == all_bytes(exact)


def test_a_finished_run_leaves_its_curves_and_no_checkpoint(project):
    drop_checkpoints(fitted(project, method="top").runs)
    left = {path.name.split(".")[0] for path in (project.kept / "runs").rglob("*") if path.is_file()}
    assert left == {"events"}


def test_checkpoints_stay_until_the_version_is_registered(project, monkeypatch):
    own = replace(project, settings=change_settings(project.settings, "train", method="top", seed=11))

    def left() -> set[Path]:
        return set((project.kept / "runs").rglob("checkpoint.safetensors"))

    def full(*_: object) -> None:
        raise CannotStore("the disk is full; free space")

    before = left()
    with monkeypatch.context() as patched:
        patched.setattr("millwright.steps.register", full)
        with pytest.raises(CannotStore):
            train(own)
    assert left() > before
    train(own)
    assert left() == before


def test_what_moved_is_counted(project):
    found = fitted(project, method="lora", rank=4)
    moved = sum(tensor.numel() for tensor in found.classifier.tuned.values())
    assert found.facts["parameters_moved"] == moved
    # of each of 4 layers: query and value, 32 x 4 and 4 x 32; and the head
    assert moved == 4 * 2 * 2 * 32 * 4 + 3 * (3 * 32) + 3


@pytest.mark.parametrize(
    ("method", "most_bytes"), [("head", 300), ("head", 9_000), ("top", 300), ("full", 2_000)]
)
def test_a_full_disk_ends_training_with_an_error_and_the_next_one_is_whole(
    tmp_path, encoder, method, most_bytes
):
    project, other = (make_desk(tmp_path / name, encoder, telling_rows(60)) for name in ("a", "b"))
    dataset = prepare(project)
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        fitted(project, dataset, method=method)
    assert all_bytes(fitted(project, dataset, method=method)) == all_bytes(fitted(other, method=method))


def test_a_disk_that_is_full_of_curves_ends_training_instead_of_stopping_it_for_ever(project):
    dataset = prepare(project)
    settings = {"method": "top", "epochs": 400, "patience": 400, "batch_size": 8}
    fitted(project, dataset, method="top")  # so that the states are there
    with full_disk(150_000), pytest.raises(CannotStore, match=r"runs/top-.*free space"):
        fitted(project, dataset, **settings)


def test_labels_are_numbered_in_their_order_and_unknown_ones_are_minus_one():
    rows = [Row("", "", label, "train", "", "") for label in ("b", "a", "c", "b")]
    assert truth_of(rows, ("a", "b")).tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize("method", PRIVATE)
def test_a_private_version_is_another_one_each_time_and_says_what_it_promises(project, method):
    dataset = prepare(project)
    first, second = (fitted(project, dataset, method=method, epsilon=20.0) for _ in range(2))
    assert head_bytes(first) != head_bytes(second)
    told = first.facts["privacy"]
    assert (told["epsilon"], told["delta"]) == (20.0, 1e-6)
    assert told["people"] == first.facts["taught_by"] == len(dataset.split("train"))
    assert first.facts["validation_accuracy"] is None


@pytest.mark.parametrize("method", PRIVATE)
def test_a_private_version_learns_what_a_head_learns(project, method):
    dataset = prepare(project)
    found = fitted(project, dataset, method=method, epsilon=50.0).classifier
    held = dataset.split("test")
    said = found.probabilities([row.text for row in held]).argmax(1)
    assert (said == truth_of(held, found.labels)).mean() > 0.8


@pytest.mark.parametrize("method", PRIVATE)
def test_who_teaches_a_private_version_does_not_choose_its_temperature(project, method):
    """Else one person would be told of twice."""
    dataset = prepare(project)
    number = {row.id: n for split in ("train", "validation") for n, row in enumerate(dataset.split(split))}

    def owned(row: Row, who: str) -> Row:
        return replace(row, subject=f"{who} {number[row.id]}") if row.split != "test" else row

    apart = with_rows(project, dataset, lambda row: owned(row, row.split))
    same = with_rows(project, dataset, lambda row: owned(row, "both"))
    strangers, teachers = (fitted(project, some, method=method, epsilon=50.0) for some in (apart, same))
    assert (strangers.facts["is_calibrated"], teachers.facts["is_calibrated"]) == (True, False)


@pytest.mark.parametrize("method", PRIVATE)
def test_a_person_is_counted_once_however_many_rows_there_are(project, method):
    dataset = with_rows(project, prepare(project), lambda row: replace(row, subject=row.label))
    with pytest.raises(BadInput, match="there are 3, 1.0 a label"):
        fitted(project, dataset, method=method)


@pytest.mark.parametrize("method", PRIVATE)
def test_too_few_people_for_a_promise_are_refused_before_a_text_is_run(project, method):
    with pytest.raises(BadInput, match=r"epsilon = 0.05 with delta = 1e-06 needs [\d,]+ people who teach"):
        fitted(project, method=method, epsilon=0.05)
    assert not (project.kept / "cache").exists()
