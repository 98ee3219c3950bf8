"""Delimited text in pieces of any size, against what was written and against the standard library."""

import csv
import gzip
import io
import random

import polars as pl
import pytest

from millwright.data import delimited
from millwright.data.load import stream_table
from millwright.errors import BadInput

SIZES = (1, 3, 17, 200, 1_000_000)


def read(path, size):
    tables = list(stream_table(path, size=size))
    return pl.concat([table.frame for table in tables]).rows(), [
        item for table in tables for item in table.unreadable
    ]


def cell(chance, alphabet):
    return "".join(chance.choices(alphabet, k=chance.randrange(5)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_of_any_size_have_the_rows_that_were_written(tmp_path, end, packed):
    chance = random.Random(1)
    rows = [(cell(chance, ["a", ",", '"', "\n", "é", "汉", " "]), f"l{n}") for n in range(60)]
    file = io.StringIO()
    csv.writer(file, lineterminator=end).writerows([("text", "label"), *rows])
    content = file.getvalue().encode()
    path = tmp_path / "rows.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    for size in SIZES:
        found, unreadable = read(path, size)
        assert found == [(number, *row) for number, row in enumerate(rows, start=1)]
        assert unreadable == []


@pytest.mark.parametrize("seed", range(4))
def test_stray_quotes_and_ragged_rows_are_read_alike_in_pieces_of_any_size(tmp_path, seed):
    chance = random.Random(seed)
    path = tmp_path / "rows.csv"
    for _ in range(60):
        lines = [
            ",".join(cell(chance, ["a", " ", '"', '""', "é"]) for _ in range(chance.choice([1, 2, 2, 2, 3])))
            for _ in range(chance.randrange(1, 9))
        ]
        path.write_text("h,k\n" + "\n".join(lines) + chance.choice(["", "\n", "\n\n"]), encoding="utf-8")
        body = "\n".join(lines).rstrip("\n")  # blank lines at the end are no rows
        expected = list(csv.reader(io.StringIO((body and f"{body}\n") + "end\n")))
        if expected[-1] != ["end"]:
            for size in SIZES:
                with pytest.raises(BadInput, match=rf"a quote opens in row {len(expected)} "):
                    read(path, size)
            continue
        numbered = list(enumerate(expected[:-1], start=1))
        usable = [(n, *[*row, "", ""][:2]) for n, row in numbered if not any(row[2:])]
        for size in SIZES:
            if not usable:
                with pytest.raises(BadInput, match="no rows|none of its rows"):
                    read(path, size)
                continue
            found, unreadable = read(path, size)
            assert found == usable
            assert [item.row for item in unreadable] == [n for n, row in numbered if any(row[2:])]


@pytest.mark.parametrize("text", ["a\rb", "a\r", "\ra", "a\r\rb"])
def test_a_return_within_a_field_is_kept_in_pieces_of_any_size(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_bytes(f"h,k\n{text},x\n\r\nb,y\r\n".encode())
    for size in SIZES:
        assert read(path, size)[0] == [(1, text, "x"), (2, "", ""), (3, "b", "y")]


def test_files_with_returns_alone_are_read_in_pieces_of_any_size(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'h,k\ra,x\r"b\rc",y\r')
    for size in SIZES:
        assert read(path, size)[0] == [(1, "a", "x"), (2, "b\nc", "y")]


@pytest.mark.parametrize("size", SIZES)
def test_a_header_over_two_lines_is_read(tmp_path, size):
    path = tmp_path / "rows.csv"
    path.write_text('"a\nb","c ""d"""\n1,2\n')
    tables = list(stream_table(path, size=size))
    assert tables[0].columns == ["a\nb", 'c "d"']
    assert read(path, size)[0] == [(1, "1", "2")]


def test_columns_without_a_name_get_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,,b,\n1,2,3,4\n")
    assert next(stream_table(path)).columns == ["a", "column_2", "b", "column_4"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("header", "message"), [("a,b,a", "two columns named 'a'"), ("__row__,a,b", "row numbers")]
)
def test_names_that_cannot_be_told_apart_are_refused(tmp_path, header, message, size):
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n1,2,3\n")
    with pytest.raises(BadInput, match=message):
        read(path, size)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_quote_that_swallows_more_than_any_field_is_refused_without_reading_on(tmp_path, monkeypatch, size):
    monkeypatch.setattr(delimited, "LONGEST_FIELD", 1_000)
    path = tmp_path / "rows.csv"
    path.write_text('h,k\na,x\n"open,y\n' + "b,z\n" * 2_000)
    with pytest.raises(BadInput, match="a quote opens in row 2 and is never closed"):
        read(path, size)
