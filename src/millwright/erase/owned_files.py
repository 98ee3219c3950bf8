"""Takes people's rows out of a labelled file and changes nothing else of it.

The result is read back before it replaces the file: every other row must be what it was. Where that cannot be
reached, the file is left as it is and named to the user.
"""

import gzip
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from millwright.data.encoding import file_blocks, find_encoding
from millwright.data.load import JSON_ENDINGS, ending_of, ignore, read_table
from millwright.data.table import ROW, Table
from millwright.errors import BadInput
from millwright.store.files import write_bytes

BLOCK_BYTES = 4_000_000
IsWhose = Callable[[str], bool]


@dataclass(frozen=True)
class Rewritten:
    """How many rows of the people a file had, and whether they are gone."""

    rows: int
    is_done: bool


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


def rows_by_owner(path: Path, column: str, owner_of: Callable[[str], str | None]) -> dict[str, int]:
    """How many rows of a file each of some people has; the file is read once.

    Args:
        path: a labelled file.
        column: the one that names people.
        owner_of: whom of them a cell of it names, None for others.

    Returns:
        Counts by person, of those who have rows; empty if the file has no such column.
    """
    table, found = read_table(path), Counter[str]()
    if column not in table.columns:
        return {}
    for name, count in table.frame[column].value_counts().iter_rows():
        if name and (owner := owner_of(name)) is not None:
            found[owner] += count
    return dict(found)


def without_subjects(path: Path, column: str, is_whose: IsWhose) -> Rewritten:
    """Write a file anew without the rows of some people.

    Args:
        path: a labelled file.
        column: the one that names people.
        is_whose: whether a cell of it names one of those who are to go.

    Returns:
        How many rows there were, and whether they are gone.

    Raises:
        CannotStore: the disk is full or read-only; the file is as it was.
    """
    table = read_table(path)
    numbers = set(_numbers(table, column, is_whose))
    if not numbers:
        return Rewritten(0, True)
    content = _without(path, numbers)
    if content is None or not _is_the_rest(path, content, table, numbers):
        return Rewritten(len(numbers), False)
    write_bytes(path, content)
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
    ending = ending_of(path)
    if ending == ".parquet":
        frame = pl.read_parquet(io.BytesIO(content)).with_row_index(ROW, 1)
        buffer = io.BytesIO()
        frame.filter(~pl.col(ROW).is_in(sorted(numbers))).drop(ROW).write_parquet(buffer)
        cut = buffer.getvalue()
    else:
        codec = find_encoding(lambda: [content]).codec
        if codec is not None and codec.startswith("utf-16"):
            text = content.decode("utf-16")
            cut = _cut(text.encode(), numbers, ending).decode().encode("utf-16")
        else:
            cut = _cut(content, numbers, ending)
    return gzip.compress(cut, mtime=0) if is_packed else cut


def _cut(content: bytes, numbers: set[int], ending: str) -> bytes:
    """Leave out records by number. A record ends at a line's end that stands outside of quotes."""
    is_json, kept, record, number = ending in JSON_ENDINGS, list[bytes](), b"", 0
    has_quotes = not is_json and ending != ".tsv"
    feed = b"\n" if b"\n" in content else b"\r"
    for line in content.split(feed):
        record = record + feed + line if record else line
        if has_quotes and record.count(b'"') % 2:
            continue
        is_blank = not record.strip(b"\r\n \t")
        if not (is_json and is_blank):
            number += 1
        if is_blank or number - (0 if is_json else 1) not in numbers:
            kept.append(record)
        record = b""
    if record:
        kept.append(record)
    return feed.join(kept)


def _is_the_rest(path: Path, content: bytes, before: Table, numbers: set[int]) -> bool:
    expected = before.frame.filter(~pl.col(ROW).is_in(sorted(numbers))).drop(ROW)
    if not len(expected):
        return False
    with TemporaryDirectory(dir=path.parent, prefix=".erasing-") as folder:
        again = Path(folder) / path.name
        again.write_bytes(content)
        try:
            found = read_table(again)
        except BadInput:
            return False
    same_columns = expected.columns == found.frame.drop(ROW).columns
    return same_columns and expected.equals(found.frame.drop(ROW))
