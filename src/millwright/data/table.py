"""A table as it was read: strings only, each row with its number in the file."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from millwright.records import Excluded

ROW = "__row__"


@dataclass(frozen=True)
class Table:
    """A file's rows, or some of them. `frame` has the row's number in column ROW; the rest are strings."""

    path: Path
    frame: pl.DataFrame
    encoding: str
    unreadable: tuple[Excluded, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The file's own columns."""
        return [name for name in self.frame.columns if name != ROW]
