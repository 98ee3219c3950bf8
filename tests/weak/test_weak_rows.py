"""Weak rows from the functions to the version: provenance, splits, people's wishes, the decision."""

import json

import numpy as np
import pytest

from millwright.data.prepare import prepare
from millwright.data.split import split_of
from millwright.data.weak import WEAK_FILE
from millwright.erase.erasure import erase
from millwright.errors import BadInput
from millwright.privacy.consent import OBJECTED, restrict
from millwright.steps import train, weigh_weak
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.weak_rows import Taught, few_of_each, use_of_weak_rows
from millwright.weak.apply import apply_weak, clear_weak
from millwright.weak.functions import keyword_function
from millwright.weak.report import survey_weak
from tests.conftest import contents, csv_of
from tests.desk import make_desk, telling_rows
from tests.surfaces.test_cli import run

FUNCTIONS = [
    keyword_function("card", "card", ["card", "stolen", "lost"]),
    keyword_function("pin", "pin", ["pin", "forgot", "blocked"]),
    keyword_function("transfer", "transfer", ["transfer", "pending", "money", "sent"]),
    keyword_function("wrong", "pin", ["transfer"]),
    keyword_function("silent", "pin", ["xyzzy"]),
]


def make(tmp_path, encoder, clean=30, pile=200, **data):
    """A project with some labelled rows of people, and a pile of unlabelled ones of others."""
    rows = telling_rows(clean + pile)
    labelled = [(text, label, f"p{place}") for place, (text, label) in enumerate(rows[:clean])]
    data = {"subject": "person", "group": "person", **data}
    project = make_desk(tmp_path / "desk", encoder, labelled, header=("text", "label", "person"), data=data)
    heap = [(text, f"q{place % 40}") for place, (text, _) in enumerate(rows[clean:])]
    (project.folder / "pile.csv").write_text(csv_of(heap, ("text", "person")))
    return project, project.folder / "pile.csv", dict(rows)


def test_weak_rows_say_where_they_are_from_and_stand_in_training_alone(tmp_path, encoder):
    project, pile, truth = make(tmp_path, encoder)
    apply_weak(project, [pile], FUNCTIONS)
    dataset = prepare(project)
    weak = [row for row in dataset.rows if row.is_weak]
    assert dataset.report["weak"] == len(weak) > 80
    assert {row.split for row in weak} == {"train"}
    lines = [json.loads(line) for line in (project.folder / WEAK_FILE).read_text().splitlines()]
    data = project.settings.data
    for row in weak:
        line = lines[int(row.source.removeprefix("weak:")) - 1]
        assert (line["text"], line["person"]) == (row.text, row.subject)
        assert row.label in line["weak_votes"].values()
        assert split_of(row.group, data.split_seed, data.validation_share, data.test_share) == "train"
    assert np.mean([truth[row.text] == row.label for row in weak]) > 0.9
    left_out = dataset.report["excluded"]["weak label in a group that is held out"]
    unsure = dataset.report["excluded"].get("labelling functions are not sure enough", 0)
    assert len(weak) + left_out + unsure == len(lines)


def test_a_text_that_somebody_labelled_keeps_that_label_alone(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    known = prepare(project).rows
    pile.write_text(csv_of([(row.text.upper(), "q1") for row in known], ("text", "person")))
    apply_weak(project, [pile], [keyword_function("all", "pin", ["*a*", "*e*", "*o*", "*i*"])])
    dataset = prepare(project)
    assert [row.id for row in dataset.rows] == [row.id for row in known]
    assert dataset.report["excluded"] == {"weak label where another stands": len(known)} or (
        sum(dataset.report["excluded"].values()) == len(known)
    )


def test_people_who_object_and_people_who_are_erased_leave_no_trace(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    apply_weak(project, [pile], FUNCTIONS)
    everybody = {row.subject for row in prepare(project).rows if row.is_weak}
    objector, erased = sorted(everybody)[:2]
    receipt = erase(project, erased).receipt
    assert {WEAK_FILE, "pile.csv"} <= set(receipt["files_rewritten"])
    assert f'"{erased}"' not in (project.folder / WEAK_FILE).read_text()
    after = prepare(project)
    # The same as if the person had never been in the pile.
    apply_weak(project, [pile], FUNCTIONS)
    assert prepare(project).id == after.id
    restrict(project, objector, OBJECTED)
    assert objector in {row.subject for row in after.rows}
    assert objector not in {row.subject for row in prepare(project).rows}


def test_clearing_brings_back_the_dataset_without_weak_rows(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    before = prepare(project).id
    apply_weak(project, [pile], FUNCTIONS)
    assert prepare(project).id != before
    assert clear_weak(project)
    assert not clear_weak(project)
    assert prepare(project).id == before


def test_an_apply_without_a_vote_leaves_what_stood(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    apply_weak(project, [pile], FUNCTIONS)
    before = (project.folder / WEAK_FILE).read_bytes()
    with pytest.raises(BadInput, match="no function voted on any of 200 rows"):
        apply_weak(project, [pile], FUNCTIONS[-1:])
    assert (project.folder / WEAK_FILE).read_bytes() == before


def test_the_report_counts_what_a_brute_force_counts(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    found, _ = survey_weak(project, [pile], FUNCTIONS)
    texts = [line.split(",")[0] for line in pile.read_text().splitlines()[1:]]
    known = [row for row in prepare(project).rows if row.split != "test"]
    for one, function in zip(found.functions, FUNCTIONS, strict=True):
        others = [other for other in FUNCTIONS if other is not function]
        mine = [text for text in texts if function(text)]
        differ = [t for t in mine if any(o(t) not in (None, function(t)) for o in others)]
        assert one.coverage == pytest.approx(len(mine) / len(texts))
        assert one.conflicts == pytest.approx(len(differ) / len(texts))
        right = [function(row.text) == row.label for row in known if function(row.text)]
        assert (one.judged, one.right) == (len(right), sum(right))
    flags = {one.name: one.flags for one in found.functions}
    assert flags["silent"] == ("never votes",)
    assert any("worse than chance" in flag for flag in flags["wrong"])
    assert not flags["card"]
    assert {row.id for row in known} == {row.id for row in prepare(project).split("train", "validation")}


def test_texts_are_masked_before_functions_see_or_keep_them(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder)
    pile.write_text("text,person\nmy card went to ada@example.com,q1\nmy pin please,q2\n")
    seen = keyword_function("mail", "card", ["ada", "example"])
    apply_weak(project, [pile], [*FUNCTIONS, seen])
    kept = (project.folder / WEAK_FILE).read_text()
    assert "ada@" not in kept
    assert "mail" not in kept


def test_a_project_without_a_labelled_row_trains_on_weak_ones(tmp_path, encoder):
    project, pile, truth = make(tmp_path, encoder, files=[])
    apply_weak(project, [pile], FUNCTIONS)
    dataset = prepare(project)
    assert all(row.is_weak for row in dataset.rows)
    made = train(project)
    manifest = json.loads((project.kept / "versions" / made.name / "manifest.json").read_text())
    assert manifest["facts"]["weak"]["way"] == "all"
    assert manifest["metrics"] is None
    card = (project.kept / "versions" / made.name / "README.md").read_text()
    assert "Weak rows: all" in card


def test_training_tells_what_it_made_of_weak_rows_and_leaves_wrong_ones_out(tmp_path, encoder):
    project, pile, _ = make(tmp_path, encoder, clean=90)
    turned = [keyword_function(f"f{n}", label, words.split()) for n, (label, words) in enumerate(
        [("pin", "card lost stolen"), ("transfer", "pin forgot blocked"), ("card", "money sent pending")]
    )]  # fmt: skip
    apply_weak(project, [pile], turned)
    made = train(project)
    facts = json.loads((project.kept / "versions" / made.name / "manifest.json").read_text())["facts"]
    assert (facts["weak"]["way"], facts["weak"]["taken"]) == ("none", 0)
    assert facts["weak"]["with_weak"] <= facts["weak"]["without"]
    assert facts["taught_by"] == sum(not row.is_weak for row in prepare(project).split("train", "validation"))


def clouds(rng, rows, spread=1.0):
    truth_N = np.arange(rows) % 3
    feature_ND = np.eye(3)[truth_N].repeat(20, 1) + spread * rng.normal(size=(rows, 60))
    return feature_ND.astype(np.float32), truth_N, [f"g{spread}-{place}" for place in range(rows)]


def test_weak_rows_teach_where_they_help_and_not_where_they_are_wrong():
    rng = np.random.default_rng(0)
    clean, (feature_WD, truth_W, _) = Taught(*clouds(rng, 90, 3.0)), clouds(rng, 900, 3.0)
    group_W = [f"w{place}" for place in range(900)]
    none = clean.feature_ND[:0]
    good = use_of_weak_rows(clean, Taught(feature_WD, truth_W, group_W), none)
    bad = use_of_weak_rows(clean, Taught(feature_WD, (truth_W + 1) % 3, group_W), none)
    assert (good.way, len(good.taken)) == ("all", 900)
    assert good.p_value < 0.025
    assert (bad.way, bad.taken) == ("none", ())


def places(rng, labels, each, right=1.0, first=0):
    """Rows around a place of their own for each label; of a share the label is that of another one."""
    truth_N = np.tile(np.arange(labels), each)
    centre_CD = np.random.default_rng(7).normal(size=(labels, 12))
    feature_ND = centre_CD[truth_N] + rng.normal(size=(len(truth_N), 12))
    told_N = np.where(rng.random(len(truth_N)) < right, truth_N, rng.integers(0, labels, len(truth_N)))
    return feature_ND.astype(np.float32), told_N, [f"{first + place}" for place in range(len(truth_N))]


@pytest.mark.parametrize("seed", range(3))
def test_at_two_rows_a_label_heads_are_judged_as_if_one_of_each_taught(seed):
    labels, rng = 30, np.random.default_rng(seed)
    clean = Taught(*places(rng, labels, 2))
    weak = Taught(*places(rng, labels, 20, right=0.3, first=1_000))
    use = use_of_weak_rows(clean, weak, clean.feature_ND[:0])
    # By brute force: one row of each label teaches, the other one is judged, over many draws.
    shares = []
    for _ in range(40):
        taught = np.arange(labels) + labels * rng.integers(0, 2, labels)
        judged = np.setdiff1d(np.arange(2 * labels), taught)
        head = fit_head(clean.feature_ND[taught], clean.truth_N[taught], labels, DEFAULT_STRENGTH)
        best = (clean.feature_ND[judged] @ head[0].T + head[1]).argmax(1)
        shares.append((best == clean.truth_N[judged]).mean())
    assert use.judged == 2 * labels
    assert use.without / use.judged == pytest.approx(np.mean(shares), abs=0.08)


def test_weak_rows_that_are_mostly_wrong_do_not_win_by_making_up_for_the_row_that_is_judged():
    rng = np.random.default_rng(1)
    fresh_ND, fresh_N, _ = places(rng, 30, 30)
    taken = 0
    for _ in range(6):
        clean = Taught(*places(rng, 30, 2))
        weak = Taught(*places(rng, 30, 20, right=0.3, first=1_000))
        use = use_of_weak_rows(clean, weak, clean.feature_ND[:0])
        shares = []
        for more in ((), use.taken or few_of_each(weak.truth_N, 2)):
            more_N = np.array(more, dtype=int)
            head = fit_head(
                np.concatenate([clean.feature_ND, weak.feature_ND[more_N]]),
                np.concatenate([clean.truth_N, weak.truth_N[more_N]]), 30, DEFAULT_STRENGTH,
            )  # fmt: skip
            shares.append(((fresh_ND @ head[0].T + head[1]).argmax(1) == fresh_N).mean())
        assert shares[1] < shares[0]  # they do harm
        taken += use.way != "none"
    assert taken <= 2


def test_weak_rows_of_a_judged_group_teach_no_head_that_judges_it():
    rng = np.random.default_rng(0)
    feature_ND, truth_N, group_N = clouds(rng, 60, spread=8.0)
    clean = Taught(feature_ND, truth_N, group_N)
    # Copies of each row under its own group would make every row right, were they let in.
    copies = Taught(
        feature_ND.repeat(5, 0), truth_N.repeat(5), [group for group in group_N for _ in range(5)]
    )
    use = use_of_weak_rows(clean, copies, feature_ND[:0])
    assert use.with_weak < 50


def test_labels_of_one_row_judge_nothing():
    rng = np.random.default_rng(0)
    feature_WD, truth_W, group_W = clouds(rng, 90)
    clean = Taught(rng.normal(size=(30, 60)).astype(np.float32), np.arange(30), [str(n) for n in range(30)])
    use = use_of_weak_rows(clean, Taught(feature_WD, truth_W, group_W), clean.feature_ND[:0])
    assert (use.way, use.judged, use.taken) == ("none", 0, ())
    assert "two labelled rows" in use.why


def test_weak_rows_teach_where_hardly_anything_else_is_there():
    rng = np.random.default_rng(0)
    clean, weak = Taught(*clouds(rng, 9)), Taught(*clouds(rng, 90))
    assert use_of_weak_rows(clean, weak, clean.feature_ND[:0]).taken == tuple(range(90))


@pytest.mark.parametrize("clean", [12, 90])
def test_the_report_decides_before_anything_is_applied_as_training_does_after(tmp_path, encoder, clean):
    project, pile, _ = make(tmp_path, encoder, clean=clean)
    before = contents(project.kept / "cache") if (project.kept / "cache").exists() else {}
    use = weigh_weak(project, survey_weak(project, [pile], FUNCTIONS)[1])
    assert (contents(project.kept / "cache") if (project.kept / "cache").exists() else {}) == before
    assert not (project.folder / WEAK_FILE).exists()
    apply_weak(project, [pile], FUNCTIONS)
    made = train(project)
    manifest = json.loads((project.kept / "versions" / made.name / "manifest.json").read_text())
    assert use.to_json() == manifest["facts"]["weak"]


def test_the_verb_reports_whether_weak_rows_would_teach(tmp_path, encoder, capsys):
    project, pile, _ = make(tmp_path, encoder, clean=6)
    (project.folder / "words.toml").write_text(
        '[card]\nlabel = "card"\nkeywords = ["card"]\n[pin]\nlabel = "pin"\nkeywords = ["pin"]\n'
    )
    asked = (
        "weak",
        "report",
        pile,
        "--functions",
        project.folder / "words.toml",
        "--project",
        project.folder,
    )
    assert run(*asked) == 0
    assert "labelled rows are too few to tell whether they help" in capsys.readouterr().out
    assert run(*asked, "--json") == 0
    assert json.loads(capsys.readouterr().out)["use"]["way"] == "all"
