"""Backbones are compared on the user's rows: a bad one hides no good one, test rows are not used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from millwright.data.prepare import prepare
from millwright.errors import BadInput
from millwright.project import Project
from millwright.records import Interval
from millwright.settings import change_settings
from millwright.train.backbones import load_backbone
from millwright.train.cache import cache_bytes
from millwright.train.choose import BackboneScore, _recommend, compare_backbones
from millwright.train.states import cached_features
from tests.desk import LABELS, dataset_of, make_desk, puzzling_rows, save_encoder, telling_rows, texts_of


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    return make_desk(tmp_path / "desk", encoder, telling_rows(120))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def compare(project: Project, *names: object, **told) -> tuple[list[BackboneScore], str]:
    return compare_backbones(
        prepare(project), [str(name) for name in names], project.settings, kept=project.kept,
        progress=told.get("progress", lambda name, done: None),
    )  # fmt: skip


def test_a_candidate_is_measured_as_the_second_library_measures_it(project, encoder):
    (score,), _ = compare(project, encoder)
    rows = prepare(project).split("train", "validation")
    backbone = load_backbone(str(encoder), 32)
    features, _ = cached_features(
        backbone, texts_of(rows), torch.float32, project.kept / "other", lambda done: None
    )
    truth = np.array([LABELS.index(row.label) for row in rows])
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    expected = cross_val_score(
        LogisticRegression(C=5, max_iter=1000),
        features.numpy(),
        truth,
        groups=[row.group for row in rows],
        cv=folds,
    )
    assert score.accuracy.value == pytest.approx(np.mean(expected), abs=0.06)
    assert score.accuracy.low < score.accuracy.value < score.accuracy.high or score.accuracy.value == 1


def test_size_width_and_depth_are_those_of_the_network(project, encoder):
    (score,), _ = compare(project, encoder)
    model = load_backbone(str(encoder), 32).model
    assert (score.hidden, score.layers) == (32, 4)
    assert score.size_bytes == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert score.sentences_per_second > 0
    assert score.error is None


def test_test_rows_are_not_used(project, encoder):
    dataset = prepare(project)
    spoilt = dataset_of(
        [replace(row, text="x") if row.split == "test" else row for row in dataset.rows], project.folder
    )
    first, second = (
        compare_backbones(
            some, [str(encoder)], project.settings, kept=project.kept, progress=lambda n, d: None
        )[0]
        for some in (dataset, spoilt)
    )
    assert first[0].accuracy == second[0].accuracy


def test_each_candidate_is_measured_in_its_order_with_its_progress(project, encoder, tmp_path):
    other = save_encoder(tmp_path / "distil", "distilbert")
    told: list[tuple[str, float]] = []
    scores, _ = compare(project, encoder, other, progress=lambda name, done: told.append((name, done)))
    assert [score.name for score in scores] == [str(encoder), str(other)]
    for name in (str(encoder), str(other)):
        parts = [done for said, done in told if said == name]
        assert parts == sorted(parts)
        assert parts[-1] == pytest.approx(1)


def test_a_candidate_that_cannot_be_loaded_is_listed_with_the_reason(project, encoder):
    scores, advice = compare(project, "/nowhere", encoder)
    assert "no backbone '/nowhere'" in scores[0].error
    assert scores[0].accuracy == Interval(0, 0, 0)
    assert scores[1].error is None
    assert advice.startswith(f"{encoder}: ")


def test_comparing_keeps_the_cache_within_its_limit(project, encoder):
    settings = change_settings(project.settings, "train", cache_bytes=100)
    compare_backbones(
        prepare(project), [str(encoder)], settings, kept=project.kept, progress=lambda name, done: None
    )
    assert cache_bytes(project.kept / "cache") <= 100


def test_a_damaged_candidate_is_listed_with_the_reason(project, encoder, tmp_path):
    broken = save_encoder(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:1000])
    scores, _ = compare(project, broken, encoder)
    assert "are damaged" in scores[0].error


def test_no_candidate_that_can_be_loaded_is_refused_with_the_reason(project):
    with pytest.raises(BadInput, match="no candidate could be measured; no backbone '/nowhere'"):
        compare(project, "/nowhere")
    with pytest.raises(BadInput, match="name at least one backbone"):
        compare(project)


def test_too_few_rows_are_refused_with_their_number(tmp_path, encoder):
    project = make_desk(tmp_path / "small", encoder, telling_rows(24))
    rows = len(prepare(project).split("train", "validation"))
    with pytest.raises(BadInput, match=f"needs 30 rows, there are {rows}; add rows"):
        compare(project, encoder)


def test_what_cannot_be_learnt_is_not_claimed(tmp_path, encoder):
    project = make_desk(tmp_path / "puzzle", encoder, puzzling_rows(240))
    (score,), _ = compare(project, encoder)
    deviation = (1 / 3 * 2 / 3 / len(prepare(project).split("train", "validation"))) ** 0.5
    assert score.accuracy.value == pytest.approx(1 / 3, abs=4 * deviation)


def score(name: str, accuracy: float, speed: float, half: float = 0.02) -> BackboneScore:
    return BackboneScore(name, Interval(accuracy, accuracy - half, accuracy + half), speed, 1, 1, 1)


@pytest.mark.parametrize(
    ("scores", "advice"),
    [
        ([score("only", 0.8, 10)], "only: the most accurate (80.0%), and none as accurate is faster"),
        ([score("good", 0.9, 10), score("fast", 0.7, 99)], "good: the most accurate (90.0%)"),
        (
            [score("good", 0.9, 10), score("near", 0.89, 40)],
            "near: its accuracy (89.0%) cannot be told from the best",
        ),
        ([score("good", 0.9, 10), score("near", 0.89, 40)], "it is 4.0 times as fast"),
        ([score("good", 0.9, 50), score("near", 0.89, 40)], "good: the most accurate (90.0%)"),
    ],
)
def test_the_fastest_of_those_that_cannot_be_told_from_the_best_is_recommended(scores, advice):
    assert advice in _recommend(scores)


def test_a_folder_below_this_one_can_be_named_by_a_relative_path(project, encoder, monkeypatch):
    monkeypatch.chdir(Path(encoder).parent)
    (score,), _ = compare(project, f"./{encoder.name}")
    assert score.error is None
