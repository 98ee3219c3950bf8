import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from millwright.data.dataset import read_dataset, seal_dataset, write_lines
from millwright.errors import CannotStore, Corrupt
from millwright.records import Row
from millwright.store.files import SEAL, sha256_file, write_json

ROWS = [
    Row(
        "b2", "line\nbreak \u2028 \x85 é 汉", "x", "train", "file:a.csv:1", "t:a", None, (("channel", "web"),)
    ),
    Row("a1", "second", "y", "test", "feedback:p1", "g:anna", "anna"),
    Row("c3", "third", "x", "validation", "file:a.csv:2", "t:c"),
]


def write_dataset(folder, rows, excluded=(), spill=None):
    """Seal rows, written as JSON by the standard library."""
    trees = [{**asdict(row), "slices": dict(row.slices)} for row in sorted(rows, key=lambda row: row.id)]
    lines = [json.dumps(tree, ensure_ascii=False).encode() + b"\n" for tree in trees]
    file = (spill or folder.parent) / "unsealed.jsonl"
    report = {"rows": len(rows), "labels": {row.label: {} for row in rows}}
    return seal_dataset(folder, file, write_lines(file, lines), report, excluded)


def reseal(folder, name):
    seal = json.loads((folder / SEAL).read_text())
    seal["sha256"][name] = sha256_file(folder / name)
    write_json(folder / SEAL, seal)


def test_a_dataset_reads_back_equal(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS)
    assert read_dataset(tmp_path / "sets", written.id) == written


def test_rows_stand_in_the_order_of_their_ids(tmp_path):
    assert [row.id for row in write_dataset(tmp_path / "sets", ROWS).rows] == ["a1", "b2", "c3"]


def test_the_same_rows_in_any_order_make_the_same_dataset_once(tmp_path):
    one = write_dataset(tmp_path / "sets", ROWS)
    other = write_dataset(tmp_path / "sets", ROWS[::-1])
    assert one == other
    assert [path.name for path in (tmp_path / "sets").iterdir()] == [one.id]


def test_another_row_makes_another_dataset_and_leaves_the_first(tmp_path):
    one, other = write_dataset(tmp_path / "sets", ROWS), write_dataset(tmp_path / "sets", ROWS[:2])
    assert one.id != other.id
    assert read_dataset(tmp_path / "sets", one.id).rows == one.rows


def test_the_name_is_the_hash_of_the_rows_file(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS)
    content = (written.folder / "rows.jsonl").read_bytes()
    assert written.id == f"d-{hashlib.sha256(content).hexdigest()[:12]}"


def test_rows_are_json_lines_that_any_tool_reads(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS)
    lines = (written.folder / "rows.jsonl").read_bytes().decode().split("\n")
    assert [json.loads(line)["text"] for line in lines if line] == [row.text for row in written.rows]


def test_excluded_rows_are_kept_beside(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS, [b'{"row": 9}\n', b'{"row": 10}\n'])
    assert (written.folder / "excluded.jsonl").read_text() == '{"row": 9}\n{"row": 10}\n'


def test_what_was_excluded_since_replaces_what_was_before(tmp_path):
    write_dataset(tmp_path / "sets", ROWS, [b'{"row": 9}\n'])
    written = write_dataset(tmp_path / "sets", ROWS, [b'{"row": 10}\n'])
    assert (written.folder / "excluded.jsonl").read_text() == '{"row": 10}\n'
    assert read_dataset(tmp_path / "sets", written.id) == written
    assert [path.name for path in (tmp_path / "sets").iterdir()] == [written.id]


class Killed(BaseException):
    """What a kill looks like to the code that it interrupts."""


@pytest.mark.parametrize("moment", ["before the new one stands", "before the old one is gone"])
def test_a_kill_while_a_dataset_is_replaced_loses_neither_it_nor_leaves_a_copy(tmp_path, monkeypatch, moment):
    sets, spill = tmp_path / "sets", tmp_path / "spill"
    first = write_dataset(sets, ROWS, [b'{"row": 9}\n'])
    spill.mkdir()
    rename, rmtree = Path.rename, shutil.rmtree

    def rename_until(path, target):
        if path == spill / first.id:
            raise Killed
        return rename(path, target)

    def rmtree_until(path, **more):
        if first.id in Path(path).name and Path(path).suffix != ".part":
            raise Killed
        rmtree(path, **more)

    with monkeypatch.context() as patch:
        if moment == "before the new one stands":
            patch.setattr(Path, "rename", rename_until)
        else:
            patch.setattr(shutil, "rmtree", rmtree_until)
        with pytest.raises(Killed):
            write_dataset(sets, ROWS, [b'{"row": 10}\n'], spill)
    shutil.rmtree(spill)  # as the next preparation does
    write_dataset(sets, ROWS[:2])
    assert read_dataset(sets, first.id).rows == first.rows
    assert len(list(sets.iterdir())) == 2


def test_labels_are_sorted_and_splits_are_filtered(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS)
    assert written.labels == ("x", "y")
    assert [row.id for row in written.split("test")] == ["a1"]
    assert [row.id for row in written.split("train", "validation")] == ["b2", "c3"]


@pytest.mark.parametrize("name", ["rows.jsonl", "report.json", "excluded.jsonl"])
def test_an_edited_file_is_found(tmp_path, name):
    written = write_dataset(tmp_path / "sets", ROWS)
    path = written.folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(Corrupt, match=name):
        read_dataset(tmp_path / "sets", written.id)


def test_a_dataset_of_another_format_is_refused_with_a_remedy(tmp_path):
    written = write_dataset(tmp_path / "sets", ROWS)
    write_json(written.folder / "report.json", {"format": 99})
    reseal(written.folder, "report.json")
    with pytest.raises(Corrupt, match="millwright prepare"):
        read_dataset(tmp_path / "sets", written.id)


def test_a_dataset_that_never_was_is_corrupt(tmp_path):
    with pytest.raises(Corrupt, match="missing"):
        read_dataset(tmp_path / "sets", "d-000000000000")


def test_a_file_where_datasets_must_stand_cannot_store(tmp_path):
    (tmp_path / "datasets").write_text("x")
    with pytest.raises(CannotStore):
        write_dataset(tmp_path / "datasets", ROWS)


@pytest.mark.parametrize("name", ["rows.jsonl", "report.json", "excluded.jsonl", "seal.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_dataset_is_mended_when_it_is_made_again(tmp_path, name, harm):
    path = tmp_path / "sets" / write_dataset(tmp_path / "sets", ROWS).id / name
    _ = path.write_bytes(path.read_bytes()[:-2]) if harm == "cut" else path.unlink()
    again = write_dataset(tmp_path / "sets", ROWS)
    assert read_dataset(tmp_path / "sets", again.id).rows == again.rows
    assert [folder.name for folder in (tmp_path / "sets").iterdir()] == [again.id]
