"""What `scan` says of files and projects."""

import json
import tracemalloc

import pytest

from millwright.data.personal import AT_ONCE, scan_file, scan_project, shape
from millwright.errors import BadInput, NotFound
from millwright.privacy.sealed import stream_predictions
from millwright.privacy.vault import open_vault
from millwright.records import Opinion, Prediction, ProposedRow
from tests.conftest import csv_of, keep
from tests.surfaces.test_cli import run

ROWS = [
    ("write to ann@example.com or bo@example.org", "mail"),
    ("my phone is 13800138000", "phone"),
    ("write to ann@example.com or bo@example.org", "mail"),
    ("nothing here", "none"),
]


def test_counts_cells_and_occurrences_of_each_kind_by_column(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_of(ROWS))
    found = [(item.column, item.entity, item.cells, item.count) for item in scan_file(path)]
    assert found == [("text", "EMAIL_ADDRESS", 2, 4), ("text", "PHONE_NUMBER", 1, 1)]


def test_samples_show_shapes_and_never_values(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text(csv_of([*ROWS, ("我叫王小明", "name"), ("I am John Smith", "name")]))
    assert run("privacy", "scan", path, "--json") == 0
    said = capsys.readouterr().out
    samples = {item["entity"]: item["samples"] for item in json.loads(said)["findings"]}
    assert samples["PHONE_NUMBER"] == ["99999999999"]
    assert samples["EMAIL_ADDRESS"] == ["xxx@xxxxxxx.xxx", "xx@xxxxxxx.xxx"]
    assert sorted(samples["PERSON"]) == ["xxxx xxxxx", "某某某"]
    assert run("privacy", "scan", path) == 0
    said += capsys.readouterr().out
    for value in ("ann", "example", "138", "王", "Smith"):
        assert value not in said


def test_a_long_sample_is_cut():
    assert shape("a1王\n" * 20) == "x9某 " * 5 + "x9某…"


def test_what_a_project_stored_is_opened_piece_by_piece(make_project):
    project, size, hour = make_project(csv_of(ROWS)), 4_000, "2026-01-01T00:00:00+00:00"
    texts = [f"{n} {'. ' * (size // 2)}" for n in range(3_000)]
    keep(
        project,
        *(Prediction(f"p{n}", "v1", text, "a", 0.5, None, False, hour) for n, text in enumerate(texts)),
    )
    vault = open_vault(project)
    tracemalloc.start()
    try:
        assert sum(len(one.text) for one in stream_predictions(vault)) == sum(map(len, texts))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < len(texts) * size / 2  # a quarter of what all of them take, once sealed and once open


def test_counts_add_up_over_pieces(make_project):
    project, hour = make_project(csv_of(ROWS)), "2026-01-01T00:00:00+00:00"
    texts = [f"{n} me@example.com" for n in range(AT_ONCE + 7)] + ["0 me@example.com"] * 3
    keep(
        project,
        *(Prediction(f"p{n}", "v1", text, "a", 0.5, None, False, hour) for n, text in enumerate(texts)),
    )
    (found,) = (item for item in scan_project(project) if item.source == "predictions")
    assert (found.cells, found.count, found.samples) == (len(texts), len(texts), ("xx@xxxxxxx.xxx",))


def test_a_project_is_scanned_with_what_it_stored(make_project):
    project = make_project(csv_of(ROWS))
    hour = "2026-01-01T00:00:00+00:00"
    keep(
        project,
        Prediction("p1", "v1", "call 13800138000", "a", 0.5, None, ask=False, created_at=hour),
        Opinion("o1", "p1", "b", None, "mail cy@example.com, di@example.com", hour),
        Opinion("o2", "p1", "b", None, None, hour),
        ProposedRow("p1", "o1", "call 13800138001", "b", None, "train", turn=1),
    )
    found = [(item.source, item.entity, item.count) for item in scan_project(project)]
    assert found == [
        ("rows.csv", "EMAIL_ADDRESS", 4),
        ("rows.csv", "PHONE_NUMBER", 1),
        ("predictions", "PHONE_NUMBER", 1),
        ("opinions", "EMAIL_ADDRESS", 2),
        ("proposed_rows", "PHONE_NUMBER", 1),
    ]


def test_names_what_is_missing(tmp_path, make_project):
    with pytest.raises(NotFound, match="no file"):
        scan_file(tmp_path / "none.csv")
    with pytest.raises(BadInput, match=r"data\.files"):
        scan_project(make_project(csv_of(ROWS), files=[]))


def test_a_clean_file_is_told_so(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nall is well,a\nnothing else,b\n")
    assert run("privacy", "scan", path) == 0
    assert capsys.readouterr().out == "no personal data found\n"
