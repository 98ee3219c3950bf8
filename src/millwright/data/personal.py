"""Which personal data stands in which column of a file or of a project, without showing any of it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from millwright.data.load import stream_table
from millwright.data.table import ROW
from millwright.data.weak import weak_files
from millwright.errors import BadInput
from millwright.privacy.detect import Detector, detector
from millwright.privacy.mask import names_of
from millwright.privacy.sealed import stream_opinions, stream_predictions, stream_proposed
from millwright.privacy.vault import Vault, open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project

SAMPLES = 3
SHOWN = 24  # characters of a sample
STORED: tuple[tuple[str, str, Callable[[Vault], Iterable[object]]], ...] = (
    ("predictions", "text", stream_predictions),
    ("opinions", "comment", stream_opinions),
    ("proposed_rows", "text", stream_proposed),
)  # a table, its column, and what opens its rows
AT_ONCE = 500  # texts of a table that are looked at together


@dataclass(frozen=True)
class Finding:
    """One kind of personal data in one column: how many cells have it, how often, and what it looks like.

    `samples` are shapes, not values: each letter became x, each Chinese character 某, each digit 9.
    """

    source: str
    column: str
    entity: str
    cells: int
    count: int
    samples: tuple[str, ...]


@dataclass
class _Tally:
    cells: int = 0
    count: int = 0
    samples: list[str] = field(default_factory=list)


def scan_file(path: Path, progress: Progress = quiet, names: bool | str = True) -> list[Finding]:
    """What stands in each column of text of a file.

    Args:
        path: a file that `read_table` reads.
        progress: called with a stage's name and the fraction done.
        names: what finds names, as `detector` takes it.

    Returns:
        Findings, in the order of the columns, the most frequent first.

    Raises:
        NotFound: there is no such file.
        BadInput: it cannot be read.
    """
    tallies: dict[tuple[str, str], _Tally] = {}
    finder = detector(names=names)
    columns: dict[str, None] = {}
    for table in stream_table(path, seen=lambda done: progress(f"scan {path.name}", done)):
        for column in table.frame.columns:
            if column != ROW and table.frame[column].dtype == pl.String:
                columns.setdefault(column)
                cells = table.frame[column].drop_nulls().value_counts()
                _tally(column, zip(*cells.get_columns(), strict=True), finder, tallies)
    return _findings(path.name, columns, tallies)


def scan_project(project: Project, progress: Progress = quiet) -> list[Finding]:
    """What stands in the files of a project, as they are, and in what it stored of its users.

    Args:
        project: an open project.
        progress: called with a stage's name and the fraction done.

    Returns:
        Findings by file, then by table of the project's database.

    Raises:
        NotFound: a file of the settings is missing.
        BadInput: the project names no file, or one cannot be read.
    """
    names = [*project.settings.data.files, *project.settings.data.test_files, *weak_files(project)]
    if not names:
        raise BadInput("data.files in millwright.toml is empty; list at least one file", field="data.files")
    model = names_of(project) or True
    found = [item for name in names for item in scan_file(project.folder / name, progress, model)]
    vault = open_vault(project)
    for table, column, opened in STORED:
        tallies: dict[tuple[str, str], _Tally] = {}
        texts = (text for record in opened(vault) if (text := getattr(record, column)))
        while part := Counter(islice(texts, AT_ONCE)):
            _tally(column, part.items(), detector(names=model), tallies)
        found += _findings(table, [column], tallies)
    return found


def shape(value: str) -> str:
    """What a value looks like: letters as x, Chinese characters as 某, digits as 9, at most SHOWN signs."""
    signs = (
        "9" if sign.isdigit() else "某" if "\u3400" <= sign <= "\u9fff" else "x" if sign.isalpha() else sign
        for sign in " ".join(value.split())
    )
    made = "".join(signs)
    return made if len(made) <= SHOWN else made[: SHOWN - 1] + "…"


def _tally(
    column: str,
    cells: Iterable[tuple[str, int]],
    finder: Detector,
    tallies: dict[tuple[str, str], _Tally],
) -> None:
    texts, times = zip(*cells, strict=True) if (cells := list(cells)) else ((), ())
    for text, repeats, spans in zip(texts, times, finder.find_all(texts), strict=True):
        for entity in {span.entity for span in spans}:
            tallies.setdefault((column, entity), _Tally()).cells += repeats
        for span in spans:
            tally = tallies[column, span.entity]
            tally.count += repeats
            sample = shape(text[span.start : span.end])
            if len(tally.samples) < SAMPLES and sample not in tally.samples:
                tally.samples.append(sample)


def _findings(source: str, columns: Iterable[str], tallies: dict[tuple[str, str], _Tally]) -> list[Finding]:
    order = list(columns)
    ranked = sorted(tallies.items(), key=lambda item: (order.index(item[0][0]), -item[1].count, item[0][1]))
    return [
        Finding(source, column, entity, tally.cells, tally.count, tuple(tally.samples))
        for (column, entity), tally in ranked
    ]
