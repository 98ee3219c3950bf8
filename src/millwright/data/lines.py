"""Frames as JSON Lines, byte for byte what `json.dumps(…, ensure_ascii=False)` writes of each row."""

import json
from collections.abc import Mapping

import polars as pl

_ESCAPED = ['"', "\\", *map(chr, range(32))]
_ESCAPES = [json.dumps(character)[1:-1] for character in _ESCAPED]


def json_lines(frame: pl.DataFrame, fields: Mapping[str, pl.Expr]) -> bytes:
    """Each row as one JSON object.

    Args:
        frame: the rows.
        fields: for each key, an expression of JSON values, such as `quoted` makes.

    Returns:
        One line a row, each ended by a line feed.
    """
    pieces: list[pl.Expr] = []
    for place, (name, value) in enumerate(fields.items()):
        pieces += [pl.lit(f"{', ' if place else '{'}{json.dumps(name, ensure_ascii=False)}: "), value]
    lines = frame.select(pl.concat_str(*pieces, pl.lit("}\n"))).to_series()
    return "".join(lines).encode()


def quoted(text: pl.Expr) -> pl.Expr:
    """Strings as JSON strings; null stays null."""
    return pl.concat_str(pl.lit('"'), text.str.replace_many(_ESCAPED, _ESCAPES), pl.lit('"'))


def quoted_or_null(text: pl.Expr) -> pl.Expr:
    """Strings as JSON strings, nulls as JSON's null."""
    return quoted(text).fill_null("null")
