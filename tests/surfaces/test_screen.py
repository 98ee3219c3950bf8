"""What the command line prints: it fits 80 columns, and every figure that was measured stands in it."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from millwright.bench.measure import LoadFigures
from millwright.data.prepare import prepare
from millwright.records import Answer, Interval, TurnRecord
from millwright.registry.versions import VersionInfo
from millwright.serve.runtime_record import Candidate, Machine, RuntimeRecord
from millwright.surfaces import screen
from millwright.train.choose import BackboneScore
from millwright.train.metrics import evaluate
from tests.conftest import csv_of, desk_rows

LONG = "balance_not_updated_after_cheque_or_cash_deposit"
MANIFEST = {
    "name": "v2",
    "created_at": "2026-01-02T03:04:05.678+00:00",
    "dataset": {"id": "d-0123456789ab", "splits": {"train": 8591, "validation": 161, "test": 268}},
    "backbone": {"name": "minilm"},
    "labels": ["card", "pin"],
    "method": "top",
    "why": "a head is right on 61.2% of validation rows, and 120 rows a label are enough to train layers",
    "metrics": {
        "rows": 268,
        "accuracy": {"value": 0.6119, "low": 0.5522, "high": 0.6679},
        "macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6},
        "calibration_error": {"value": 0.09, "low": 0.08, "high": 0.15},
        "log_loss": {"value": 1.4, "low": 1.2, "high": 1.6},
    },
    "facts": {
        "stages": {
            "features": {"seconds": 12.345, "rows_per_second": 83.2},
            "head": {"seconds": 0.25, "rows_per_second": 12345.6, "peak_memory_bytes": 512_345_678},
        },
        "peak_memory_bytes": 831_234_567,
    },
}


def shown(thing, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    return console.file.getvalue().splitlines()


def evaluation(labels=("card", LONG)):
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    return evaluate(probability, np.array([0, 1, 1, 1]), labels, {"channel": ["app", "", "app", LONG]})


def test_an_evaluation_fits_80_columns_with_long_names():
    lines = shown(screen.evaluation_table(evaluation(labels=(LONG + "_1", LONG + "_2"))))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_an_evaluation_shows_figures_slices_and_confusions():
    found = evaluation()
    lines = [line.split() for line in shown(screen.evaluation_table(found))]
    low, high = f"{found.accuracy.low:.4f}", f"{found.accuracy.high:.4f}"
    assert ["accuracy", "0.5000", low, "to", high] in lines
    assert ["channel:", "unknown", "1", "1.0000", "1.0000", "to", "1.0000"] in lines
    assert [LONG, "card", "2"] in lines


def test_an_evaluation_says_what_to_know_before_believing_it():
    right = evaluate(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), ["card", "pin"], {})
    assert any(line.startswith("note: every row was right") for line in shown(screen.evaluation_table(right)))


def test_a_version_shows_what_each_stage_cost():
    lines = [line.split() for line in shown(screen.version_table(MANIFEST, ("champion",)))]
    assert ["features", "12.3", "83"] in lines
    assert ["stage", "seconds", "rows/s", "peak", "MB"] in lines
    assert ["head", "0.2", "12,346", "512"] in lines
    assert ["peak", "memory", "831", "MB"] in lines
    assert ["version", "v2,", "champion"] in lines
    assert ["accuracy", "0.6119", "0.5522", "to", "0.6679"] in lines
    assert max(len(" ".join(line)) for line in lines) <= 80


def test_a_version_that_was_not_measured_says_so():
    lines = shown(screen.version_table({**MANIFEST, "metrics": None}, ()))
    assert "nothing was measured: the dataset has no test rows" in [line.strip() for line in lines]


def test_versions_are_a_line_each():
    found = [
        VersionInfo("v1", 1, "d-0123456789ab", "head", None, MANIFEST["created_at"]),
        VersionInfo("v2", 2, "d-0123456789ab", "adalora", 0.75, MANIFEST["created_at"], ("champion",)),
    ]
    lines = shown(screen.versions_table(found))
    assert len(lines) == 3
    assert lines[1].split() == ["v1", "head", "d-0123456789ab", "2026-01-02", "03:04", "UTC"]
    assert lines[2].split()[:5] == ["v2", "champion", "adalora", "d-0123456789ab", "0.7500"]


def test_an_answer_for_a_program_is_one_line_of_cells_parted_by_tabs():
    answers = [Answer(("card", "pin"), (0.75, 0.25)), Answer(("pin",), (1.0,))]
    lines = screen.answer_lines(["eaten\nby\tthe machine", "[bold]forgot[/]"], answers).split("\n")
    assert lines[0].split("\t") == ["card", "0.750", "pin", "0.250", "eaten by the machine"]
    assert lines[1].split("\t") == ["pin", "1.000", "[bold]forgot[/]"]


def test_an_answer_for_a_person_shows_the_text_once_and_markup_as_it_is():
    lines = shown(screen.answers_table(["[bold]x[/]"], [Answer(("card", "pin"), (0.75, 0.25))]))
    assert [line.split() for line in lines[1:]] == [["card", "0.750", "[bold]x[/]"], ["pin", "0.250"]]


def test_a_backbone_that_could_not_be_measured_says_why_below_the_others():
    scores = [
        BackboneScore("minilm", Interval(0.8, 0.7, 0.9), 1234.5, 90_900_000, 384, 6),
        BackboneScore("[x]", Interval(0, 0, 0), 0, 0, 0, 0, "no backbone '[x]'"),
    ]
    lines = shown(screen.backbones_table(scores))
    assert lines[1].split() == ["minilm", "0.8000", "0.7000", "to", "0.9000", "1,234", "91"]
    assert lines[2].strip() == "not measured: no backbone '[x]'"


def test_a_path_below_the_working_folder_is_shown_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert screen.path_from_here(tmp_path / "desk" / "reports") == Path("desk/reports")
    assert screen.path_from_here(Path("/elsewhere/x")) == Path("/elsewhere/x")


@pytest.mark.parametrize("promoted", [True, False])
def test_a_turn_says_before_after_and_the_verdict(promoted, capsys):
    before, after = Interval(0.6, 0.55, 0.65), Interval(0.7, 0.65, 0.75)
    turn = TurnRecord(2, "d-1", 900, 40, "v1", "v2", before, after, 380, 0.0048, promoted, "[why]", "")
    screen.show_line(screen.turn_lines(turn))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "turn 2: 40 new rows, 900 in all"
    assert said[1].endswith("0.6000 [0.5500, 0.6500] -> 0.7000 [0.6500, 0.7500], p = 0.0048")
    assert said[2] == f"v2 {'promoted' if promoted else 'held back'}: [why]"


def test_a_turn_without_a_champion_before_it_and_without_a_test_says_so(capsys):
    after = Interval(0.7, 0.6, 0.8)
    first = TurnRecord(1, "d-1", 90, 90, None, "v1", None, after, 30, None, True, "first", "")
    screen.show_line(screen.turn_lines(first))
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "accuracy on the same 30 held-out rows: none -> 0.7000 [0.6000, 0.8000]"


@pytest.mark.parametrize(
    ("speeds_of", "said"), [(None, ""), ("v1", "; texts/s with v1, whose network is the same")]
)
def test_runtimes_stand_by_their_speed_and_say_why_they_do_not_serve(speeds_of, said):
    candidates = (
        Candidate("torch", 100.0),
        Candidate("openvino-int8", 1234.5, 0.9, None, "agrees with float32 on 90.00% of rows"),
        Candidate("openvino-float32", 300.0, 1.0, 0.75),
        Candidate("openvino-bfloat16", refused="no [such] operation"),
    )
    record = RuntimeRecord(
        "v2", "openvino-float32", "b", candidates, Machine("Chip 9", 2), 1.5, speeds_of=speeds_of
    )
    lines = [" ".join(line.split()) for line in shown(screen.runtime_table(record), width=120)]
    assert lines[1] == "runtime texts/s as float32 validation"
    assert lines[2:] == [
        "openvino-int8 1,234 90.00% agrees with float32 on 90.00% of rows",
        "openvino-float32 300 100.00% 75.00% serves",
        "torch 100 slower, not judged",
        "openvino-bfloat16 no [such] operation",
        "validation rows teach in the end: their share of right answers compares runtimes alone",
        f"measured on Chip 9, 2 cores{said}",
    ]


def test_a_load_shows_what_was_measured_and_leaves_empty_what_was_not():
    one = LoadFigures(1, 1234.5, 1.25, None, None, 7, None)
    two = replace(one, concurrency=8, cost_per_million=0.12345)
    plain = [line.split() for line in shown(screen.load_table([one]))]
    assert plain[1] == ["1", "1,234", "1.2", "7"]
    assert "million" not in plain[0]
    priced = [line.split() for line in shown(screen.load_table([one, two]))]
    assert priced[2] == ["8", "1,234", "1.2", "7", "0.1235"]


def test_the_data_of_a_real_preparation_are_shown_with_what_was_left_out(make_project):
    rows = [*desk_rows(60), ("w1 x1 y1 z1", "pin"), ("", "card")]
    dataset = prepare(make_project(csv_of(rows)))
    lines = [line.strip() for line in shown(screen.data_table(dataset.report), width=160)]
    splits = ", ".join(f"{len(dataset.split(name))} {name}" for name in ("train", "validation", "test"))
    assert ["rows", *f"{len(dataset.rows)}: {splits}".split()] in [line.split() for line in lines]
    (left_out,) = (line for line in lines if line.startswith("left out"))
    assert sum(int(word) for word in left_out.split() if word.isdigit()) == len(rows) - len(dataset.rows)


def test_of_a_person_who_is_nowhere_every_count_is_shown_as_none():
    nothing = {
        "files": {},
        "datasets": {},
        "versions": {},
        "exports": {},
        "not_owned": [],
        "unknown_versions": [],
        "unreadable": {},
    }
    found = {**nothing, "rows": {"proposed_rows": 0}, "has_key": False}
    assert screen.found_lines(found).splitlines() == ["proposed rows: 0", "a key of its own: no"]


def test_a_receipt_says_what_was_left_to_the_person_who_erases():
    receipt = {
        "rows_deleted": {"opinions": 2}, "erased_at": "2026-01-02", "data_key": "destroyed",
        "files_rewritten": {"rows.csv": {"rows": 3}}, "datasets": {"d-1": {"rows": 3, "successor": None}},
        "versions": {"v1": {"rows_that_taught": 3, "successor": None, "how": "withdrawn"}},
        "left_to_you": {"/mnt/x.csv": "outside of the project"},
    }  # fmt: skip
    assert screen.receipt_lines(receipt).splitlines() == [
        "erased at 2026-01-02: 2 opinions; the key was: destroyed",
        "file rows.csv: 3 rows cut out",
        "dataset d-1: 3 rows; in its place none",
        "version v1: 3 rows taught it; withdrawn",
        "left to you: /mnt/x.csv: outside of the project",
    ]
