"""Takes the rows of all files, of the feedback and of labelling functions into a spill, with their keys."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os.path import isfile
from pathlib import Path

import polars as pl

from millwright.data.columns import SAMPLE_ROWS, check_text_is_not_numbers
from millwright.data.drafts import (
    TEST,
    Wishes,
    check_columns,
    feedback_drafts,
    file_drafts,
    ids_of,
    masking_of,
    text_keys,
)
from millwright.data.lines import json_lines, quoted
from millwright.data.load import JSON_ENDINGS, PIECE_BYTES, ending_of, stream_table
from millwright.data.repeats import KEY, Parts
from millwright.data.sources import Sources, shown_names
from millwright.data.spill import Spill
from millwright.data.table import Table
from millwright.data.weak import WEAK_FILE, weak_drafts
from millwright.errors import BadInput, NoRows
from millwright.privacy.gate import open_gate
from millwright.project import Project
from millwright.settings import DataSection

MOST_LABELS_READ = 100_000  # more are refused before all are counted


@dataclass(frozen=True)
class Intake:
    """What was taken in: `labels` by code, notes, how many rows were left out for which reason, and how
    often each kind of personal data was replaced.
    """

    sources: Sources
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    excluded: Counter[str]
    masked: Counter[str]


def take_in(project: Project, spill: Spill, parts: Parts, seen: Callable[[float], object]) -> Intake:
    """Read everything once.

    Args:
        project: an open project.
        spill: takes the streams "keys" and "rows", and "unusable": excluded rows as JSON lines.
        parts: how rows are divided.
        seen: called with the fraction that was read.

    Returns:
        What was taken in.

    Raises:
        NotFound: a file or a column that millwright.toml names is missing.
        NoRows: there is no row in any of them.
        BadInput: a file cannot be read, its text column holds numbers, or it has too many labels.
    """
    data = project.settings.data
    wishes = Wishes(open_gate(project), project.settings.privacy.consent_column)
    names = [*data.files, *data.test_files]
    paths = [project.folder / name for name in names]
    sources = Sources(shown_names(names))
    codes: dict[str, int] = {}
    notes, reasons, masking = [], Counter[str](), masking_of(project, reversible=True)
    without = dict[str, NoRows]()
    said = Counter[str]()  # labels that aren't weak, of rows that aren't tested on
    most = None if masking.has_spans else MOST_LABELS_READ  # rows that are marked alike are few
    total, done = sum(map(_size, paths)), 0
    for number, (path, shown) in enumerate(zip(paths, sources.names, strict=True)):

        def part_seen(part: float, done: int = done, path: Path = path) -> None:
            """Tell how much of all files is read, given the part of this one."""
            seen((done + part * _size(path)) / (total or 1))

        encoding, pieces = "utf-8", checked_pieces(path, data, part_seen, wishes.column)
        for table in _with_rows(pieces, shown, without):
            only_test = names[number] in data.test_files
            drafts, excluded = file_drafts(
                table, data, number, only_test=only_test, masking=masking, wishes=wishes
            )
            said.update(_clean_labels(drafts))
            _store(spill, parts, drafts, codes, most)
            reasons.update(excluded["reason"].to_list())
            spill.append("unusable", excluded_lines(excluded.with_columns(file=pl.lit(shown))))
            encoding = table.encoding
        done += _size(path)
        if encoding not in ("utf-8", "parquet"):
            notes.append(f"{shown} was read as {encoding}")
    for drafts, predictions, excluded in feedback_drafts(project, len(names), masking, wishes.gate):
        reasons.update(excluded["reason"].to_list())
        spill.append("unusable", excluded_lines(excluded.with_columns(row=pl.lit(0))))
        said.update(_clean_labels(drafts))
        _store(spill, parts, drafts, codes, most)
        sources.predictions.extend(predictions)
    for drafts, excluded in weak_drafts(project, len(names) + 1, masking, wishes, said):
        reasons.update(excluded["reason"].to_list())
        spill.append("unusable", excluded_lines(excluded.with_columns(file=pl.lit(WEAK_FILE))))
        _store(spill, parts, drafts, codes, most)
    if without and not (codes or reasons):
        raise next(iter(without.values()))
    notes += [f"{shown} has no rows" for shown in without]
    return Intake(sources, tuple(codes), tuple(notes), reasons, masking.counts)


def _with_rows(pieces: Iterator[Table], shown: str, without: dict[str, NoRows]) -> Iterator[Table]:
    """The pieces of a file. That it has no row is noted in `without`: an erasure may have taken them."""
    try:
        yield from pieces
    except NoRows as error:
        without[shown] = error


def excluded_lines(excluded: pl.DataFrame) -> bytes:
    """Rows that are left out, as JSON lines; columns file, row and reason."""
    row = pl.col("row").cast(pl.String)
    return json_lines(
        excluded, {"file": quoted(pl.col("file")), "row": row, "reason": quoted(pl.col("reason"))}
    )


def _clean_labels(drafts: pl.DataFrame) -> dict[str, int]:
    return dict(drafts.filter(pl.col("split") != TEST)["label"].value_counts().rows())


def _size(path: Path) -> int:
    return path.stat().st_size if isfile(path) else 0


def checked_pieces(
    path: Path, data: DataSection, seen: Callable[[float], object], consent: str | None
) -> Iterator[Table]:
    """The pieces of a file, which is refused as soon as it shows that it cannot be used."""
    head: list[pl.DataFrame] = []
    is_json, is_checked, table = ending_of(path) in JSON_ENDINGS, False, None
    for table in stream_table(path, size=PIECE_BYTES, seen=seen):
        if not is_json:  # a key may be missing in the first objects
            check_columns(table, data, consent)
        if not is_checked and data.text in table.columns:
            head.append(table.frame.select(data.text))
            if sum(map(len, head)) >= SAMPLE_ROWS:
                check_text_is_not_numbers(replace(table, frame=pl.concat(head)), data.text)
                is_checked = True
        yield table
    assert table is not None
    check_columns(table, data, consent)
    if not is_checked:
        check_text_is_not_numbers(replace(table, frame=pl.concat(head)), data.text)


def _store(spill: Spill, parts: Parts, drafts: pl.DataFrame, codes: dict[str, int], most: int | None) -> None:
    found = drafts["label"].unique(maintain_order=True).to_list()
    for label in found:
        codes.setdefault(label, len(codes))
    if most is not None and len(codes) > most:
        raise BadInput(
            f"there are more than {most:,} labels; merge rare ones, or name another column with --label"
        )
    own = {label: codes[label] for label in found}
    key_N2 = text_keys(drafts)
    rows = drafts.with_columns(
        pl.Series("high", key_N2[:, 0]),
        pl.Series("low", key_N2[:, 1]),
        pl.Series("id", ids_of(drafts)),
        pl.col("label").replace_strict(own, return_dtype=pl.UInt32).alias("code"),
    )
    parts.append(spill, "keys", rows.select(*KEY), "high")
    # A row that repeats one of the same piece need not be held until all repeats are known.
    is_test = (pl.col("split") == TEST).alias("is_test")
    rows = rows.with_columns(is_test).unique(
        ["high", "low", "code", "is_test"], keep="first", maintain_order=True
    )
    parts.append(spill, "rows", rows.drop("high", "low", "canonical", "is_test"), "id")
