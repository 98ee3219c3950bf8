"""Reads JSON Lines in pieces; what is no object is listed by its number among the lines that aren't blank."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from millwright.data.encoding import whole_lines
from millwright.data.table import ROW, check_names
from millwright.errors import NoRows
from millwright.records import Excluded

Piece = tuple[pl.DataFrame, list[Excluded]]


def json_pieces(path: Path, blocks: Iterable[bytes]) -> Iterator[Piece]:
    """Read objects in pieces.

    Args:
        path: the file, for messages.
        blocks: its content in UTF-8.

    Yields:
        A frame of ROW and every key seen so far, and the lines that cannot be read.

    Raises:
        NoRows: no line is a JSON object; this is known after the pieces.
        BadInput: a key is the name of ROW.
    """
    names: dict[str, None] = {}
    number = 0
    has_row = False
    for lines in whole_lines(blocks):
        rows, numbers, unreadable = [], [], []
        for line in lines.decode("utf-8", "replace").split("\n"):
            if not line.strip():
                continue
            number += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append({cell(key): cell(value) for key, value in row.items()})
                numbers.append(number)
            else:
                unreadable.append(Excluded(path.name, number, "is not a JSON object"))
        has_row = has_row or bool(rows)
        names.update(dict.fromkeys(key for row in rows for key in row))
        check_names(path, list(names))
        columns = {name: [row.get(name, "") for row in rows] for name in names}
        schema = {ROW: pl.Int64, **dict.fromkeys(names, pl.String)}
        yield pl.DataFrame({ROW: numbers, **columns}, schema=schema), unreadable
    if not has_row:
        raise NoRows(f"{path} has no line that is a JSON object; write one object a line")


def cell(value: object) -> str:
    """A JSON value as a cell: strings as they are, null as nothing, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if text.isascii():
        return text
    # JSON can spell half a surrogate pair, which no encoding can write.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
