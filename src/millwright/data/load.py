"""Reads a labelled file into strings: CSV, TSV, JSON Lines or Parquet, gzipped or not, any common encoding.

Knows nothing of which column means what. Rows count from 1, the header not included.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from os.path import isfile
from pathlib import Path

import polars as pl

from millwright.data.delimited import delimited_pieces
from millwright.data.encoding import file_blocks, find_encoding, utf8_blocks
from millwright.data.json_lines import cell, json_pieces
from millwright.data.table import ROW, check_names
from millwright.data.table import Table as Table
from millwright.errors import BadInput, NoRows, NotFound
from millwright.records import Excluded

PIECE_BYTES = 4_000_000
PIECE_ROWS = 50_000
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_GZIP_MARK = b"\x1f\x8b"

Piece = tuple[pl.DataFrame, list[Excluded]]


def ignore(_fraction: float) -> None:
    """A callback for those who need not know how far reading is."""


def read_table(path: Path, rows: int | None = None) -> Table:
    """Read a file by its ending; `.gz` after it or gzipped content is unpacked.

    Args:
        path: a .csv, .tsv, .txt, .jsonl, .ndjson, .json (lines) or .parquet file.
        rows: how many rows at most; all if None.

    Returns:
        The rows, missing values as empty strings.

    Raises:
        NotFound: there is no such file.
        NoRows: it is empty or has only a header.
        BadInput: it is not what its ending says.
    """
    tables: list[Table] = []
    for table in stream_table(path):
        tables.append(table)
        if rows is not None and sum(len(table.frame) for table in tables) >= rows:
            break
    frame = pl.concat([table.frame for table in tables], how="diagonal").with_columns(
        pl.col(pl.String).fill_null("")
    )
    unreadable = tuple(item for table in tables for item in table.unreadable)
    return Table(path, frame if rows is None else frame.head(rows), tables[0].encoding, unreadable)


def stream_table(
    path: Path, *, size: int = PIECE_BYTES, seen: Callable[[float], object] = ignore
) -> Iterator[Table]:
    """Read a file as `read_table` does, in pieces that together have the same rows.

    Args:
        path: the file.
        size: about how many bytes make a piece.
        seen: called with the fraction of the file that was read.

    Yields:
        Pieces; a piece may have no row. The first piece of a file that is not JSON has all columns,
        one of JSON lines has those of the keys up to there.

    Raises:
        NotFound: there is no such file.
        NoRows: it is empty or has only a header; this is known after its pieces.
        BadInput: it is not what its ending says.
    """
    if not isfile(path):  # unlike Path.is_file, it bears a name that is too long
        raise NotFound(f"no file {path}; check the path")
    ending = ending_of(path)
    if not any(block.strip() for block in file_blocks(path, size, ignore)):
        raise NoRows(f"{path} is empty; it needs a header line and rows")
    if ending == ".parquet":
        encoding, pieces = "parquet", _parquet_pieces(path, size)
    elif ending in (*JSON_ENDINGS, ".csv", ".tsv", ".txt", ""):
        found = find_encoding(lambda: file_blocks(path, size, ignore))
        encoding, blocks = found.name, utf8_blocks(file_blocks(path, size, seen), found)
        if ending in JSON_ENDINGS:
            pieces = json_pieces(path, blocks)
        else:
            if not found.has_line_feed:
                blocks = (block.replace(b"\r", b"\n") for block in blocks)
            pieces = delimited_pieces(path, blocks, is_tab=ending == ".tsv", size=size)
    else:
        raise BadInput(f"{path} ends in {ending!r}; pass .csv, .tsv, .jsonl or .parquet")
    rows, lost, first = 0, 0, ""
    for frame, unreadable in pieces:
        rows, lost = rows + len(frame), lost + len(unreadable)
        first = first or next((f"row {one.row}: {one.reason}" for one in unreadable), "")
        yield Table(path, frame, encoding, tuple(unreadable))
    if not rows and lost:
        raise NoRows(f"{path}: none of its rows could be read, {lost:,} in all ({first}); mend them")
    if not rows:
        raise NoRows(f"{path} has a header and no rows; add rows")


def ending_of(path: Path) -> str:
    """What a file's name says it is: its last suffix that is not .gz, in lower case."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")


def _parquet_pieces(path: Path, size: int) -> Iterator[Piece]:
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP_MARK
    # Parquet is read from its end: a gzipped one is unpacked in memory.
    packed: Iterable[bytes] = file_blocks(path, PIECE_BYTES, ignore) if is_packed else ()
    source = io.BytesIO(b"".join(packed)) if is_packed else path
    number = 0
    try:
        for batch in pl.scan_parquet(source, glob=False).collect_batches(chunk_size=PIECE_ROWS):
            check_names(path, batch.columns)
            bytes_a_row = 1 + int(batch.estimated_size()) // max(1, len(batch))
            for frame in batch.iter_slices(max(1, size // bytes_a_row)):
                yield _strings(frame, number), []
                number += len(frame)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} is not a Parquet file: {error}; write it again") from None


def _strings(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    columns = [
        pl.col(name).cast(pl.String, strict=False).fill_null("")
        if not dtype.is_nested() and dtype not in (pl.Duration, pl.Binary)
        else pl.Series(name, [cell(value) for value in frame[name].to_list()], dtype=pl.String)
        for name, dtype in frame.schema.items()
    ]
    numbers = pl.int_range(number + 1, number + 1 + len(frame), dtype=pl.Int64).alias(ROW)
    return frame.select(numbers, *columns)
