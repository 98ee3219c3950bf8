import csv
import gzip
import io
import json

import polars as pl
import pytest

from millwright.data.encoding import decode
from millwright.data.load import read_table, stream_table
from millwright.data.table import ROW
from millwright.errors import BadInput, NotFound
from millwright.records import Excluded


def read(tmp_path, content, name="rows.csv"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def rows(table):
    return table.frame.rows()


def test_a_csv_is_read_as_strings_with_rows_counted_from_1(tmp_path):
    table = read(tmp_path, "text,label\nhello,1\nbye,02\n")
    assert rows(table) == [(1, "hello", "1"), (2, "bye", "02")]
    assert table.columns == ["text", "label"]
    assert table.encoding == "utf-8"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path, mark):
    table = read(tmp_path, f"text{mark}label\na b{mark}x\n")
    assert rows(table) == [(1, "a b", "x")]


def test_what_a_quoted_name_holds_separates_nothing(tmp_path):
    content = b'time;"What, briefly, is it?";label\n1;"a, b";x\n'
    table = read(tmp_path, content)
    assert table.columns == ["time", "What, briefly, is it?", "label"]
    assert table.frame.rows()[0][1:] == ("1", "a, b", "x")


def test_semicolons_separate_though_texts_hold_commas(tmp_path):
    assert rows(read(tmp_path, "text;label\nwell, no, never;x\n")) == [(1, "well, no, never", "x")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_is_read(tmp_path, end):
    assert rows(read(tmp_path, end.join(["text,label", "a,x", "b,y", ""]))) == [(1, "a", "x"), (2, "b", "y")]


def test_quoted_fields_hold_delimiters_quotes_and_line_breaks(tmp_path):
    table = read(tmp_path, 'text,label\n"a, ""b""\nc",x\nd,y\n')
    assert rows(table) == [(1, 'a, "b"\nc', "x"), (2, "d", "y")]


def test_words_that_other_readers_take_for_missing_stay(tmp_path):
    assert rows(read(tmp_path, "text,label\nNA,null\nNone,nan\n")) == [(1, "NA", "null"), (2, "None", "nan")]


def test_missing_fields_are_empty_strings(tmp_path):
    assert rows(read(tmp_path, "text,label\nonly\n,\nb,y\n")) == [(1, "only", ""), (2, "", ""), (3, "b", "y")]


def test_blank_lines_are_rows_so_that_numbers_match_the_file(tmp_path):
    fast = read(tmp_path, "text,label\na,x\n\nb,y\n")
    slow = read(tmp_path, 'text,label\na" inch,x\n\nb,y\n')
    assert [row[0] for row in rows(fast)] == [row[0] for row in rows(slow)] == [1, 2, 3]


def test_a_row_with_too_many_fields_is_listed_not_cut(tmp_path):
    table = read(tmp_path, "text,label\na,x\nhello, world,y\nb,y\n")
    assert rows(table) == [(1, "a", "x"), (3, "b", "y")]
    assert [(left.file, left.row) for left in table.unreadable] == [("rows.csv", 2)]
    assert "has 3 fields, the header 2" in table.unreadable[0].reason


def test_empty_fields_past_the_header_do_not_count(tmp_path):
    assert rows(read(tmp_path, "text,label\na,x,,\nb,y\n")) == [(1, "a", "x"), (2, "b", "y")]


def test_stray_quotes_are_part_of_the_text(tmp_path):
    table = read(tmp_path, 'text,label\na 5" pipe,x\nsay "hi" now,y\nb,z\n')
    assert rows(table) == [(1, 'a 5" pipe', "x"), (2, 'say "hi" now', "y"), (3, "b", "z")]


@pytest.mark.parametrize("before", ["", '"fine",x\n'])
def test_a_quote_that_never_closes_is_refused_with_its_row_instead_of_swallowing_the_file(tmp_path, before):
    row = 1 + before.count("\n")
    with pytest.raises(BadInput, match=rf"a quote opens in row {row} and is never closed"):
        read(tmp_path, f'text,label\n{before}"never closed,y\nb,y\nc,z\n')


def test_lone_quotes_in_a_tsv_are_part_of_the_text(tmp_path):
    table = read(tmp_path, 'text\tlabel\n"open\tx\n5" pipe\ty\nz\tz\n', "rows.tsv")
    assert rows(table) == [(1, '"open', "x"), (2, '5" pipe', "y"), (3, "z", "z")]


def test_a_tsv_whose_writer_quotes_is_read_as_that_writer_meant(tmp_path):
    meant = [("two\nlines", "x"), ('she said "no"', "y"), ("a\ttab", "z"), ("plain", "x")]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([("text", "label"), *meant])
    found = rows(read(tmp_path, file.getvalue(), "rows.tsv"))
    assert [(text, label) for _, text, label in found] == meant


def test_a_tsv_that_quotes_only_far_below_is_read_by_its_first_megabyte(tmp_path):
    plain = "text\tlabel\n" + "plain words\tx\n" * 80_000
    found = rows(read(tmp_path, plain + '"quoted"\ty\n', "rows.tsv"))
    assert found[-1] == (80_001, '"quoted"', "y")


def test_a_ragged_tsv_keeps_its_quotes_and_lists_the_row(tmp_path):
    table = read(tmp_path, 'text\tlabel\n"open\tx\na\tb\tc\n', "rows.tsv")
    assert rows(table) == [(1, '"open', "x")]
    assert table.unreadable[0].row == 2


def test_two_columns_of_one_name_in_a_ragged_file_are_refused(tmp_path):
    with pytest.raises(BadInput, match="two columns named 'a'"):
        read(tmp_path, 'a,a\n1" x,2\n')


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_message_of_a_megabyte_is_read_whole(tmp_path, quote):
    text = "word " * 200_000
    table = read(tmp_path, f'text,label\n{quote}{text}{quote},x\na 5" pipe,y\n')
    assert table.frame["text"][0] == text


def test_a_null_byte_does_not_end_the_text(tmp_path):
    assert read(tmp_path, b"text,label\na\0b,x\n").frame["text"][0] in ("a\0b", "ab")


@pytest.mark.parametrize(  # no hour in the archive: processes that share the tests must agree on their names
    "content", [b"", b"\n\n", b"  \n", b"\xef\xbb\xbf", b"\xff\xfe", gzip.compress(b"", mtime=0)]
)
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_an_empty_file_is_refused(tmp_path, name, content):
    with pytest.raises(BadInput, match=f"{name} is empty"):
        read(tmp_path, content, name)


@pytest.mark.parametrize("content", ["text,label", "text,label\n", "text,label\r\n\r\n"])
def test_a_header_alone_is_refused(tmp_path, content):
    with pytest.raises(BadInput, match="a header and no rows"):
        read(tmp_path, content.strip("\r\n") if content.endswith("\r\n") else content)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"no file .*nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(NotFound):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.zip", "rows.pkl", "rows.xlsx.gz"])
def test_an_unknown_ending_is_refused_with_those_that_work(tmp_path, name):
    with pytest.raises(BadInput, match=r"pass \.csv, \.tsv, \.jsonl or \.parquet"):
        read(tmp_path, b"PK\x03\x04", name)


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv", "ROWS.CSV.GZ"])
def test_gzipped_content_is_unpacked_whatever_the_name(tmp_path, name):
    assert rows(read(tmp_path, gzip.compress(b"text,label\na,x\n"), name)) == [(1, "a", "x")]


def test_a_cut_gzip_is_refused(tmp_path):
    whole = gzip.compress(b"text,label\n" + b"a,x\n" * 1000)
    with pytest.raises(BadInput, match="damaged gzip"):
        read(tmp_path, whole[: len(whole) // 2], "rows.csv.gz")


def test_parquet_of_every_type_is_read_as_strings(tmp_path):
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "number": [1, None],
            "share": [0.5, None],
            "list": [["x", "é"], None],
            "raw": [b"b", b"\xff"],
            "yes": [True, None],
        }
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    table = read_table(tmp_path / "rows.parquet")
    assert rows(table) == [
        (1, "a", "1", "0.5", '["x", "é"]', "b", "true"),
        (2, "", "", "", "", "\ufffd", ""),
    ]


def test_a_parquet_file_is_read_by_its_name_whatever_signs_that_holds(tmp_path):
    pl.DataFrame({"text": ["right"]}).write_parquet(tmp_path / "rows[1].parquet")
    pl.DataFrame({"text": ["wrong"]}).write_parquet(tmp_path / "rows1.parquet")
    assert read_table(tmp_path / "rows[1].parquet").frame["text"].to_list() == ["right"]


def test_long_rows_of_parquet_come_in_pieces_of_like_size(tmp_path):
    texts = [str(number) * 1_000 for number in range(100)]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "rows.parquet")
    pieces = list(stream_table(tmp_path / "rows.parquet", size=10_000))
    assert max(len(piece.frame) for piece in pieces) < 20
    assert [text for piece in pieces for text in piece.frame["text"]] == texts
    assert [row for piece in pieces for row in piece.frame[ROW]] == list(range(1, 101))


def test_where_no_row_can_be_read_the_error_says_why(tmp_path):
    with pytest.raises(BadInput, match=r"none of its rows could be read, 2 in all \(row 1: has 3 fields.*\)"):
        read(tmp_path, '"text","label"\n"1","a","x"\n"2","b","y"\n')


def test_what_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not a Parquet file"):
        read(tmp_path, b"text,label\na,x\n", "rows.parquet")


def test_json_lines_are_read_and_broken_ones_are_listed_by_number(tmp_path):
    good = [{"text": "a", "label": 1}, {"text": "b\nc", "extra": None}, {"text": None, "label": ["x"]}]
    lines = [json.dumps(good[0]), "{broken", json.dumps(good[1]), "", "[1, 2]", json.dumps(good[2])]
    table = read(tmp_path, "\n".join(lines), "rows.jsonl")
    assert rows(table) == [(1, "a", "1", ""), (3, "b\nc", "", ""), (5, "", '["x"]', "")]
    assert table.unreadable == (
        Excluded("rows.jsonl", 2, "is not a JSON object"),
        Excluded("rows.jsonl", 4, "is not a JSON object"),
    )


def test_half_a_surrogate_pair_in_json_becomes_the_replacement_character(tmp_path):
    table = read(
        tmp_path, r'{"text": "a\ud800", "b\udc00": ["\ud83d"], "face": "\ud83d\ude00"}', "rows.jsonl"
    )
    assert rows(table) == [(1, "a\ufffd", '["\ufffd"]', "😀")]
    assert table.columns[1] == "b\ufffd"


def test_a_file_without_one_json_object_is_refused(tmp_path):
    with pytest.raises(BadInput, match="one object a line"):
        read(tmp_path, "[1]\nno\n", "rows.jsonl")


TEXTS = ["text,label", "café déjà vu,x", "was ist größer,y", "señor mañana,z"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_encodings_are_read_exactly(tmp_path, encoding):
    table = read(tmp_path, "\n".join(TEXTS).encode(encoding))
    assert table.frame["text"].to_list() == [line.split(",")[0] for line in TEXTS[1:]]
    assert table.encoding == encoding
    assert table.columns == ["text", "label"]


def test_lines_of_another_encoding_are_decoded_one_by_one():
    content = "déjà\n".encode() + "größer – “so”\n".encode("cp1252") + b"plain\n"
    assert decode(content) == ("déjà\ngrößer – “so”\nplain\n", "utf-8 with 1 lines of cp1252")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            "Où est ma carte ? Je l'ai commandée il y a déjà deux semaines et elle n'est pas arrivée.",
            "cp1252",
        ),
        ("naïve señor, café was closed today", "cp1252"),
        ("Wo ist meine Karte? Ich möchte wissen, warum die Überweisung so lange dauert – größer.", "cp1252"),
        (
            "Gdzie jest moja karta? Zamówiłem ją już dwa tygodnie temu. Proszę o szybką odpowiedź.",
            "cp1250",
        ),
        ("Kde je moje karta? Objednal jsem ji před dvěma týdny a ještě nepřišla, prosím.", "cp1250"),
        ("Где моя карта? Я заказал её две недели назад, и она всё ещё не пришла.", "cp1251"),
        ("我的银行卡在哪里？我两周前订的，还没有到。", "gb18030"),
        ("私のカードはどこですか？二週間前に注文しましたが、まだ届いていません。", "shift_jis"),
    ],
)
def test_an_encoding_without_a_mark_is_recognised_by_its_text(text, encoding):
    assert decode(f"{text}\n".encode(encoding) * 20)[0] == f"{text}\n" * 20


def test_bytes_of_no_encoding_are_still_read_and_marked():
    decoded, _ = decode("é\n".encode() + b"a \x81\x8d b\n")
    assert "\ufffd" in decoded


def test_the_row_column_is_not_among_the_files_columns(tmp_path):
    table = read(tmp_path, "text,label\na,x\n")
    assert ROW in table.frame.columns
    assert ROW not in table.columns


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label,__row__\na,x,1\n"),
        ("rows.csv", '__row__,label\na 5" pipe,x\n'),
        ("rows.tsv", "text\t__row__\na\tx\n"),
        ("rows.jsonl", '{"text": "a", "__row__": 3}\n'),
    ],
)
def test_a_column_of_the_name_that_row_numbers_have_is_refused(tmp_path, name, content):
    with pytest.raises(BadInput, match=f"{name} has a column named '__row__', .* rename it"):
        read(tmp_path, content, name)


def test_a_parquet_column_of_the_name_that_row_numbers_have_is_refused(tmp_path):
    pl.DataFrame({"text": ["a"], ROW: [1]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(BadInput, match="has a column named '__row__', .* rename it"):
        read_table(tmp_path / "rows.parquet")


@pytest.mark.parametrize("content", ["text,label,text\na,x,b\n", 'text,label,text\na 5" pipe,x,b\n'])
def test_two_columns_of_one_name_are_refused_on_either_way_of_reading(tmp_path, content):
    with pytest.raises(BadInput, match="two columns named 'text'; rename one"):
        read(tmp_path, content)


@pytest.mark.parametrize("inch", ["", '"'])
def test_columns_without_a_name_are_named_by_their_place(tmp_path, inch):
    table = read(tmp_path, f",label,\na 5{inch} pipe,x,1\n")
    assert table.columns == ["column_1", "label", "column_3"]
    assert rows(table) == [(1, f"a 5{inch} pipe", "x", "1")]
