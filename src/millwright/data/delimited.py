"""Reads delimited text in pieces: fast where quotes are in their places, else field by field.

Both ways give the same rows wherever both apply, so where a piece ends changes nothing. Lines end with a
line feed; a carriage return elsewhere is part of a field.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from millwright.data.table import ROW, named
from millwright.errors import BadInput
from millwright.records import Excluded

if TYPE_CHECKING:
    import _csv

DELIMITERS = ",;\t|"
LONGEST_FIELD = 64_000_000  # an open quote swallows what follows; more than this is no field
LOOKED_AT = 1_000_000  # bytes that tell whether a tab-separated file quotes
_QUOTED = re.compile('"[^"]*"')
_END = "__end__"  # an open quote swallows this line too, which gives it away
_QUOTE, _FEED, _RETURN = b'"\n\r'

Piece = tuple[pl.DataFrame, list[Excluded]]


@dataclass(frozen=True)
class _Dialect:
    """How a file's rows are written."""

    path: Path
    separator: str
    quote: str | None
    names: tuple[str, ...] = ()


def delimited_pieces(path: Path, blocks: Iterable[bytes], *, is_tab: bool, size: int) -> Iterator[Piece]:
    """Read rows in pieces.

    Args:
        path: the file, for messages.
        blocks: its content in UTF-8.
        is_tab: whether it is tab-separated. Many writers of such files know no quoting, so a quote is part of
            the text, unless every quote of the first megabyte opens, closes or is doubled within a field.
        size: about how many bytes of a file with stray quotes make a piece.

    Yields:
        A frame of ROW and the columns of the header, and the rows that cannot be read.

    Raises:
        BadInput: the file is empty, a quote never closes, or two columns have one name.
    """
    blocks = (block.replace(b"\0", b"") for block in blocks)
    if is_tab:
        head, is_whole = _head(blocks)
        blocks, is_quoted = chain([head], blocks), _is_quoted(head, is_whole)
    else:
        is_quoted = True
    dialect, rest = _read_header(path, blocks, "\t" if is_tab else None, '"' if is_quoted else None)
    yield pl.DataFrame(schema={ROW: pl.Int64, **dict.fromkeys(dialect.names, pl.String)}), []
    number = 0
    for block in chain(blocks, [None]):
        rest += b"\n" if block is None else block
        end = _end_of_rows(rest, dialect)
        is_open = block is None and rest[end:].strip(b"\r\n")
        if end < 0 or is_open or len(rest) - end > LONGEST_FIELD:
            for frame, unreadable in _slow_pieces(dialect, chain([rest], blocks), number, size):
                yield frame, unreadable
            return
        if end:
            frame, unreadable = _fast_piece(dialect, rest[:end], number)
            number += len(frame) + len(unreadable)
            rest = rest[end:]
            yield frame, unreadable


def lines_of_rows(path: Path, content: bytes, *, is_tab: bool) -> tuple[int, list[int]]:
    """How many lines the rows of a delimited file take, so that it can be cut by rows.

    Args:
        path: the file, for messages.
        content: its content in UTF-8.
        is_tab: as for `delimited_pieces`, which gives the same rows.

    Returns:
        Lines up to the header's end, and the lines of each row; blank lines at the end count as rows here.

    Raises:
        BadInput: the file is empty, or a quote in the header never closes.
    """
    content = content.replace(b"\0", b"")
    quote = '"' if not is_tab or _is_quoted(content, len(content) <= LOOKED_AT) else None
    dialect, rest = _read_header(path, iter([content]), "\t" if is_tab else None, quote)
    reader = _reader(dialect, (_line(line + b"\n") for line in rest.split(b"\n")))
    counts, seen = list[int](), 0
    while _next_row(reader) is not None:
        counts.append(reader.line_num - seen)
        seen = reader.line_num
    return content.count(b"\n") - rest.count(b"\n"), counts


def _head(blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """What a file begins with, a megabyte or somewhat more, and whether that is all of it."""
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) > LOOKED_AT:
            return bytes(head), False
    return bytes(head), True


def _is_quoted(head: bytes, is_whole: bool) -> bool:
    """Whether quotes stand where a writer that quotes would put them; the same however `head` was cut."""
    byte_B = np.frombuffer(head[:LOOKED_AT], np.uint8)
    quote_Q = np.flatnonzero(byte_B == _QUOTE)
    if not len(quote_Q) or (is_whole and len(quote_Q) % 2):
        return False
    return _are_in_place(byte_B, quote_Q, ord("\t"))


def _read_header(
    path: Path, blocks: Iterator[bytes], separator: str | None, quote: str | None
) -> tuple[_Dialect, bytes]:
    """The dialect, and what was read beyond the header; without a separator the header tells which."""
    content, is_whole = b"", False
    while True:
        block = next(blocks, None)
        is_whole = block is None
        content = (content + (block or b"")).lstrip(b"\r\n")
        if is_whole and not content.strip():
            raise BadInput(f"{path} is empty; it needs a header line and rows")
        lines = [line + b"\n" for line in content.split(b"\n")]
        if not is_whole:
            lines.pop()  # it may go on in the next block
        if not lines:
            continue
        text = lines[0].decode("utf-8", "replace")
        bare = text if quote is None else _QUOTED.sub("", text)  # a quoted name may hold any of them
        dialect = _Dialect(path, separator or max(DELIMITERS, key=bare.count), quote)
        rows = _reader(dialect, chain(map(_line, lines), [_END]))
        cells = next(rows)
        if rows.line_num <= len(lines):
            return replace(dialect, names=tuple(named(path, cells))), content[
                sum(map(len, lines[: rows.line_num])) :
            ]
        if is_whole or len(content) > LONGEST_FIELD:
            raise BadInput(f"{path}: a quote opens in the header and is never closed; close or double it")


def _end_of_rows(content: bytes, dialect: _Dialect) -> int:
    """Where the last whole row of `content` ends, or -1 if a quote stands where none belongs.

    Blank lines at the end stay out, since at the end of the file they are no rows.
    """
    end = content.rfind(b"\n") + 1
    if dialect.quote is not None and content.find(b'"') >= 0:
        byte_B = np.frombuffer(content, np.uint8)
        quote_Q = np.flatnonzero(byte_B == _QUOTE)
        if not _are_in_place(byte_B, quote_Q, ord(dialect.separator)):
            return -1
        feed_F = np.flatnonzero(byte_B == _FEED)
        outside_F = feed_F[np.searchsorted(quote_Q, feed_F) % 2 == 0]
        end = int(outside_F[-1]) + 1 if len(outside_F) else 0
    text_end = len(content[:end].rstrip(b"\r\n"))
    return content.find(b"\n", text_end) + 1 if text_end else 0


def _are_in_place(byte_B: np.ndarray, quote_Q: np.ndarray, separator: int) -> bool:
    """True if every other quote opens a field and those between close one, or are doubled."""
    padded_B = np.concatenate([[_FEED], byte_B, [_FEED, _FEED]])
    opening_Q, closing_Q = quote_Q[::2] + 1, quote_Q[1::2] + 1
    before_Q, after_Q = padded_B[opening_Q - 1], padded_B[closing_Q + 1]
    opens = np.isin(before_Q, [separator, _FEED, _QUOTE])
    ends_line = (after_Q == _RETURN) & (padded_B[closing_Q + 2] == _FEED)
    closes = np.isin(after_Q, [separator, _FEED, _QUOTE]) | ends_line
    return bool(opens.all() and closes.all())


def _fast_piece(dialect: _Dialect, content: bytes, number: int) -> Piece:
    if content.count(b"\r") != content.count(b"\r\n"):  # Polars drops a return that ends a field
        return next(_slow_pieces(dialect, [content], number, len(content)))
    try:
        frame = pl.read_csv(
            io.BytesIO(content),
            has_header=False,
            separator=dialect.separator,
            quote_char=dialect.quote,
            schema=dict.fromkeys(dialect.names, pl.String),
        )
    except pl.exceptions.PolarsError:  # a row has more fields than the header
        return next(_slow_pieces(dialect, [content], number, len(content)))
    numbers = pl.int_range(number + 1, number + 1 + len(frame), dtype=pl.Int64).alias(ROW)
    return frame.select(numbers, pl.all().fill_null("")), []


def _slow_pieces(dialect: _Dialect, blocks: Iterable[bytes], number: int, size: int) -> Iterator[Piece]:
    """The same by the standard library, which takes stray quotes as part of the text."""
    rows, done = _checked_rows(dialect, blocks, number), False
    while not done:
        table: list[list[str]] = []
        numbers, unreadable, length, done = [], [], 0, True
        for line in rows:
            number += 1
            if any(line[len(dialect.names) :]):
                unreadable.append(Excluded(dialect.path.name, number, _ragged(dialect, line)))
            else:
                table.append([*line, *[""] * len(dialect.names)][: len(dialect.names)])
                numbers.append(number)
                length += sum(map(len, line))
            if length >= size:
                done = False
                break
        columns = {name: [row[place] for row in table] for place, name in enumerate(dialect.names)}
        schema = {ROW: pl.Int64, **dict.fromkeys(dialect.names, pl.String)}
        yield pl.DataFrame({ROW: numbers, **columns}, schema=schema), unreadable


def _ragged(dialect: _Dialect, line: list[str]) -> str:
    return (
        f"has {len(line)} fields, the header {len(dialect.names)}; "
        f"quote fields that hold {dialect.separator!r}"
    )


def _checked_rows(dialect: _Dialect, blocks: Iterable[bytes], number: int) -> Iterator[list[str]]:
    """Rows, of which the last is known to be closed."""
    held: list[str] | None = None
    reader = _reader(dialect, chain(_lines(blocks), [_END]))
    while True:
        try:
            row = _next_row(reader)
        except csv.Error:  # a field longer than the limit
            number += held is not None
            row = held = None
        if row is None:
            break
        if held is not None:
            number += 1
            yield [cell.replace("\0", "\r") for cell in held]
        held = row
    if held != [_END]:
        raise BadInput(
            f"{dialect.path}: a quote opens in row {number + 1} and is never closed; close or double it"
        )


def _next_row(reader: "_csv.Reader") -> list[str] | None:
    """The next row, None at the end; csv.Error where a field is longer than LONGEST_FIELD."""
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _reader(dialect: _Dialect, lines: Iterable[str]) -> "_csv.Reader":
    if dialect.quote is None:
        return csv.reader(lines, delimiter=dialect.separator, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=dialect.separator, quotechar=dialect.quote)


def _lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Lines as `_line` makes them, without the blank ones that end the file."""
    rest, blank = b"", list[str]()
    for block in chain(blocks, [b"\n"]):
        *whole, rest = (rest + block).split(b"\n")
        for raw in whole:
            line = _line(raw + b"\n")
            if line in ("\n", "\r\n"):
                blank.append(line)
                continue
            yield from blank
            yield line
            blank.clear()


def _line(raw: bytes) -> str:
    """A line in which null bytes stand for carriage returns that end no line."""
    text = raw.decode("utf-8", "replace")
    end = "\r\n" if text.endswith("\r\n") else "\n"
    return text.removesuffix(end).replace("\r", "\0") + end
