"""Spans through the verbs: trained, listed, measured, found, refused where a verb knows no spans."""

import json
from pathlib import Path

import pytest
import torch

import millwright
from millwright.drift.check import check_drift
from millwright.errors import BadInput
from millwright.experiment.plans import plan_of, start
from millwright.loop import turn
from millwright.membership import audit_membership
from millwright.project import Project
from millwright.registry.classifiers import load_classifier, load_model
from millwright.registry.versions import version_manifest
from millwright.review.queue import build_queue
from millwright.serve.loading import Loader
from millwright.serve.runtime_record import Candidate, read_runtime
from millwright.settings import change_settings
from millwright.steps import evaluate, predict, train
from millwright.train.choose import compare_backbones
from millwright.train.span_metrics import SpanEvaluation
from millwright.weak.report import survey_weak
from tests.desk import copy_desk
from tests.span_desk import span_project, span_rows
from tests.surfaces.test_cli import run, wrong


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder) -> Project:
    """A project of spans with the champion v1."""
    project = span_project(tmp_path_factory.mktemp("spans") / "desk", encoder, span_rows(240))
    train(project)
    return project


def test_the_first_version_is_champion_and_says_what_it_is(trained):
    (info,) = millwright.versions(trained)
    assert (info.name, info.aliases, info.method) == ("v1", ("champion",), "head")
    manifest = version_manifest(trained, "v1")
    assert manifest["labels"] == ["ITEM", "MOVE"]
    assert info.accuracy == manifest["metrics"]["f1"]["value"] > 0.95
    card = (trained.kept / "versions" / "v1" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert "Finds spans of 2 labels in text." in card
    assert f"| f1 | {info.accuracy:.4f} |" in card
    assert "- `ITEM`\n- `MOVE`" in card
    record = read_runtime(trained, "v1")
    assert record is not None
    assert (record.runtime, record.candidates) == ("torch", (Candidate("torch"),))


def test_it_is_measured_on_test_rows_and_the_page_fetches_nothing(trained):
    found, page = evaluate(trained)
    assert isinstance(found, SpanEvaluation)
    assert found.to_json()["f1"] == version_manifest(trained, "v1")["metrics"]["f1"]
    written = page.read_text()
    assert "ITEM" in written
    assert "MOVE" in written
    assert f"{found.f1.value:.4f}" in written
    assert "<svg" in written
    assert not [one for one in ("src=", "<link", "@import", "url(h") if one in written]
    assert json.loads(page.with_suffix(".json").read_text())["per_label"][0]["label"] == "ITEM"


def test_it_is_measured_on_a_file_of_its_own(trained, tmp_path):
    row = {"text": "please my card is", "spans": [{"start": 10, "end": 14, "label": "ITEM"}], "who": ""}
    path = tmp_path / "own.jsonl"
    path.write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "text": "help my card is", "spans": []}) + "\n"
    )
    found, _ = evaluate(trained, data=path)
    assert isinstance(found, SpanEvaluation)
    assert (found.rows, found.spans, found.found) == (2, 1, 2)
    assert (found.precision.value, found.recall.value) == (0.5, 1.0)


def test_spans_are_told_by_the_places_of_the_text_that_came(trained):
    texts = [
        "ada@example.com \r\n please my card is",  # masked, and cleaned before that
        "where is the\x00 money sent",
        "please help",
    ]
    answers = predict(trained, texts)
    told = [
        [(text[start:end], label) for (start, end), label in zip(one.places, one.labels, strict=True)]
        for text, one in zip(texts, answers, strict=True)
    ]
    assert told == [[("card", "ITEM")], [("money sent", "MOVE")], []]
    assert all(0 < sure <= 1 for one in answers for sure in one.probabilities)


def test_several_labels_of_a_span_are_not_to_be_had(trained):
    with pytest.raises(BadInput, match="top_k is 2"):
        predict(trained, ["card"], top_k=2)


def test_a_second_version_can_be_promoted(trained, tmp_path):
    project = copy_desk(trained.folder, tmp_path / "desk")
    assert train(project).name == "v2"
    assert millwright.promote(project, "v2", "to test") == "v2"
    assert millwright.roll_back(project) == "v1"


def test_a_person_can_be_erased_down_to_the_model(trained, encoder, tmp_path):
    project = copy_desk(trained.folder, tmp_path / "desk")
    millwright.erase(project, "bob")
    rest = [row for row in span_rows(240) if row["who"] != "bob"]
    without = span_project(tmp_path / "without", encoder, rest)
    train(without)
    heads = [load_model(one, "champion").head for one in (project, without)]
    assert (heads[0].weight_KD == heads[1].weight_KD).all()
    assert (heads[0].chain.move_KK == heads[1].chain.move_KK).all()
    assert (project.folder / "rows.jsonl").read_text().count('"bob"') == 0


def test_on_the_command_line(trained, capsys, tmp_path):
    at = ("--project", trained.folder)
    assert run("prepare", "--json", *at) == 0
    report = json.loads(capsys.readouterr().out)
    assert "<h2>Spans a label</h2>" in Path(report["page"]).read_text()
    rows = span_rows(240)
    assert report["spans"]["count"] == sum(len(row["spans"]) for row in rows)
    assert report["spans"]["rows_without"] == sum(not row["spans"] for row in rows)
    assert run("evaluate", *at) == 0
    said = capsys.readouterr().out
    assert "rows all right" in said
    assert "MOVE" in said
    assert run("predict", "please my card is", "help", *at) == 0
    first, *more = capsys.readouterr().out.splitlines()
    assert first.split("\t")[:4] == ["1", "10", "14", "ITEM"]
    assert not more
    assert run("predict", "please my card is", "--json", *at) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    (span,) = answer["spans"]
    assert {**span, "probability": 0} == {
        "start": 10,
        "end": 14,
        "label": "ITEM",
        "probability": 0,
        "text": "card",
    }
    assert run("versions", "list", *at) == 0
    assert " F1 " in capsys.readouterr().out
    assert run("versions", "show", *at) == 0
    assert "macro F1" in capsys.readouterr().out
    assert "`millwright run` knows texts with one label each" in wrong(capsys, "run", *at)
    assert "a search of 3 settings was asked for" in wrong(capsys, "train", "--search", "3", *at)


@pytest.mark.parametrize(
    "refused",
    [
        lambda project: turn(project),
        lambda project: start(project, plan_of(project, ["v1"])),
        lambda project: check_drift(project),
        lambda project: audit_membership(project),
        lambda project: build_queue(project),
        lambda project: survey_weak(project, [project.folder / "rows.jsonl"], []),
        lambda project: compare_backbones(
            None, ["minilm"], project.settings, kept=project.kept, progress=lambda *_: None
        ),
    ],
    ids=["turn", "experiment", "drift", "membership", "review", "weak", "backbones"],
)
def test_what_knows_no_spans_says_so_and_what_to_do(trained, refused):
    with pytest.raises(BadInput, match=r"one label each.*project\.task.*run `millwright train`") as raised:
        refused(trained)
    assert raised.value.field == "project.task"


def test_a_version_of_the_other_task_is_neither_served_nor_taken_for_a_classifier(trained):
    with pytest.raises(BadInput, match="version 'v1' finds spans"):
        load_classifier(trained, "v1")
    changed = Project(
        trained.folder, change_settings(trained.settings, "project", task="text-classification")
    )
    with pytest.raises(BadInput, match=r"v1 was not trained for project\.task 'text-classification'"):
        Loader(changed).load("v1")


def test_a_head_over_the_same_backbone_shares_its_body_in_service(trained, tmp_path):
    project = copy_desk(trained.folder, tmp_path / "desk")
    train(project)
    loader = Loader(project)
    one, two = loader.load("v1"), loader.load("v2")
    assert one.body is two.body
    texts = ["please my card is", "where", "money sent"]
    with torch.inference_mode():
        said = one.probabilities(one.body.features(texts))
    assert list(said) == load_model(project, "v1").find(texts)
    assert Path(project.folder).is_dir()
