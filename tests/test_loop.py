"""One turn of the wheel: when it turns, what it decides, and that cutting it short loses nothing."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from millwright import loop
from millwright.data.dataset import open_dataset, read_dataset
from millwright.data.prepare import dataset_folder
from millwright.errors import BadInput, Busy, CannotStore, Corrupt
from millwright.experiment.compare import compare_paired
from millwright.feedback import is_asked
from millwright.loop import turn
from millwright.project import Project, open_project
from millwright.records import TurnRecord
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    alias,
    list_versions,
    promote,
    roll_back,
    version_manifest,
)
from millwright.settings import change_settings
from millwright.steps import train
from millwright.store.tables import alias_changes, opinions, proposed_rows
from millwright.train import states
from millwright.train.classifier import Classifier
from millwright.turns import list_turns
from tests.conftest import contents, csv_of, full_disk
from tests.desk import LABELS, copy_desk, make_desk, opine, telling_rows, texts_of

ROOT = Path(__file__).parents[1]
HOLD = """
import sys
from millwright.project import open_project
with open_project(sys.argv[1]).lock("turn"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True, scope="module")
def short_timing():
    """Compare speeds for a moment: the networks are tiny."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "TIMED_S", 0.1)
        yield


def shifted(rows):
    """The same texts under the next label, as by users who mean something else by their words."""
    return [(text, LABELS[(LABELS.index(label) + 1) % 3]) for text, label in rows]


def correct(project: Project, count: int = 120) -> None:
    """Users say what is right; those who are always asked are held out, the others teach."""
    rows = telling_rows(count, seed=5)
    asked = [row for row in rows if is_asked(project.settings.data, row[0], None)]
    opine(project, asked, ask=True)
    opine(project, [row for row in rows if row not in asked])


@pytest.fixture(scope="module")
def wrong_folder(tmp_path_factory, encoder) -> Path:
    """A desk whose champion learnt the wrong label of each text, and whose users said what is right."""
    folder = tmp_path_factory.mktemp("wrong") / "desk"
    project = make_desk(folder, encoder, shifted(telling_rows(40)), data={"test_share": 0.3})
    train(project)
    correct(project)
    project.database.dispose()
    return project.folder


@pytest.fixture
def wrong(tmp_path, wrong_folder) -> Project:
    """A copy of the test's own."""
    return copy_desk(wrong_folder, tmp_path / "wrong")


@pytest.fixture(scope="module")
def turned(tmp_path_factory, wrong_folder) -> tuple[Project, TurnRecord]:
    """Such a desk after its turn, and what the turn said. Copy it, don't touch it."""
    project = copy_desk(wrong_folder, tmp_path_factory.mktemp("turned") / "desk")
    record = turn(project)
    project.database.dispose()
    return project, record


def count(project: Project, table) -> int:
    with project.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def changes(project: Project) -> list[tuple[str, str]]:
    with project.database.connect() as connection:
        found = connection.execute(select(alias_changes).order_by(alias_changes.c.id))
        return [(row.alias, row.version) for row in found]


def state(project: Project) -> tuple:
    """What users and servers see of a project."""
    return (
        [(info.name, info.aliases) for info in list_versions(project)],
        list_turns(project),
        changes(project),
        count(project, opinions),
    )


def test_a_better_challenger_is_promoted_and_the_turn_says_why(turned):
    project, record = turned
    assert (record.number, record.champion, record.challenger, record.promoted) == (2, "v1", "v2", True)
    assert (alias(project, CHAMPION), alias(project, CHALLENGER)) == ("v2", None)
    assert record.after.value > record.before.value
    assert record.p_value <= 0.05
    assert record.reason.startswith(
        f"promoted: {record.before.value:.1%} before, {record.after.value:.1%} after"
    )


def test_the_decision_is_that_of_the_paired_test_on_the_same_rows(turned):
    project, record = turned
    rows = read_dataset(dataset_folder(project), record.dataset).split("test")
    right = []
    for name in ("v1", "v2"):
        best = load_classifier(project, name).probabilities([row.text for row in rows]).argmax(1)
        right.append(np.array([LABELS[place] == row.label for place, row in zip(best, rows, strict=True)]))
    expected = compare_paired(*right)
    assert (record.held_out, record.p_value) == (len(rows), expected.p_value)
    assert (record.before, record.after) == (expected.before, expected.after)


def test_a_challenger_tells_what_preparing_its_rows_cost(turned):
    project, record = turned
    cost = version_manifest(project, record.challenger)["facts"]["stages"]["prepare"]
    rows = len(open_dataset(project, record.dataset).rows)
    assert cost["rows_per_second"] * cost["seconds"] == pytest.approx(rows, rel=0.1)


def test_a_turn_runs_through_the_body_texts_that_no_turn_before_had(wrong, monkeypatch):
    made, timed, real, logits = Counter[str](), set[str](), states._run, Classifier.logits

    def run(body, backbone, texts, *rest):
        made.update(texts)
        return real(body, backbone, texts, *rest)

    def answer(classifier, texts):
        timed.update(texts)
        return logits(classifier, texts)

    known = set(texts_of(open_dataset(wrong, list_turns(wrong)[0].dataset).rows))
    monkeypatch.setattr(loop, "TIMED_ROWS", 1)
    monkeypatch.setattr(states, "_run", run)
    monkeypatch.setattr(Classifier, "logits", answer)
    record = turn(wrong)
    dataset = open_dataset(wrong, record.dataset)
    assert made == Counter(set(texts_of(dataset.rows)) - known)
    assert timed == {dataset.split("test")[0].text}


def test_a_challenger_that_is_not_shown_to_be_better_is_kept_as_challenger(desk):
    opine(desk, telling_rows(30, seed=5))
    record = turn(desk)
    assert (record.promoted, alias(desk, CHAMPION), alias(desk, CHALLENGER)) == (False, "v1", "v2")
    assert record.reason.startswith("kept the champion: not shown to be better at alpha = 0.05: ")


def test_a_worse_challenger_is_kept_back(desk):
    opine(desk, shifted(telling_rows(200, seed=5)))
    record = turn(desk)
    assert record.after.value < record.before.value
    assert not record.promoted
    assert alias(desk, CHAMPION) == "v1"


def test_a_label_that_was_forgotten_is_named_and_keeps_the_champion(tmp_path, encoder):
    swapped = {"card": "pin", "pin": "card", "transfer": "transfer"}
    known = [(text, swapped[label]) for text, label in telling_rows(40)]
    project = make_desk(tmp_path / "desk", encoder, known, data={"test_share": 0.3})
    train(project)
    rows = telling_rows(180, seed=5)
    asked = [row for row in rows if is_asked(project.settings.data, row[0], None)]
    opine(project, asked, ask=True)
    # Volunteers teach two labels right and the third wrong.
    volunteered = [(text, "pin" if label == "transfer" else label) for text, label in rows]
    opine(project, [told for told, row in zip(volunteered, rows, strict=True) if row not in asked])
    record = turn(project)
    assert record.after.value > record.before.value
    assert record.p_value <= 0.05
    assert (record.promoted, alias(project, CHAMPION), alias(project, CHALLENGER)) == (False, "v1", "v2")
    assert "turn.max_slice_loss = 0.1 is exceeded by label 'transfer': " in record.reason
    assert "worse on label 'transfer' " in record.reason


def test_an_audit_of_membership_keeps_the_champion_where_more_are_found_than_may_be(tmp_path, encoder):
    project = make_desk(tmp_path / "wrong", encoder, shifted(telling_rows(260)), data={"test_share": 0.5})
    train(project)
    correct(project)
    record = turn(project, max_membership=0.0)
    assert not record.promoted
    (blocked,) = [said for said in record.blocked if said.startswith("membership: ")]
    assert blocked.endswith("% of its rows are found at 1 % false, at most 0.0% may be")
    assert (project.reports / f"membership-{record.challenger}.json").exists()


def test_an_audit_that_held_out_rows_are_too_few_for_is_refused_before_anything_is_trained(wrong):
    with pytest.raises(BadInput, match="an audit needs 100 test rows"):
        turn(wrong, max_membership=0.05)
    assert [info.name for info in list_versions(wrong)] == ["v1"]


def test_how_sure_one_must_be_is_a_setting(wrong):
    strict = Project(wrong.folder, change_settings(wrong.settings, "turn", alpha=1e-12))
    assert not turn(strict).promoted
    assert alias(wrong, CHAMPION) == "v1"


def test_what_users_said_becomes_rows_with_their_provenance(turned):
    project, record = turned
    rows = read_dataset(dataset_folder(project), record.dataset).rows
    said = [row for row in rows if "feedback:" in row.source]
    assert record.new_rows == len(said) == 120
    assert {(row.text, row.label) for row in said} == set(telling_rows(120, seed=5))


def test_a_promotion_by_a_turn_can_be_rolled_back(turned, tmp_path):
    assert roll_back(copy_desk(turned[0].folder, tmp_path / "desk")) == "v1"


@pytest.mark.parametrize(("said", "turns"), [(0, False), (2, False), (3, True)])
def test_a_turn_needs_as_many_new_rows_as_the_setting_says(desk, said, turns):
    opine(desk, telling_rows(300, seed=5)[-said:] if said else [])
    before = state(desk)
    if turns:
        assert turn(desk).new_rows == said
        return
    with pytest.raises(
        BadInput, match=rf"users labelled {said} new rows since the last turn, turn.min_rows asks for 3"
    ):
        turn(desk)
    assert state(desk) == before


def test_rows_that_were_too_few_count_in_the_next_turn(desk):
    opine(desk, telling_rows(300, seed=5)[-2:])
    with pytest.raises(BadInput, match="labelled 2 new rows"):
        turn(desk)
    opine(desk, telling_rows(300, seed=6)[-2:])
    assert turn(desk).new_rows == 4


def test_rows_of_an_earlier_turn_do_not_count_again(desk):
    opine(desk, telling_rows(300, seed=5)[-10:])
    assert turn(desk).new_rows == 10
    with pytest.raises(BadInput, match="labelled 0 new rows"):
        turn(desk)
    opine(desk, telling_rows(300, seed=6)[-5:])
    record = turn(desk)
    assert (record.number, record.new_rows, record.challenger) == (3, 5, "v3")


def test_rows_that_came_with_the_files_are_no_new_rows(desk):
    (desk.folder / "rows.csv").write_text(csv_of(telling_rows(300)))
    with pytest.raises(BadInput, match="labelled 0 new rows"):
        turn(desk)


def test_a_turn_without_a_champion_says_to_train(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(90))
    opine(project, telling_rows(30, seed=5))
    with pytest.raises(BadInput, match="no champion to challenge; run `millwright train` first"):
        turn(project)
    assert count(project, proposed_rows) == 0


def test_without_held_out_rows_nothing_is_trained(tmp_path, encoder):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(90), data={"test_share": 0.0})
    train(project)
    opine(project, telling_rows(30, seed=5))
    with pytest.raises(BadInput, match=r"no held-out row to compare on; raise data\.test_share or name"):
        turn(project)
    assert [info.name for info in list_versions(project)] == ["v1"]


@pytest.fixture(scope="module")
def turned_twice(tmp_path_factory, turned) -> tuple[Project, list[TurnRecord]]:
    """A desk after two turns, and what they said. Don't touch it."""
    project = copy_desk(turned[0].folder, tmp_path_factory.mktemp("twice") / "desk")
    opine(project, telling_rows(300, seed=7)[-9:])
    return project, [turned[1], turn(project)]


def test_each_turn_is_a_row_of_the_table_in_its_order(turned_twice):
    project, records = turned_twice
    assert list_turns(project)[1:] == records
    assert [record.number for record in list_turns(open_project(project.folder))] == [1, 2, 3]


def test_each_turn_is_a_point_of_the_chart_and_a_row_of_its_page(turned_twice):
    project, _ = turned_twice
    chart = (project.reports / "turns.svg").read_text(encoding="utf-8")
    page = (project.reports / "turns.html").read_text(encoding="utf-8")
    for record in list_turns(project):
        assert f"turn {record.number}: {record.challenger}" in chart
        assert record.reason in page.replace("&#43;", "+").replace("&gt;", ">")


def test_two_turns_at_once_are_refused_and_the_second_changes_nothing(desk):
    opine(desk, telling_rows(30, seed=5))
    before = state(desk)
    command = [sys.executable, "-c", HOLD, str(desk.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="another `turn` runs on .*desk; wait for it or stop it"):
            turn(desk)
        assert state(desk) == before
        assert count(desk, proposed_rows) == 0
        other.communicate("\n")
    assert turn(desk).number == 2


def test_a_turn_that_meets_a_training_is_refused_and_goes_on_later(desk):
    opine(desk, telling_rows(30, seed=5))
    with desk.lock("train"), pytest.raises(Busy, match="another `train` runs"):
        turn(open_project(desk.folder))
    assert list_turns(desk)[1:] == []
    assert turn(desk).new_rows == 30


class Stop(BaseException):
    """As SIGINT and SIGTERM end things: no handler of errors catches it."""


def cut_short(project: Project, stage: str) -> None:
    """Begin a turn that ends as soon as it reaches a stage."""

    def stop(now: str, _done: float) -> None:
        if now == stage:
            raise Stop

    with pytest.raises(Stop):
        turn(project, progress=stop)


@pytest.mark.parametrize("stage", ["features", "head", "runtime"])
def test_a_turn_that_is_cut_short_changes_nothing_and_the_next_one_decides_the_same(wrong, turned, stage):
    before = state(wrong)
    cut_short(wrong, stage)
    versions, *others = state(wrong)
    assert others == list(before[1:])
    assert versions[0] == ("v1", ("champion",))
    record, (twin, expected) = turn(wrong), turned
    assert (record.promoted, record.before, record.after, record.p_value, record.new_rows) == (
        expected.promoted,
        expected.before,
        expected.after,
        expected.p_value,
        expected.new_rows,
    )
    weights = [
        (one.kept / "versions" / alias(one, CHAMPION) / "weights.safetensors").read_bytes()
        for one in (wrong, twin)
    ]
    assert weights[0] == weights[1]


def test_a_challenger_that_an_interrupted_turn_trained_is_not_trained_again(wrong):
    cut_short(wrong, "runtime")
    told: list[str] = []
    record = turn(wrong, progress=lambda stage, done: told.append(stage))
    assert record.challenger == "v2"
    assert "head" not in told
    assert [info.name for info in list_versions(wrong)] == ["v1", "v2"]


@pytest.mark.parametrize("change", ["settings", "damage", "rows"])
def test_what_an_interrupted_turn_trained_is_trained_again_if_it_does_not_fit(wrong, change):
    cut_short(wrong, "runtime")
    project = wrong
    if change == "settings":
        project = Project(wrong.folder, change_settings(wrong.settings, "train", method="top", epochs=1))
    elif change == "damage":
        (wrong.kept / "versions" / "v2" / "weights.safetensors").write_bytes(b"")
    else:
        opine(wrong, telling_rows(300, seed=9)[-5:])
    record = turn(project)
    assert record.challenger == "v3"
    assert version_manifest(wrong, "v3")["dataset"]["id"] == record.dataset


def test_a_decision_and_its_row_come_together_or_not_at_all(wrong):
    before = state(wrong)
    with wrong.database.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(Exception, match="no"):
        turn(wrong)
    assert state(wrong)[1:] == before[1:]
    with wrong.database.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER refuse")
    record = turn(wrong)
    assert (record.promoted, alias(wrong, CHAMPION), len(list_turns(wrong))) == (True, "v2", 2)


@pytest.mark.parametrize("chosen", ["v2", "v3"])
def test_a_turn_does_not_undo_a_promotion_that_was_made_while_it_ran(wrong, chosen):
    train(wrong)

    def meanwhile(stage: str, done: float) -> None:
        if stage == "runtime" and alias(wrong, CHAMPION) == "v1":
            promote(wrong, chosen, "by hand")

    record = turn(wrong, progress=meanwhile)
    assert (record.champion, record.challenger, record.promoted) == ("v1", "v3", False)
    assert record.reason == (
        f"kept the champion: {chosen} became champion since this turn began, and v3 was compared with v1"
    )
    assert (alias(wrong, CHAMPION), list_turns(wrong)[-1]) == (chosen, record)
    assert alias(wrong, CHALLENGER) == (None if chosen == "v3" else "v3")


def test_a_damaged_champion_is_found_before_anything_is_trained(wrong):
    path = wrong.kept / "versions" / "v1" / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(Corrupt, match=r"v1/weights\.safetensors is not what was written"):
        turn(wrong)
    assert [info.name for info in list_versions(wrong)] == ["v1"]
    path.write_bytes(content)
    assert turn(wrong).promoted


@pytest.mark.parametrize("most_bytes", [300, 3_000, 20_000])
def test_a_full_disk_loses_no_opinion_and_the_turn_goes_on_later(wrong, most_bytes):
    before = state(wrong)
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        turn(wrong)
    assert state(wrong)[1:] == before[1:]
    record = turn(wrong)
    assert (record.number, record.new_rows, record.promoted) == (2, 120, True)


def test_reports_that_cannot_be_written_leave_the_champion_and_the_turn_goes_on_later(wrong):
    wrong.reports.write_text("in the way")
    before = state(wrong)
    with pytest.raises(CannotStore, match=r"cannot write .*reports"):
        turn(wrong)
    assert state(wrong)[1:] == before[1:]
    os.remove(wrong.reports)
    assert turn(wrong).promoted
    assert "turns.svg" in contents(wrong.reports)


def test_a_label_that_the_champion_does_not_know_can_be_learnt(wrong):
    opine(
        wrong, [(f"please help {word}", "refund") for word in ("my", "the", "is", "where", "help", "money")]
    )
    record = turn(wrong)
    assert "refund" in load_classifier(wrong, record.challenger).labels
    assert "refund" not in load_classifier(wrong, "v1").labels
