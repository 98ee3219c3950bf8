"""Takes people's rows out of a labelled file and changes nothing else of it.

The result is read back before it replaces the file: every other row must be what it was. Where that cannot be
reached, the file is left as it is and named to the user. Of a file without any other row its header stays.
"""

import gzip
import io
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from millwright.data.delimited import lines_of_rows
from millwright.data.encoding import Encoding, file_blocks, find_encoding, utf8_blocks
from millwright.data.load import JSON_ENDINGS, ending_of, ignore, read_table, stream_table
from millwright.data.table import ROW, Table
from millwright.errors import BadInput, NoRows
from millwright.store.files import write_bytes

BLOCK_BYTES = 4_000_000
ERASING = ".erasing-"  # begins the name of the folder in which a result is read back
IsWhose = Callable[[str], bool]


@dataclass(frozen=True)
class Rewritten:
    """How many rows of the people a file had, and whether they are gone."""

    rows: int
    is_done: bool


@dataclass(frozen=True)
class Holders:
    """How many rows of a file each of some people has, and how many cannot be read, so may be anybody's."""

    rows: dict[str, int]
    unreadable: int


def rows_of_subject(path: Path, column: str, is_whose: IsWhose) -> list[int]:
    """The numbers of a person's rows in a file, from 1.

    Args:
        path: a labelled file.
        column: the one that names the person.
        is_whose: whether a cell of it names the person.

    Returns:
        The numbers, rising; none if the file has no such column.
    """
    return _numbers(read_table(path), column, is_whose)


def rows_by_owner(path: Path, column: str, owner_of: Callable[[str], str | None]) -> Holders:
    """Whose rows a file has; it is read once.

    Args:
        path: a labelled file.
        column: the one that names people.
        owner_of: whom of them a cell of it names, None for others.

    Returns:
        Counts by person, of those who have rows; nobody's if the file has no such column, as long as a row
        of it tells its columns.
    """
    found, unreadable, columns = Counter[str](), 0, set[str]()
    with suppress(NoRows):  # which is known after what cannot be read
        for table in stream_table(path):
            unreadable += len(table.unreadable)
            columns.update(table.columns)
            if column not in table.columns:
                continue
            for name, count in table.frame[column].value_counts().iter_rows():
                if name and (owner := owner_of(name)) is not None:
                    found[owner] += count
    return Holders(dict(found), unreadable if column in columns or not columns else 0)


def without_subjects(path: Path, column: str, is_whose: IsWhose) -> Rewritten:
    """Write a file anew without the rows of some people.

    Args:
        path: a labelled file, or a link to one; a file with hard links besides is left as it is, since those
            would keep the rows.
        column: the one that names people.
        is_whose: whether a cell of it names one of those who are to go.

    Returns:
        How many rows there were, and whether they are gone. Rows that cannot be read stay: nobody can tell
        whose they are.

    Raises:
        CannotStore: the disk is full or read-only; the file is as it was.
    """
    table = read_table(path)
    numbers = set(_numbers(table, column, is_whose))
    if not numbers:
        return Rewritten(0, True)
    content = _without(path, numbers) if path.stat().st_nlink == 1 else None
    if content is None or not _is_the_rest(path, content, table, numbers):
        return Rewritten(len(numbers), False)
    write_bytes(path.resolve(), content)
    return Rewritten(len(numbers), True)


def _numbers(table: Table, column: str, is_whose: IsWhose) -> list[int]:
    if column not in table.columns:
        return []
    names = [name for name in table.frame[column].unique().to_list() if name and is_whose(name)]
    return table.frame.filter(pl.col(column).is_in(names))[ROW].to_list()


def _without(path: Path, numbers: set[int]) -> bytes | None:
    """The file's bytes without these rows; None for a kind of file that cannot be cut."""
    content, is_packed = (
        b"".join(file_blocks(path, BLOCK_BYTES, ignore)),
        path.read_bytes()[:2] == b"\x1f\x8b",
    )
    ending, encoding = ending_of(path), find_encoding(lambda: [content])
    if ending == ".parquet":
        frame = pl.read_parquet(io.BytesIO(content)).with_row_index(ROW, 1)
        buffer = io.BytesIO()
        frame.filter(~pl.col(ROW).is_in(sorted(numbers))).drop(ROW).write_parquet(buffer)
        cut = buffer.getvalue()
    else:
        is_wide = (encoding.codec or "").startswith("utf-16")
        if is_wide:  # lines of bytes are lines of text in every other encoding
            content, encoding = content.decode("utf-16").encode(), replace(encoding, codec="utf-8")
        cut = (
            _cut_json(content, numbers) if ending in JSON_ENDINGS else _cut(path, content, numbers, encoding)
        )
        cut = cut.decode().encode("utf-16") if is_wide else cut
    return gzip.compress(cut, mtime=0) if is_packed else cut


def _cut_json(content: bytes, numbers: set[int]) -> bytes:
    kept, number = list[bytes](), 0
    for line in content.split(b"\n"):
        number += bool(line.strip())
        if not line.strip() or number not in numbers:
            kept.append(line)
    return b"\n".join(kept)


def _cut(path: Path, content: bytes, numbers: set[int], encoding: Encoding) -> bytes:
    feed = b"\n" if encoding.has_line_feed else b"\r"
    readable = b"".join(utf8_blocks([content], encoding)).replace(feed, b"\n")
    place, counts = lines_of_rows(path, readable, is_tab=ending_of(path) == ".tsv")
    lines = content.split(feed)
    kept = lines[:place]
    for number, count in enumerate(counts, start=1):
        if number not in numbers:
            kept += lines[place : place + count]
        place += count
    return feed.join(kept + lines[place:])


def _is_the_rest(path: Path, content: bytes, before: Table, numbers: set[int]) -> bool:
    expected = before.frame.filter(~pl.col(ROW).is_in(sorted(numbers))).drop(ROW)
    with TemporaryDirectory(dir=path.parent, prefix=ERASING) as folder:
        again = Path(folder) / path.name
        again.write_bytes(content)
        try:
            found = read_table(again).frame.drop(ROW)
        except NoRows:
            return not len(expected)
        except BadInput:
            return False
    gone = pl.lit("").alias  # keys that no other JSON object has
    found = found.with_columns(gone(name) for name in expected.columns if name not in found.columns)
    return set(found.columns) == set(expected.columns) and expected.equals(found.select(expected.columns))
