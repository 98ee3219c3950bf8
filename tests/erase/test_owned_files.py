"""Cutting rows out of files of every kind: what is left is what was, and what cannot be cut stays whole."""

import csv
import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.data.load import read_table
from millwright.data.table import ROW
from millwright.erase.owned_files import Holders, Rewritten, rows_by_owner, rows_of_subject, without_subjects
from millwright.errors import NoRows

ROWS = [(f"text {n}", f"who{n % 3}", "x") for n in range(12)]
NAMES = ("text", "who", "other")


def delimited(mark: str, feed: str = "\n") -> str:
    return feed.join(mark.join(row) for row in [NAMES, *ROWS]) + feed


def json_lines() -> str:
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS)


CONTENTS = {
    "a.csv": delimited(",").encode(),
    "semicolon.csv": delimited(";").encode(),
    "windows.csv": delimited(",", "\r\n").encode(),
    "mark.csv": b"\xef\xbb\xbf" + delimited(",").encode(),
    "wide.csv": delimited(",").replace("text 3", "tëxt").encode("utf-16"),
    "western.csv": delimited(",").replace("text 3", "tëxt – ß").encode("cp1252"),
    "blank.csv": delimited(",").replace("\ntext 5", "\n\n\ntext 5").encode() + b"\n\n",
    "quoted.csv": delimited(",").replace("text 4", '"a ""quoted"",\n\ntext"').encode(),
    "no-end.csv": delimited(",").encode().rstrip(b"\n"),
    "lone.tsv": delimited("\t").replace("text 4", 'a " lone quote').encode(),
    "lone.csv": delimited(",").replace("text 4", 'a " lone quote').encode(),
    "quoted.tsv": delimited("\t").replace("text 4", '"a ""quoted""\t\n\ntext"').encode(),
    "other's.tsv": delimited("\t").replace("text 5", '"a\ntext"').encode(),
    "old.csv": delimited(",", "\r").replace("text 4", '"a\rtext"').encode(),
    "chinese.csv": delimited("|").replace("text 5", "余额是多少，我的银行卡丢了怎么办？" * 9).encode("gbk"),
    "packed.csv.gz": gzip.compress(delimited(",").encode()),
    "a.jsonl": json_lines().encode(),
    "blank.jsonl": json_lines().replace("}\n", "}\n\n", 3).encode(),
    "own-key.jsonl": json_lines().replace('{"text": "text 1"', '{"mine": "x", "text": "text 1"').encode(),
}


def without(table):
    return table.frame.filter(pl.col("who") != "who1").drop(ROW)


@pytest.mark.parametrize("name", [*CONTENTS, "a.parquet"])
def test_every_kind_of_file_loses_the_persons_rows_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    if name == "a.parquet":
        pl.DataFrame(ROWS, schema=list(NAMES), orient="row").write_parquet(path)
    else:
        path.write_bytes(CONTENTS[name])
    before = read_table(path)
    own = [row for row, who in before.frame.select(ROW, "who").rows() if who == "who1"]
    assert rows_of_subject(path, "who", "who1".__eq__) == own
    found = without_subjects(path, "who", "who1".__eq__)
    assert (found.rows, found.is_done) == (4, True)
    again = read_table(path).frame
    assert again.drop(ROW).equals(without(before).select(again.drop(ROW).columns))
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert without_subjects(path, "who", "who1".__eq__).rows == 0


def test_lines_of_others_keep_their_bytes(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes(CONTENTS["windows.csv"])
    kept = [line for line in CONTENTS["windows.csv"].split(b"\n") if b",who1," not in line]
    without_subjects(path, "who", "who1".__eq__)
    assert path.read_bytes() == b"\n".join(kept)


# Without the stray quote of who1, the quotes of others would no longer be part of the text.
UNSURE = 'text\twho\tother\na "stray" " quote\twho1\tx\n"b"\twho2\tx\n'


def test_a_file_that_cannot_be_cut_surely_is_left_as_it_is(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text(UNSURE)
    assert without_subjects(path, "who", "who1".__eq__) == Rewritten(1, False)
    assert path.read_text() == UNSURE


def test_behind_a_link_the_file_itself_loses_the_rows(tmp_path):
    real, link = tmp_path / "deep" / "any-name", tmp_path / "rows.csv"
    real.parent.mkdir()
    real.write_bytes(CONTENTS["a.csv"])
    link.symlink_to(real)
    assert without_subjects(link, "who", "who1".__eq__) == Rewritten(4, True)
    assert link.is_symlink()
    assert b"who1" not in real.read_bytes()
    assert [path.name for path in real.parent.iterdir()] == ["any-name"]


def test_a_file_that_has_another_name_is_not_called_clean(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENTS["a.csv"])
    (tmp_path / "copy.csv").hardlink_to(path)
    assert without_subjects(path, "who", "who1".__eq__) == Rewritten(4, False)
    assert path.read_bytes() == CONTENTS["a.csv"]


def test_who_could_not_read_the_file_cannot_read_the_new_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENTS["a.csv"])
    path.chmod(0o600)
    without_subjects(path, "who", "who1".__eq__)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["a.csv", "quoted.tsv", "wide.csv", "packed.csv.gz", "a.jsonl", "a.parquet"])
def test_of_a_file_with_rows_of_the_person_alone_the_header_stays(tmp_path, name):
    path = tmp_path / name
    if name == "a.parquet":
        pl.DataFrame(ROWS, schema=list(NAMES), orient="row").write_parquet(path)
    else:
        path.write_bytes(CONTENTS[name])
    assert without_subjects(path, "who", lambda who: who.startswith("who")) == Rewritten(12, True)
    assert rows_by_owner(path, "who", str) == Holders({}, 0)
    if name == "a.parquet":
        assert pl.read_parquet(path).columns == list(NAMES)
    elif name == "a.csv":
        assert path.read_bytes() == b"text,who,other\n"
    with pytest.raises(NoRows):
        read_table(path)


def test_a_file_without_the_column_has_no_row_of_anybody(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENTS["a.csv"])
    assert without_subjects(path, "customer", "who1".__eq__).rows == 0
    assert path.read_bytes() == CONTENTS["a.csv"]


@pytest.mark.parametrize(
    ("name", "broken", "rows"),
    [
        ("a.csv", b"a text, unquoted,who1,x\n", {"who1": 4}),
        ("a.jsonl", b'{"text": "a text", "who": "who1"\n', {"who1": 4}),
        ("broken.csv", b"text,who,other\na text, unquoted,who1,x\n", {}),
        ("broken.jsonl", b'{"text": "a text", "who": "who1"\n', {}),
    ],
)
def test_rows_that_cannot_be_read_are_counted_and_stay(tmp_path, name, broken, rows):
    path = tmp_path / name
    path.write_bytes(CONTENTS.get(name, b"") + broken)
    owner_of = {"who1": "who1"}.get
    assert rows_by_owner(path, "who", owner_of) == Holders(rows, 1)
    if rows:
        assert without_subjects(path, "who", "who1".__eq__) == Rewritten(4, True)
        assert rows_by_owner(path, "who", owner_of) == Holders({}, 1)
    assert path.read_bytes().endswith(broken)


def test_lines_of_json_that_cannot_be_read_are_nobodys_where_the_others_name_nobody(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"\n{"text": "b"}\n')
    assert rows_by_owner(path, "who", str) == Holders({}, 0)


CELLS = st.text(st.sampled_from('ab ",;\t|\n\ré国'), max_size=6)
KINDS = st.sampled_from(["rows.csv", "rows.tsv", "rows.jsonl", "rows.csv.gz"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rows")


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    KINDS, st.lists(st.tuples(CELLS, st.sampled_from(["who0", "who1"])), min_size=1, max_size=8), st.data()
)
def test_whatever_cells_hold_others_rows_stay_as_they_were(folder, kind, rows, data):
    path = folder / kind
    table = [("text", "who", "other"), *((text, who, "x") for text, who in rows)]
    if kind == "rows.jsonl":
        content = "".join(json.dumps(dict(zip(table[0], row, strict=True))) + "\n" for row in table[1:])
    else:
        written = io.StringIO()
        mark = "\t" if kind == "rows.tsv" else data.draw(st.sampled_from(",;|"))
        csv.writer(
            written, delimiter=mark, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"]))
        ).writerows(table)
        content = written.getvalue()
    packed = gzip.compress(content.encode()) if kind.endswith(".gz") else content.encode()
    path.write_bytes(packed)
    before = read_table(path)
    assert without_subjects(path, "who", "who1".__eq__) == Rewritten(
        sum(who == "who1" for _, who in rows), True
    )
    try:
        left = read_table(path).frame
    except NoRows:
        left = before.frame.clear()
    assert left.drop(ROW).equals(without(before))
