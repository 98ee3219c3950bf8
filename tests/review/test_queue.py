"""The queue over a real trained project: what gets into it, labelling, undo, gold, tools, the next turn."""

import io
import json
import sys

import httpx
import pytest
from sqlalchemy import insert, select, update

from millwright.errors import BadInput, NotFound
from millwright.feedback import count_waiting, propose_rows
from millwright.privacy import vault
from millwright.privacy.sealed import read_opinions, read_proposed
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.review.annotations import (
    add_gold,
    annotate,
    apply_reviews,
    list_annotations,
    next_items,
    review_status,
    undo,
    verdicts,
)
from millwright.review.exchange import export_corrections, export_queue, import_labels
from millwright.review.items import read_queue
from millwright.review.queue import build_queue
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.steps import train
from millwright.store.tables import drifts, gold, opinions, predictions, review_items
from millwright.surfaces import pressed
from millwright.surfaces.review_session import review_rows
from tests.conftest import csv_of, keep
from tests.desk import copy_desk, make_desk, opine, telling_rows
from tests.surfaces.test_cli import run, wrong
from tests.surfaces.test_service import run as serve
from tests.test_feedback import add_prediction, prediction, said_of, say

FLIPPED = 8


@pytest.fixture(scope="module")
def noisy_folder(tmp_path_factory, encoder):
    """A trained project of whose rows the first eight have a wrong label, and what users asked it."""
    rows = telling_rows(120)
    rows = [(text, "pin" if label == "card" else "card") for text, label in rows[:FLIPPED]] + rows[FLIPPED:]
    project = make_desk(tmp_path_factory.mktemp("noisy") / "desk", encoder, rows)
    train(project)
    fresh = [text for text, _ in telling_rows(170)[130:]]
    keep(project, *(prediction(f"p{at}", text, ask=at < 5) for at, text in enumerate(fresh)))
    project.database.dispose()
    return project.folder


@pytest.fixture
def project(tmp_path, noisy_folder) -> Project:
    return copy_desk(noisy_folder, tmp_path / "desk")


def test_wrong_labels_disagreements_and_unlabelled_rows_take_turns(project):
    opine(project, [("my money transfer please", "transfer")])  # of which the model was not sure
    add_prediction(project, "sure", "send my money please")
    say(project, "sure", 1, label="transfer")
    queue = build_queue(project, 40)
    reasons = [item.reason for item in queue]
    assert len(queue) == len({item.id for item in queue}) <= 40
    assert [reason for reason in reasons if reason != "new"][:3] == ["suspect", "disagreement", "margin"]
    assert read_queue(project) == queue
    flipped = {text for text, _ in telling_rows(120)[:FLIPPED]}
    suspected = [item.text for item in queue if item.reason == "suspect"]
    assert len(flipped & set(suspected)) >= 3  # of those that are not held out for the test
    assert reasons.count("chance") == 7  # a fifth of the 35 predictions that may be chosen
    assert not {f"prediction:p{number}" for number in range(5)} & {item.id for item in queue}  # always asked


def test_labels_are_kept_at_once_taken_back_and_the_queue_goes_on_where_it_was(project):
    queue = build_queue(project, 10)
    assert [item.id for item in next_items(project, "ada", 3)] == [item.id for item in queue[:3]]
    annotate(project, queue[0].id, "ada", "pin")
    annotate(project, queue[1].id, "ada", None)
    again = open_project(project.folder)
    assert next_items(again, "ada")[0] == queue[2]
    assert undo(again, "ada").item == queue[1].id
    assert next_items(again, "ada")[0] == queue[1]
    annotate(project, queue[0].id, "ada", "card")  # a change of mind replaces the label
    assert [one.label for one in list_annotations(project)] == ["card"]
    undo(project, "ada")
    with pytest.raises(NotFound, match="'ada' has labelled nothing .*; name who did"):
        undo(project, "ada")


def test_a_row_goes_to_as_many_people_as_are_needed_and_their_majority_counts(project):
    queue = build_queue(project, 10)
    for who, label in (("ada", "pin"), ("bob", "card")):
        assert next_items(project, who, needed=2)[0] == queue[0]
        annotate(project, queue[0].id, who, label)
    assert next_items(project, "cyd", needed=2)[:2] == queue[:1]  # they differ, so somebody else decides
    assert next_items(project, "ada", needed=2)[0] == queue[1]
    assert verdicts(project, 2) == {queue[0].id: None}
    assert review_status(project, 2)["differ"] == [queue[0].id]
    annotate(project, queue[0].id, "cyd", "pin")
    assert verdicts(project, 2) == {queue[0].id: "pin"}
    assert next_items(project, "dan", needed=2)[0] == queue[1]


def test_who_does_well_on_gold_rows_outvotes_who_does_not(project):
    file = project.folder / "gold.csv"
    file.write_text(csv_of([(f"my card was stolen {number}", "card") for number in range(8)]))
    add_gold(project, file)
    queue = build_queue(project, 10)
    with project.database.connect() as connection:
        golden = connection.scalars(select(gold.c.item)).all()
    for item in golden:
        annotate(project, item, "ada", "card")
        annotate(project, item, "bob", "pin")
    annotate(project, queue[0].id, "ada", "transfer")
    assert verdicts(project, 2) == {}
    annotate(project, queue[0].id, "bob", "pin")
    assert verdicts(project, 2) == {queue[0].id: "transfer"}
    people = review_status(project, 2)["annotators"]
    assert people["ada"]["weight"] > 2 > people["bob"]["weight"] == 0


def test_only_what_may_be_in_the_queue_is_opened(project):
    say(project, "p0", 1, label="pin")  # by a user who is always asked
    say(project, "p9", 1, rating=1)
    with project.database.begin() as connection:
        damaged = update(predictions).where(predictions.c.id == "p0")
        connection.execute(damaged.values(sealed=b"\x01damaged"))
        connection.execute(update(opinions).values(sealed=b"\x01damaged"))
    assert build_queue(project, 20)


def strange_text(number: int) -> str:
    return f"quarterly lattice {number} of quark spin moments"


def test_what_is_unlike_all_that_taught_is_in_the_queue_and_more_of_it_after_drift(project):
    keep(project, *(prediction(f"n{at}", strange_text(at)) for at in range(30)))
    queue = build_queue(project, 20)
    fresh = [item.id for item in queue if item.reason == "new"]
    assert 1 <= len(fresh) <= 4
    assert all(item.startswith("prediction:n") for item in fresh)
    assert [item.reason for item in queue].count("chance") <= 4
    with project.database.begin() as connection:
        record = {"version": "v1", "is_drifting": True}
        connection.execute(insert(drifts).values(record=record, checked_at="2099"))
    assert 4 < sum(item.reason == "new" for item in build_queue(project, 20)) <= 8


def test_what_is_drawn_by_chance_keeps_its_share_at_any_length_of_the_queue(project):
    keep(project, *(prediction(f"n{at}", strange_text(at)) for at in range(60)))
    keep(project, *(prediction(f"d{at}", f"send my money please {at}") for at in range(60)))
    keep(project, *(said_of(f"d{at}", at, label="transfer") for at in range(60)))
    reasons = [item.reason for item in build_queue(project, 50)]
    assert {"suspect", "disagreement", "new", "margin"} <= set(reasons)
    assert len(reasons) == 50
    assert [reasons[: 5 * part].count("chance") for part in range(11)] == list(range(11))


def test_a_text_that_many_users_sent_is_drawn_for_each_of_them(project):
    keep(project, *(prediction(f"s{at}", "send my money please") for at in range(665)))
    drawn = [item for item in build_queue(project, 30) if item.reason == "chance"]
    assert len({item.id for item in drawn}) == len(drawn) == 6
    assert sum(item.text == "send my money please" for item in drawn) >= 4  # 95 % of 700 requests are
    assert [item for item in read_queue(project) if item.reason == "chance"] == drawn


def test_a_row_that_was_drawn_and_labelled_otherwise_meanwhile_is_in_the_queue_once(project):
    names, said = [f"p{at}" for at in range(5, 40)], []

    def progress(_: str, done: float) -> None:
        if done >= 0.5 and not said:  # what nobody labelled was read and goes through the network now
            said.extend(said_of(name, 1, label="transfer") for name in names)
            keep(project, *said)

    queue = build_queue(project, 100, progress)
    reasons = [item.reason for item in queue]
    assert len(queue) == len({item.id for item in queue})
    assert reasons.count("chance") == 7  # a fifth of the 35, as ever
    assert "disagreement" in reasons


def test_what_was_agreed_on_about_predictions_becomes_rows_of_the_next_turn(project):
    queue = build_queue(project, 30)
    mine = [item for item in queue if item.id.startswith("prediction:")][:3]
    for item in mine:
        annotate(project, item.id, "ada", "transfer")
    assert apply_reviews(project) == 3
    assert apply_reviews(project) == 0
    for label in ("pin", "transfer"):  # changed, and changed back
        annotate(project, mine[0].id, "ada", label)
        assert apply_reviews(project) == 1
    propose_rows(project, 2)
    vault = open_vault(project)
    assert {(f"prediction:{row.prediction}", row.label, row.split) for row in read_proposed(vault)} == {
        (item.id, "transfer", "train") for item in mine
    }
    assert sum(one.key is not None for one in read_opinions(vault)) == 5


def test_a_label_that_was_taken_back_teaches_only_what_a_turn_took(project):
    queue = build_queue(project, 30)
    mine = next(item for item in queue if item.id.startswith("prediction:")).id
    for label in ("pin", "transfer"):
        annotate(project, mine, "ada", label)
        assert apply_reviews(project) == 1
    undo(project, "ada")
    assert apply_reviews(project) == 0
    assert read_opinions(open_vault(project)) == []
    assert count_waiting(project) == propose_rows(project, 2) == 0
    annotate(project, mine, "ada", "card")
    apply_reviews(project)
    assert propose_rows(project, 3) == 1
    annotate(project, mine, "ada", "pin")
    apply_reviews(project)
    undo(project, "ada")
    apply_reviews(project)
    assert [one.label for one in read_opinions(open_vault(project))] == ["card"]


def test_gold_rows_are_masked(project):
    file = project.folder / "gold.csv"
    file.write_text(csv_of([("call 13800138000 about my card", "card")]))
    assert add_gold(project, file) == 1
    build_queue(project, 30)
    for item in next_items(project, "ada", 9):
        annotate(project, item.id, "ada", "card")
    (shown,) = next_items(project, "ada")
    assert (shown.id.split(":")[0], shown.text) == ("gold", "call <PHONE_NUMBER> about my card")


def test_a_file_of_gold_rows_under_other_names_is_told_what_to_do(project):
    file = project.folder / "gold.csv"
    file.write_text(csv_of([("my card was stolen", "card")], header=("message", "label")))
    with pytest.raises(BadInput, match="columns text and label, got message, label; name them so"):
        add_gold(project, file)


def test_gold_rows_come_every_tenth_unmarked_and_tell_how_well_somebody_does(project):
    file = project.folder / "gold.csv"
    file.write_text(csv_of([("my card was stolen", "card"), ("blocked pin", "pin")]))
    assert add_gold(project, file) == 2
    assert add_gold(project, file) == 2
    build_queue(project, 30)
    seen = []
    while (items := next_items(project, "ada")) and len(seen) < 20:
        seen.append(items[0].id.split(":")[0])
        assert items[0].reason != "gold"  # routes and `review next` show the reason
        assert len(items[0].choices) == 3  # and what the model would say
        assert annotate(project, items[0].id, "ada", "card").reason == items[0].reason
    assert [place for place, kind in enumerate(seen) if kind == "gold"] == [9, 19]
    about = review_status(project)["annotators"]["ada"]
    assert (about["labelled"], about["gold"], about["gold_right"]) == (20, 2, 1)
    assert not any(item.startswith("gold:") for item in verdicts(project))


def test_rows_drawn_by_chance_and_no_others_tell_how_often_the_model_is_right(project):
    queue = build_queue(project, 30)
    nothing = {"rows": 0, "right": 0, "undecided": 0, "accuracy": None}
    assert review_status(project)["by_chance"] == nothing
    drawn = [item for item in queue if item.reason == "chance"]
    for place, item in enumerate(drawn[:4]):
        wrong_one = next(label for label in ("card", "pin") if label != item.choices[0][0])
        annotate(project, item.id, "ada", wrong_one if place == 0 else item.choices[0][0])
    for item in [item for item in queue if item.reason == "margin"][:5]:
        annotate(project, item.id, "ada", item.choices[-1][0])
    found = review_status(project)["by_chance"]
    assert (found["rows"], found["right"], found["accuracy"]["value"]) == (4, 3, 0.75)
    assert found["accuracy"]["low"] == pytest.approx(wilson(0.75, 4, -1), abs=1e-6)


def wilson(p: float, n: int, side: int) -> float:
    """An end of Wilson's 95 % interval by hand: (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)."""
    z = 1.959964
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return (p + z * z / (2 * n) + side * half) / (1 + z * z / n)


def test_rows_drawn_by_chance_that_nobody_could_decide_widen_what_is_told(project, capsys):
    queue = build_queue(project, 30)
    drawn = [item for item in queue if item.reason == "chance"][:6]
    for place, item in enumerate(drawn):
        guess = item.choices[0][0]
        wrong_one = next(label for label in ("card", "pin") if label != guess)
        annotate(project, item.id, "ada", None if place == 5 else guess)
        if place < 5:
            annotate(project, item.id, "bob", guess if place < 3 else wrong_one)
    found = review_status(project, 2)["by_chance"]  # the last one still waits for bob
    assert (found["rows"], found["right"], found["undecided"]) == (5, 3, 2)
    ends = {"low": wilson(3 / 5, 5, -1), "high": wilson(5 / 5, 5, 1)}
    assert found["accuracy"] == {"value": None, **{name: pytest.approx(end) for name, end in ends.items()}}
    annotate(project, drawn[5].id, "bob", None)
    found = review_status(project, 2)["by_chance"]  # nobody knew the last one
    assert (found["rows"], found["right"], found["undecided"]) == (6, 3, 3)
    assert found["accuracy"]["low"] == pytest.approx(wilson(3 / 6, 6, -1))
    assert run("review", "status", "--project", project.folder) == 0
    assert "of 6 rows drawn by chance the model was right on 3, 3 undecided, [" in capsys.readouterr().out


def test_a_label_for_one_row_opens_no_other(project):
    first, *others = build_queue(project, 10)
    with project.database.begin() as connection:
        damaged = update(review_items).where(review_items.c.item.in_([item.id for item in others]))
        connection.execute(damaged.values(sealed=b"\x01damaged"))
    assert annotate(project, first.id, "ada", "pin").reason == first.reason


def test_a_label_before_there_is_a_queue_says_what_to_run(project):
    with pytest.raises(NotFound, match="run `millwright review build`"):
        annotate(project, "row:any", "ada", "pin")


def test_wrong_names_are_refused_with_the_nearest(project):
    queue = build_queue(project, 10)
    with pytest.raises(NotFound, match="no row named 'row:nope'"):
        annotate(project, "row:nope", "ada", "pin")
    with pytest.raises(NotFound, match="Did you mean 'card'"):
        annotate(project, queue[0].id, "ada", "crad")
    with pytest.raises(BadInput, match="annotator must have 1 to 100 characters, got 0; name whose"):
        annotate(project, queue[0].id, "", "card")


def test_a_session_is_a_key_a_row(project):
    queue = build_queue(project, 12)
    keys = iter(["\r", "2", "s", "u", "s", "/", "t", "\r", "x", "q"])
    shown: list[str] = []
    assert review_rows(project, "ada", lambda: next(keys), shown.append) == 4
    made = {one.item: one.label for one in list_annotations(project)}
    assert list(made) == [item.id for item in queue[:4]]
    first, second, third, fourth = made.values()
    assert first == queue[0].choices[0][0]
    assert second == [label for label, _ in queue[1].choices][1]
    assert third is None
    assert fourth == "transfer"  # the only label that begins with t
    assert f"taken back: {queue[2].id}" in shown
    assert any(queue[4].text in line for line in shown)


def test_a_label_that_is_typed_in_full_ends_with_enter_and_none_of_its_letters_is_a_command(project):
    build_queue(project, 12)
    keys = iter(["/", *"transfer", "\r", "/", *"tramsfer", "\r", "q"])  # the second is none, and is not kept
    assert review_rows(project, "ada", lambda: next(keys), [].append) == 1
    assert [one.label for one in list_annotations(project)] == ["transfer"]


def test_without_a_terminal_the_other_ways_are_told(project, monkeypatch, capsys):
    build_queue(project, 5)
    monkeypatch.setattr(pressed, "DEVICE", str(project.folder / "no terminal"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert run("review", "label", "--project", project.folder) == 2
    assert "no terminal to read keys from; use `millwright review next`" in capsys.readouterr().err


def test_label_studio_tasks_and_what_comes_back(project):
    queue = build_queue(project, 10)
    file = project.folder / "tasks.json"
    assert export_queue(project, file, "label-studio") == len(queue)
    tasks = json.loads(file.read_text())
    assert tasks[0]["data"]["text"] == queue[0].text
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": [queue[0].choices[0][0]]}

    def said(label: str, who: object, cancelled: bool = False) -> dict:
        result = {
            "id": "a",
            "from_name": "label",
            "to_name": "text",
            "type": "choices",
            "value": {"choices": [label]},
        }
        return {"id": 1, "completed_by": who, "was_cancelled": cancelled, "result": [result]}

    tasks[0]["annotations"] = [said("pin", 7), said("card", {"id": 8, "email": "bob@example.org"})]
    tasks[1]["annotations"] = [said("card", 7, cancelled=True)]
    for task in tasks[2:]:
        task["annotations"] = []
    file.write_text(json.dumps(tasks))
    assert import_labels(project, file, "label-studio") == 2
    assert import_labels(project, file, "label-studio") == 2  # in place of the earlier ones
    assert [(one.annotator, one.label) for one in list_annotations(project)] == [
        ("label-studio:7", "pin"),
        ("label-studio:bob@example.org", "card"),
    ]


def test_gold_rows_go_to_tools_unmarked_and_what_comes_back_weighs_annotators(project):
    gold_file = project.folder / "gold.csv"
    gold_file.write_text(csv_of([("my card was stolen", "card"), ("blocked pin", "pin")]))
    add_gold(project, gold_file)
    build_queue(project, 25)
    file = project.folder / "records.json"
    assert export_queue(project, file, "argilla") == 27
    records = json.loads(file.read_text())
    assert [at for at, one in enumerate(records) if one["id"].startswith("gold:")] == [9, 19]
    assert "gold" not in {one["metadata"]["reason"] for one in records}
    for record in records:
        record["responses"] = {"label": [{"value": "card", "user_id": "u-1"}]}
    file.write_text(json.dumps(records))
    assert import_labels(project, file, "argilla") == 27
    about = review_status(project)["annotators"]["argilla:u-1"]
    assert (about["gold"], about["gold_right"]) == (2, 1)


def test_argilla_records_and_what_comes_back(project):
    queue = build_queue(project, 10)
    file = project.folder / "records.json"
    assert export_queue(project, file, "argilla") == len(queue)
    records = json.loads(file.read_text())
    assert records[0]["fields"] == {"text": queue[0].text}
    assert records[0]["suggestions"]["label"]["value"] == queue[0].choices[0][0]
    records[0]["responses"] = {"label": [{"value": "pin", "user_id": "u-1"}]}
    file.write_text(json.dumps(records))
    assert import_labels(project, file, "argilla") == 1
    assert [(one.annotator, one.label) for one in list_annotations(project)] == [("argilla:u-1", "pin")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('[{"x": 1}]', "is not what label-studio writes"),
        ("[3]", "is not what label-studio"),
    ],
)
def test_a_file_that_is_no_export_changes_nothing(project, content, message):
    build_queue(project, 5)
    file = project.folder / "tasks.json"
    file.write_text(content)
    with pytest.raises(BadInput, match=message):
        import_labels(project, file, "label-studio")
    assert list_annotations(project) == []


def test_corrected_rows_of_files_are_listed_and_never_changed(project):
    before = (project.folder / "rows.csv").read_bytes()
    queue = build_queue(project, 20)
    rows = [item for item in queue if item.id.startswith("row:")]
    annotate(project, rows[0].id, "ada", "transfer")
    annotate(project, rows[1].id, "ada", rows[1].given)
    file = project.folder / "corrections.csv"
    assert export_corrections(project, file) == 1
    header, line = file.read_text().splitlines()
    assert header == "source,text,label,corrected"
    assert line.startswith("file:rows.csv:")
    assert line.endswith(f"{rows[0].text},{rows[0].given},transfer")
    assert (project.folder / "rows.csv").read_bytes() == before


def test_the_verbs_work_without_a_terminal(project, capsys):
    at = ("--project", project.folder)
    assert "no rows wait for review; run `millwright review build`" in wrong(capsys, "review", "next", *at)
    assert run("review", "build", "--count", "10", *at) == 0
    assert capsys.readouterr().out.startswith("10 rows: ")
    assert run("review", "next", "--count", "2", "--json", *at) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert run("review", "answer", first["id"], "pin", "--annotator", "ada", "--json", *at) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "pin"
    assert run("review", "answer", second["id"], "--annotator", "ada", *at) == 0
    assert capsys.readouterr().out == f"{second['id']}: passed over\n"
    assert run("review", "undo", "--annotator", "ada", *at) == 0
    assert capsys.readouterr().out == f"taken back: {second['id']}\n"
    assert run("review", "status", *at) == 0
    assert capsys.readouterr().out.startswith("1 of 10 rows labelled, 1 agreed on, 0 differ")
    assert run("review", "status", "--json", *at) == 0
    assert json.loads(capsys.readouterr().out)["annotators"]["ada"]["labelled"] == 1
    assert run("review", "export", project.folder / "t.json", *at) == 0
    assert capsys.readouterr().out.startswith("10 rows in")
    assert "no tool named 'excel'" in wrong(capsys, "review", "export", "t.json", "--tool", "excel", *at)
    assert run("review", "corrections", project.folder / "c.csv", "--json", *at) == 0
    assert json.loads(capsys.readouterr().out)["rows"] in (0, 1)


def test_the_queue_is_answered_over_http(project):
    queue = build_queue(project, 10)
    settings = change_settings(project.settings, "review", annotators=2)
    (project.folder / FILENAME).write_text(dump_settings(settings))

    async def scenario(client: httpx.AsyncClient, _) -> None:
        answer = await client.get("/v1/reviews/next", params={"annotator": "ada", "count": 2})
        assert [row["id"] for row in answer.json()["rows"]] == [item.id for item in queue[:2]]
        assert set(answer.json()["rows"][0]) == {"id", "text", "reason", "given", "choices"}
        said = {"item": queue[0].id, "annotator": "ada", "label": "pin"}
        assert (await client.post("/v1/reviews", json=said)).status_code == 201
        await client.post("/v1/reviews", json={**said, "annotator": "bob"})
        shown = (await client.get("/v1/reviews/status")).json()
        assert (shown["labelled"], shown["agreed"], shown["krippendorff_alpha"]) == (1, 1, 1.0)
        assert (await client.post("/v1/reviews/undo", json={"annotator": "bob"})).json()["label"] == "pin"
        assert (await client.get("/v1/reviews/status")).json()["agreed"] == 0
        assert (await client.post("/v1/reviews", json={**said, "label": "pni"})).status_code == 404
        nobody = (await client.post("/v1/reviews", json={**said, "annotator": ""})).json()["error"]
        assert nobody["message"] == "annotator must have 1 to 100 characters, got 0"
        assert nobody["remedy"] == "name whose label it is"

    serve(open_project(project.folder), scenario)


def test_a_server_opens_the_keys_no_more_however_much_is_reviewed(project, monkeypatch):
    first, second = build_queue(project, 10)[:2]
    opened, open_store = [], vault.open_key_store
    monkeypatch.setattr(vault, "open_key_store", lambda *of: opened.append(of) or open_store(*of))

    async def scenario(client: httpx.AsyncClient, _) -> None:
        for item in (first, second):
            before = len(opened)
            await client.get("/v1/reviews/next", params={"annotator": "ada"})
            said = {"item": item.id, "annotator": "ada", "label": "pin"}
            assert (await client.post("/v1/reviews", json=said)).status_code == 201
            await client.post("/v1/reviews/undo", json={"annotator": "ada"})
            await client.get("/v1/reviews/status")
            await client.get("/v1/experiments")
        assert before == len(opened)

    serve(project, scenario)
    assert opened
