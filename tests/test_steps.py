"""Train, evaluate, predict as every surface calls them."""

import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from millwright.data.dataset import read_dataset
from millwright.data.prepare import dataset_folder, prepare
from millwright.errors import BadInput, Busy, CannotStore, Corrupt, NotFound
from millwright.project import Project, open_project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import CHAMPION, alias, list_versions, promote, version_manifest
from millwright.settings import change_settings
from millwright.steps import evaluate, predict, train
from millwright.store.files import read_json
from millwright.store.tables import alias_changes, datasets
from millwright.train import backbones
from millwright.turns import list_turns
from tests.conftest import contents, csv_of, full_disk
from tests.desk import LABELS, make_desk, telling_rows


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    return make_desk(tmp_path / "desk", encoder, telling_rows(120))


def test_the_first_version_is_trained_measured_and_champion(project):
    told: list[str] = []
    info = train(project, progress=lambda stage, done: told.append(stage))
    assert (info.name, info.method, alias(project, CHAMPION)) == ("v1", "head", "v1")
    assert {"features", "head"} <= set(told)
    test = prepare(project).split("test")
    best = load_classifier(project, "v1").probabilities([row.text for row in test]).argmax(1)
    right = np.mean([LABELS[place] == row.label for place, row in zip(best, test, strict=True)])
    assert info.accuracy == right == version_manifest(project, "v1")["metrics"]["accuracy"]["value"]


def test_the_first_version_is_the_first_point_of_the_chart(project):
    info = train(project)
    (record,) = list_turns(project)
    assert (record.number, record.challenger, record.champion, record.before) == (1, "v1", None, None)
    assert record.after.value == info.accuracy
    assert record.promoted
    dataset = prepare(project)
    assert record.rows == record.new_rows == len(dataset.split("train", "validation"))
    assert record.held_out == len(dataset.split("test"))


def test_a_later_version_waits_to_be_promoted(project):
    train(project)
    info = train(Project(project.folder, change_settings(project.settings, "train", method="top")))
    assert (info.name, info.method, alias(project, CHAMPION)) == ("v2", "top", "v1")
    assert len(list_turns(project)) == 1


def test_each_version_names_the_settings_that_made_it(project):
    train(Project(project.folder, change_settings(project.settings, "train", seed=7)))
    assert version_manifest(project, "v1")["settings"]["train"]["seed"] == 7
    assert open_project(project.folder).settings.train.seed == 0


def test_a_version_tells_the_cost_of_all_that_was_done_for_it(project):
    start = time.perf_counter()
    train(project)
    waited = time.perf_counter() - start
    facts = version_manifest(project, "v1")["facts"]
    stages, dataset = facts["stages"], prepare(project)
    assert list(stages) == [*("prepare", "backbone", "precision", "features", "head", "test", "save")]
    assert sum(cost["seconds"] for cost in stages.values()) <= waited + 0.0005 * len(stages)
    for stage, rows in (("prepare", len(dataset.rows)), ("test", len(dataset.split("test")))):
        cost = stages[stage]
        error = 0.0005 * cost["rows_per_second"] + 0.05 * cost["seconds"] + 0.0005
        assert cost["rows_per_second"] * cost["seconds"] == pytest.approx(rows, abs=error)
    peaks = [cost["peak_memory_bytes"] for cost in stages.values() if "peak_memory_bytes" in cost]
    assert len(peaks) in (0, len(stages))  # systems but Linux name none
    assert max(peaks, default=0) <= facts["peak_memory_bytes"]


def test_a_training_reads_the_backbone_once(project, monkeypatch):
    read, real = [], backbones._read
    monkeypatch.setattr(backbones, "_read", lambda *given: read.append(given) or real(*given))
    train(project)
    assert len(read) == 1


def test_a_prepared_dataset_is_not_prepared_again(project):
    dataset = prepare(project)
    (project.folder / "rows.csv").unlink()
    assert train(project, dataset=dataset).dataset == dataset.id


def test_without_test_rows_nothing_is_measured_and_no_point_is_drawn(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(120), data={"test_share": 0.0})
    info = train(project)
    assert (info.accuracy, alias(project, CHAMPION), list_turns(project)) == (None, "v1", [])
    with pytest.raises(BadInput, match=r"no row to measure on; raise data\.test_share, or pass --data FILE"):
        evaluate(project)


def test_a_search_says_in_the_manifest_what_it_tried(tmp_path, encoder):
    project = make_desk(
        tmp_path / "desk", encoder, telling_rows(120), train={"method": "top", "epochs": 1},
        data={"validation_share": 0.2},
    )  # fmt: skip
    train(project, trials=2)
    manifest = version_manifest(project, "v1")
    assert len(manifest["facts"]["search"]["trials"]) == 2
    assert manifest["facts"]["learning_rate"] == manifest["facts"]["search"]["best"]["learning_rate"]


def test_two_trainings_at_once_are_refused_and_another_project_is_not(project, tmp_path, encoder):
    other = make_desk(tmp_path / "other", encoder, telling_rows(90))
    with project.lock("train"):
        with pytest.raises(Busy, match="another `train` runs on .*desk; wait for it or stop it"):
            train(open_project(project.folder))
        assert train(other).name == "v1"
    assert list_versions(project) == []


def test_training_that_is_interrupted_changes_nothing_and_the_next_one_is_whole(project, tmp_path, encoder):
    def interrupt(stage: str, done: float) -> None:
        if stage == "tune" and done > 0.5:
            raise KeyboardInterrupt

    tuned = Project(project.folder, change_settings(project.settings, "train", method="top", epochs=3))
    with pytest.raises(KeyboardInterrupt):
        train(tuned, progress=interrupt)
    assert (list_versions(project), alias(project, CHAMPION), list_turns(project)) == ([], None, [])
    train(tuned)
    twin = make_desk(tmp_path / "twin", encoder, telling_rows(120))
    train(Project(twin.folder, tuned.settings))
    weights = [(one.kept / "versions" / "v1" / "weights.safetensors").read_bytes() for one in (project, twin)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("most_bytes", [300, 3_000, 9_000])
def test_a_full_disk_leaves_no_version_and_no_champion(project, most_bytes):
    prepare(project)
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        train(project)
    assert (list_versions(project), alias(project, CHAMPION), list_turns(project)) == ([], None, [])
    assert train(project).name == "v1"


def test_a_champion_and_its_point_come_together_or_not_at_all(project):
    with project.database.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(Exception, match="no"):
        train(project)
    assert alias(project, CHAMPION) is None
    with project.database.begin() as connection:
        assert connection.execute(select(alias_changes)).all() == []
        connection.exec_driver_sql("DROP TRIGGER refuse")
    train(project)
    assert (alias(project, CHAMPION), len(list_turns(project))) == ("v2", 1)


def test_every_dataset_that_a_version_learnt_from_is_in_the_table(desk):
    with desk.database.connect() as connection:
        known = set(connection.scalars(select(datasets.c.id)))
    assert {info.dataset for info in list_versions(desk)} <= known


def test_an_evaluation_measures_the_test_rows_of_the_versions_own_dataset(desk):
    dataset = read_dataset(dataset_folder(desk), list_versions(desk)[0].dataset)
    before, _ = evaluate(desk)
    (desk.folder / "rows.csv").write_text(csv_of(telling_rows(300)))
    prepare(desk)
    after, _ = evaluate(desk)
    assert before.rows == after.rows == len(dataset.split("test"))
    assert before.accuracy == after.accuracy


def test_an_evaluation_equals_the_one_that_was_made_at_training(desk):
    found, _ = evaluate(desk)
    recorded = version_manifest(desk, "v1")["metrics"]
    assert json.loads(json.dumps(found.to_json()))["accuracy"] == recorded["accuracy"]
    assert found.log_loss.value == pytest.approx(recorded["log_loss"]["value"])


def test_an_evaluation_is_written_as_a_page_and_as_json_beside_it(desk):
    found, page = evaluate(desk)
    assert page == desk.reports / "evaluation-v1.html"
    tree = read_json(page.with_suffix(".json"))
    assert tree["accuracy"]["value"] == found.accuracy.value
    assert (tree["version"], tree["method"], tree["rows"]) == ("v1", "head", found.rows)
    assert f"{found.accuracy.value:.4f}" in page.read_text(encoding="utf-8")


def test_a_file_is_measured_row_by_row(desk, tmp_path):
    rows = telling_rows(40, seed=9)
    (tmp_path / "new.csv").write_text(csv_of(rows))
    found, page = evaluate(desk, data=tmp_path / "new.csv")
    answers = predict(desk, [text for text, _ in rows])
    right = np.mean([answer.labels[0] == label for answer, (_, label) in zip(answers, rows, strict=True)])
    assert (found.rows, found.accuracy.value) == (40, pytest.approx(right))
    assert page.name.startswith("evaluation-v1-new-")


def test_files_of_one_name_have_a_page_each_and_a_file_measured_again_the_same(desk, tmp_path):
    pages = []
    for folder in ("january", "february", "january"):
        file = tmp_path / folder / "new.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(csv_of(telling_rows(20, seed=9)))
        pages.append(evaluate(desk, data=file)[1])
    assert pages[0] == pages[2] != pages[1]


def test_a_file_with_a_long_name_in_chinese_is_measured(desk, tmp_path):
    file = tmp_path / f"{'数' * 80}.csv"  # 240 bytes: a name that systems bear
    file.write_text(csv_of(telling_rows(20, seed=9)))
    _, page = evaluate(desk, data=file)
    assert page.exists()
    assert set(page.name.removeprefix("evaluation-v1-").split("-")[0]) == {"数"}


def test_rows_that_taught_the_version_are_noted_in_an_evaluation_of_a_file(desk, tmp_path):
    learnt = prepare(desk).split("train")[:5]
    (tmp_path / "new.csv").write_text(csv_of([(row.text.upper(), row.label) for row in learnt]))
    found, _ = evaluate(desk, data=tmp_path / "new.csv")
    assert any(
        note.startswith("5 of 5 rows have a text that this version was trained on") for note in found.notes
    )


def test_labels_that_the_version_never_saw_are_wrong(desk, tmp_path):
    (tmp_path / "new.csv").write_text(csv_of([("lost card", "card"), ("lost card please", "refund")]))
    found, _ = evaluate(desk, data=tmp_path / "new.csv")
    assert (found.rows, found.accuracy.value) == (2, 0.5)


def test_slices_are_measured_as_their_rows_alone(tmp_path, encoder):
    chance, rows = random.Random(0), []
    for text, label in telling_rows(240):
        channel = chance.choice(("app", "chat"))
        wrong = channel == "chat" and chance.random() < 0.2
        rows.append((text, LABELS[LABELS.index(label) - 1] if wrong else label, channel))
    header = ("text", "label", "channel")
    project = make_desk(tmp_path / "desk", encoder, rows, header=header, data={"slices": ["channel"]})
    train(project)
    found, _ = evaluate(project)
    test = prepare(project).split("test")
    answers = predict(project, [row.text for row in test])
    parts = {part.value: part for part in found.slices if part.name == "channel"}
    for value in ("app", "chat"):
        inside = [
            answer.labels[0] == row.label
            for row, answer in zip(test, answers, strict=True)
            if dict(row.slices)["channel"] == value
        ]
        assert (parts[value].rows, parts[value].accuracy.value) == (
            len(inside),
            pytest.approx(np.mean(inside)),
        )
    assert parts["app"].accuracy.value > parts["chat"].accuracy.value


def test_rows_of_a_file_that_cannot_be_measured_are_counted_and_listed(desk, tmp_path):
    (tmp_path / "new.csv").write_text("text,label\nlost my card,card\n,card\nblocked,\nwhat,card,more\n")
    found, page = evaluate(desk, data=tmp_path / "new.csv")
    assert found.rows == 1
    assert any(note.startswith("left out as unusable, 3 in all: ") for note in found.notes)
    listed = json.loads(page.with_suffix(".json").read_text())["left_out"]
    assert [(one["file"], one["row"]) for one in listed] == [("new.csv", row) for row in (2, 3, 4)]


def test_lengths_are_a_slice_of_every_evaluation(desk, tmp_path):
    texts = ["card " * 8, "card " * 9, "card " * 30, "card " * 31]
    (tmp_path / "new.csv").write_text(csv_of([(text.strip(), "card") for text in texts]))
    found, _ = evaluate(desk, data=tmp_path / "new.csv")
    assert {part.value: part.rows for part in found.slices if part.name == "length"} == {
        "up to 8 words": 1,
        "9 to 30 words": 2,
        "over 30 words": 1,
    }


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", BadInput, r"new\.csv is empty"),
        ("text,label\n", BadInput, "a header and no rows"),
        ("text,label\n,card\n", BadInput, "no row to measure on"),
        ("text,label\nlost,\n", BadInput, "no row to measure on"),
        ("message,label\nlost,card\n", NotFound, "'text'"),
        ("text,label\n1.5,card\n2.5,pin\n", BadInput, "holds numbers, not text"),
    ],
)
def test_a_file_that_cannot_be_measured_is_refused_and_no_page_is_written(
    desk, tmp_path, content, error, message
):
    (tmp_path / "new.csv").write_text(content)
    with pytest.raises(error, match=message):
        evaluate(desk, data=tmp_path / "new.csv")
    assert not desk.reports.exists()


def test_a_missing_file_and_a_missing_version_are_named(desk):
    with pytest.raises(NotFound, match=r"no file .*nowhere\.csv"):
        evaluate(desk, data="nowhere.csv")
    with pytest.raises(NotFound, match="no version named 'v7'; there is 'v1'"):
        evaluate(desk, version="v7")


def test_a_damaged_dataset_is_refused_by_name_until_it_is_prepared_again(desk):
    folder = dataset_folder(desk) / list_versions(desk)[0].dataset
    (folder / "rows.jsonl").write_bytes((folder / "rows.jsonl").read_bytes()[:100])
    with pytest.raises(Corrupt, match=r"rows\.jsonl is not what was written"):
        evaluate(desk)
    prepare(desk)
    assert evaluate(desk)[0].rows > 0


def test_a_damaged_champion_answers_nothing(desk):
    path = desk.kept / "versions" / "v1" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    for ask in (lambda: predict(desk, ["lost card"]), lambda: evaluate(desk)):
        with pytest.raises(Corrupt, match=r"v1/weights\.safetensors is not what was written"):
            ask()


def test_a_full_disk_leaves_the_reports_there_were(desk):
    evaluate(desk)
    before = contents(desk.reports)
    with full_disk(1_000), pytest.raises(CannotStore, match="free space"):
        evaluate(desk)
    assert contents(desk.reports) == before


def test_answers_come_in_the_order_of_the_texts_with_their_labels_ranked(desk):
    texts = ["my card is lost", "pin forgot blocked", "money sent where is the transfer"]
    answers = predict(desk, texts, top_k=3)
    probabilities = load_classifier(desk, "v1").probabilities(texts)
    for answer, row in zip(answers, probabilities, strict=True):
        assert answer.labels == tuple(LABELS[place] for place in np.argsort(-row))
        assert answer.probabilities == pytest.approx(sorted(row, reverse=True))
    assert [answer.labels[0] for answer in answers] == ["card", "pin", "transfer"]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_an_answer_has_as_many_labels_as_asked_and_no_more_than_there_are(desk, top_k, count):
    (answer,) = predict(desk, ["lost card"], top_k=top_k)
    assert len(answer.labels) == len(answer.probabilities) == count


def test_texts_are_cleaned_as_rows_are(desk):
    plain, dirty = predict(desk, ["my card is lost", "\ufeff my card is\0 lost \r\n"])
    assert plain == dirty


def test_another_version_can_be_asked(desk):
    (desk.folder / "rows.csv").write_text(csv_of([(text, LABELS[0] if label == LABELS[1] else label)
                                                  for text, label in telling_rows(150)]))  # fmt: skip
    train(desk)
    asked = ["pin forgot blocked"]
    assert [predict(desk, asked, version=name)[0].labels[0] for name in ("champion", "v1", "v2")] == [
        "pin", "pin", "card",
    ]  # fmt: skip
    promote(desk, "v2", "a test")
    assert predict(desk, asked)[0].labels == ("card",)


@pytest.mark.parametrize("texts", [[], [""], ["lost card", " \n\t"], ["\0"]])
def test_blank_texts_are_refused(desk, texts):
    with pytest.raises(BadInput, match="a text is blank; pass at least one text with words"):
        predict(desk, texts)


@pytest.mark.parametrize("broken", ["\ud800", "caf\udce9"])
def test_bytes_of_no_encoding_are_refused_with_their_place(desk, broken):
    with pytest.raises(BadInput, match="text 2 is not valid Unicode; write it in UTF-8"):
        predict(desk, ["lost card", broken])


def test_a_question_before_anything_was_trained_says_to_train(project):
    for ask in (lambda: predict(project, ["lost"]), lambda: evaluate(project)):
        with pytest.raises(NotFound, match="run `millwright train` first"):
            ask()


def test_the_steps_do_not_change_the_project_that_they_are_given(project):
    before = replace(project)
    train(project)
    evaluate(project)
    assert project == before
