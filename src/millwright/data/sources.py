"""Where rows come from, and what a row's place is called.

That is "file:NAME:ROW", "feedback:PREDICTION" or "weak:ROW".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from millwright.data.drafts import ROW_BITS
from millwright.records import WEAK

_ROW_MASK = (1 << ROW_BITS) - 1


@dataclass(frozen=True)
class Sources:
    """The names of files as reports show them, and the prediction of each row of the feedback."""

    names: tuple[str, ...]
    predictions: list[str] = field(default_factory=list)

    def of(self, place: int) -> str:
        """The source of the row in a place."""
        number, row = place >> ROW_BITS, place & _ROW_MASK
        if number == len(self.names):
            return f"feedback:{self.predictions[row]}"
        if number == len(self.names) + 1:
            return f"{WEAK}{row}"
        return f"file:{self.names[number]}:{row}"

    def column(self, places: pl.Series) -> pl.Series:
        """The sources of many places."""
        number, row = places // (1 << ROW_BITS), places % (1 << ROW_BITS)
        begins = {place: f"file:{name}:" for place, name in enumerate(self.names)}
        begins[len(self.names) + 1] = WEAK
        column = pl.select(
            pl.concat_str(
                number.replace_strict(begins, default=None, return_dtype=pl.String), row.cast(pl.String)
            )
        ).to_series()
        said = (number == len(self.names)).arg_true()
        if len(said):
            column = column.scatter(said, pl.Series([self.of(place) for place in places.gather(said)]))
        return column


def shown_names(files: Sequence[str]) -> tuple[str, ...]:
    """The names of files without folders, but with them where two files have one name."""
    short = [Path(name).name for name in files]
    return tuple(own if short.count(own) == 1 else name for own, name in zip(short, files, strict=True))
