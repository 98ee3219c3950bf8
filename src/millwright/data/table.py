"""A table as it was read: strings only, each row with its number in the file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from millwright.errors import BadInput
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


def named(path: Path, header: Iterable[str]) -> list[str]:
    """The names in a header line, a column without one by its place; raises BadInput as `check_names`."""
    names = [name or f"column_{place}" for place, name in enumerate(header, start=1)]
    check_names(path, names)
    return names


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise BadInput if two columns have one name, or one has the name of ROW."""
    if ROW in names:
        raise BadInput(f"{path} has a column named {ROW!r}, which is kept for row numbers; rename it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path} has two columns named {twice!r}; rename one")
