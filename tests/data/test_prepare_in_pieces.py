"""`prepare` against the plain reference, whatever the pieces and parts; and what an end leaves behind."""

import hashlib
import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from millwright.data import arrange, duplicates, intake, prepare, repeats, spill
from millwright.data.prepare import dataset_folder
from millwright.errors import CannotStore
from millwright.records import Row
from millwright.settings import change_settings
from tests.conftest import csv_of, desk_rows
from tests.data.plain import prepared
from tests.data.test_prepare import accept

HEADER = ["text", "label", "who", "where", 'it\'s "odd"']
SAID = "card pin lost where is my the a new when will it come stolen Überweisung straße 卡 £5 ok"
WORDS = np.array(SAID.split())


def tables_of(seed, rows, exam_rows):
    """Rows with repeats, near repeats, conflicts, groups, odd characters, and cells that cannot be used."""
    rng = np.random.default_rng(seed)

    def line():
        words = list(rng.choice(WORDS, rng.integers(1, 9)))
        if rng.random() < 0.4:  # long ones, of which a few differ from each other in one word
            base = rng.integers(rows // 8)
            words = [f"w{base}x{n}" for n in range(45)]
            words[rng.integers(len(words))] = rng.choice(WORDS)
        text = rng.choice([" ", "  ", "-", "\n"]).join(words)
        text = rng.choice(
            [text, text.upper(), f"{text}!", f"\t{text}\r\n", f"{text}\u0301\x07", f"{text} \ufffd"]
        )
        if rng.random() < 0.04:
            text = rng.choice(["", " ", "x" * 301, "?!", ":)"])
        label = rng.choice(["a", " b", "c", "", "é"], p=[0.5, 0.3, 0.15, 0.02, 0.03])
        who = rng.choice(["", "anna", "bert", *(f"u{n}" for n in range(20))])
        return dict(
            zip(HEADER, map(str, (text, label, who, rng.choice(["app", "", 'q"']), "x\\")), strict=True)
        )

    table, exam = [line() for _ in range(rows)], [line() for _ in range(exam_rows)]
    for place in range(0, exam_rows, 3):
        exam[place] = table[int(rng.integers(rows))]
    if exam:
        exam[-1] = {**exam[-1], "label": "only tested", "text": "text of the exam"}
    return table, exam


def unmasked(project):
    """The project with masking turned off: the reference does not mask."""
    return replace(project, settings=change_settings(project.settings, "privacy", mask=False))


def content_of(table):
    return csv_of([list(line.values()) for line in table], HEADER)


def read_excluded(dataset):
    lines = (dataset.folder / "excluded.jsonl").read_text(encoding="utf-8").split("\n")
    return [tuple(json.loads(line).values()) for line in lines if line]


def make_small(monkeypatch, size):
    """Pieces and parts of a few rows, and nothing held in memory."""
    monkeypatch.setattr(intake, "PIECE_BYTES", size)
    monkeypatch.setattr(prepare, "PART_BYTES", 4 * size)
    monkeypatch.setattr(prepare, "LISTED_AT_ONCE", size)
    monkeypatch.setattr(spill, "HELD_BYTES", size)
    monkeypatch.setattr(repeats, "STRETCH_BITS", 3)
    monkeypatch.setattr(arrange, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(duplicates, "BYTES_A_BLOCK", size)
    monkeypatch.setattr(duplicates, "TEXTS_A_PART", 40)
    monkeypatch.setattr(duplicates, "STRETCH_BITS", 4)
    monkeypatch.setattr(duplicates, "SHINGLES_AT_ONCE", 50)


SETTINGS = [
    {},
    {"group": "who", "subject": "who"},
    {"group": "who", "slices": ["where", 'it\'s "odd"'], "test_share": 0.5, "validation_share": 0.4},
    {"subject": "who", "slices": ["where"], "test_files": ["exam.csv"]},
]


@pytest.mark.parametrize(
    ("number", "size"),
    [
        pytest.param(number, size, marks=pytest.mark.slow) if size == 300 and number < 2 else (number, size)
        for number in range(len(SETTINGS))
        for size in (None, 300, 7_000)
    ],
)
def test_a_dataset_is_what_the_plain_reference_says(make_project, monkeypatch, number, size):
    settings = {"max_characters": 300, **SETTINGS[number]}
    table, exam = tables_of(number, 260, 40 if "test_files" in settings else 0)
    project = unmasked(make_project(content_of(table), **settings))
    tables = {"rows.csv": table}
    if exam:
        (project.folder / "exam.csv").write_bytes(content_of(exam).encode())
        tables["exam.csv"] = exam
    feedback = []
    for place, (text, subject) in enumerate(
        [("Card lost", "anna"), ("card LOST!", "zoe"), ("new words", None)]
    ):
        split = "test" if subject == "zoe" else "train"
        accept(project, place, text, "a", subject=subject, split=split)
        is_group = settings.get("group") and settings.get("group") == settings.get("subject")
        group = f"g:{subject}" if subject and is_group else f"t:{text.lower().rstrip('!')}"
        feedback.append(Row("", text, "a", split, f"feedback:p{place}", group, subject))
    rows, report, excluded, content = prepared(project.settings.data, tables, feedback)
    if size is not None:
        make_small(monkeypatch, size)

    dataset = prepare.prepare(project)

    assert (dataset.folder / "rows.jsonl").read_bytes() == content
    assert dataset.id == f"d-{hashlib.sha256(content).hexdigest()[:12]}"
    assert list(dataset.rows) == rows
    assert dataset.report == {**report, "masked": {}}
    assert read_excluded(dataset) == excluded
    findings = ("texts_in_more_than_one_split", "conflicting_labels", "broken_texts")
    assert report["near_duplicates"]["pairs"] > 10
    assert all(report[name]["count"] for name in findings[1:])
    assert bool(report["notes"]) == (number in (2, 3))


def test_rows_keep_id_and_split_when_a_file_is_cut_in_two(make_project, tmp_path):
    rows = desk_rows(90)
    whole = prepare.prepare(make_project(csv_of(rows), folder=tmp_path / "whole"))
    project = make_project(csv_of(rows[:40]), folder=tmp_path / "cut", files=["rows.csv", "more.csv"])
    (project.folder / "more.csv").write_text(csv_of(rows[40:]))
    cut = prepare.prepare(project)
    assert [(row.id, row.text, row.split) for row in cut.rows] == [
        (row.id, row.text, row.split) for row in whole.rows
    ]


@pytest.mark.parametrize("stage", ["read rows", "compare rows", "write rows", "find near duplicates"])
def test_an_interrupt_leaves_nothing_half_written(make_project, stage):
    project = make_project(csv_of(desk_rows(40)))

    def interrupt(name, _done):
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(project, progress=interrupt)
    assert not dataset_folder(project).exists()
    assert list((project.kept / "spill").iterdir()) == []
    assert len(prepare.prepare(project).rows) == 40


def test_progress_of_each_stage_grows_to_one(make_project, monkeypatch):
    make_small(monkeypatch, 200)
    seen = {}
    prepare.prepare(
        make_project(csv_of(desk_rows(120))),
        progress=lambda stage, done: seen.setdefault(stage, []).append(done),
    )
    assert list(seen) == ["read rows", "compare rows", "write rows", "find near duplicates"]
    assert all(done == sorted(done) and done[-1] == 1 for done in seen.values())
    assert len(seen["read rows"]) > 5


@pytest.mark.parametrize("stage", ["compare rows", "write rows", "find near duplicates"])
def test_a_full_disk_is_told_and_leaves_nothing(make_project, monkeypatch, stage):
    make_small(monkeypatch, 100)
    project = make_project(csv_of(desk_rows(120)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(name, _done):
        if name == stage:  # no file may have more than one byte from now on
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))

    try:
        with pytest.raises(CannotStore, match="free space"):
            prepare.prepare(project, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not dataset_folder(project).exists()
    assert list((project.kept / "spill").iterdir()) == []


KILLED = """
import sys
from millwright.data import spill
from millwright.data.prepare import prepare
from millwright.project import open_project

spill.HELD_BYTES = 100

def stop(stage, done):
    if stage == "write rows":
        print("now", flush=True)
        sys.stdin.read()

prepare(open_project(sys.argv[1]), progress=stop)
"""


def test_what_a_killed_run_left_is_removed_by_the_next(make_project):
    project = make_project(csv_of(desk_rows(40)))
    command = [sys.executable, "-c", KILLED, str(project.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"now\n"
        run.send_signal(signal.SIGKILL)
    (left,) = (project.kept / "spill").iterdir()
    assert left.stat().st_mode & 0o077 == 0
    assert any(b"w1 x1 y1 z1" in path.read_bytes() for path in left.iterdir())
    prepare.prepare(project)
    assert list((project.kept / "spill").iterdir()) == []


def test_the_spill_of_a_run_that_still_works_stays(make_project):
    project = make_project(csv_of(desk_rows(40)))
    folder = project.kept / "spill" / "other"
    folder.mkdir(parents=True)
    with FileLock(folder / "running.lock"):
        prepare.prepare(project)
        assert folder.exists()


def test_more_labels_than_can_be_meant_are_refused_before_all_are_read(make_project, monkeypatch):
    monkeypatch.setattr(intake, "MOST_LABELS_READ", 50)
    project = make_project(csv_of([(f"text {n}", f"label {n}") for n in range(60)]))
    with pytest.raises(prepare.BadInput, match="more than 50 labels.*--label"):
        prepare.prepare(project)


def test_a_key_that_only_later_objects_have_is_a_column(make_project, monkeypatch):
    monkeypatch.setattr(intake, "PIECE_BYTES", 100)
    lines = [{"text": text, "label": label} for text, label in desk_rows(30)]
    lines[-1]["who"] = "anna"
    content = "".join(json.dumps(line) + "\n" for line in lines)
    dataset = prepare.prepare(make_project(content, name="rows.jsonl", subject="who"))
    assert [row.subject for row in dataset.rows if row.subject] == ["anna"]
