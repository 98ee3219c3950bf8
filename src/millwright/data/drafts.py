"""Drafts: the usable rows of one piece of a file, or of the feedback, on their way into a dataset.

A draft frame has the columns of DRAFT and one string column for each slice. `place` orders rows as they
were read: the number of their source, then their number in it. `unit` is the hash of the row's group, which
decides its split.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from sqlalchemy import func, select

from millwright.data.columns import check_text_is_not_numbers
from millwright.data.span_rows import cleaned_spans
from millwright.data.split import splits_of, units_of
from millwright.data.table import ROW, Table
from millwright.data.texts import bare_all, canonical_all, clean_all, digests
from millwright.errors import one_of
from millwright.modalities.text import canonical
from millwright.privacy.gate import Gate
from millwright.privacy.mask import Masker, masker
from millwright.privacy.sealed import open_proposed
from millwright.privacy.unmask import tokens_in
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import SPLITS, Excluded, ProposedRow, Row
from millwright.settings import SPANS, DataSection
from millwright.store.tables import proposed_rows

ROW_BITS = 40  # of a place; the bits above it number the source
TEST = SPLITS.index("test")
FEEDBACK_ROWS = 50_000
DRAFT = {
    "place": pl.UInt64,
    "text": pl.String,
    "label": pl.String,
    "group": pl.String,  # the whole name, as `group_name` gives it
    "subject": pl.String,
    "canonical": pl.String,
    "unit": pl.UInt64,
    "split": pl.UInt8,  # its place in SPLITS
}


@dataclass(frozen=True)
class Masking:
    """What becomes of personal data, how often each kind was replaced, and whether labels are spans."""

    masker: Masker
    counts: Counter[str] = field(default_factory=Counter)
    has_spans: bool = False


def masking_of(project: Project, *, reversible: bool = False) -> Masking:
    """What a project's settings ask for.

    Args:
        project: an open project.
        reversible: as `masker` takes it. Where spans are to be found nothing is: a model reads placeholders
            in the place of tokens, which would move the spans.

    Returns:
        The masking, with counts of nothing.
    """
    has_spans = project.settings.project.task == SPANS
    return Masking(masker(project, reversible=reversible and not has_spans), has_spans=has_spans)


@dataclass(frozen=True)
class Wishes:
    """Whose rows may teach, and the column of files that says so too."""

    gate: Gate
    column: str | None


def group_name(data: DataSection, text: str, group: str | None, subject: str | None) -> str:
    """The name whose hash decides a row's split.

    Args:
        data: the [data] settings.
        text: the row's input.
        group: its value in the group column, if any.
        subject: its value in the subject column, if any.

    Returns:
        The group where there is one, else the text itself, so that exact duplicates stay together.
    """
    value = subject if data.group is not None and data.group == data.subject else group
    return f"g:{value}" if value else f"t:{canonical(text)}"


def cleaned(rows: pl.DataFrame, masking: Masking, refused: pl.Series | None = None) -> pl.DataFrame:
    """Repair the texts and labels of rows, and replace personal data in the texts.

    Every row of every file and of the feedback passes through here once, before anything of it is
    compared, hashed or written: what must happen to all rows happens here.

    Args:
        rows: columns text, label, group, subject and slices, as they were read.
        masking: what becomes of personal data; its counts grow.
        refused: why rows may not teach, null where they may. Of those that may not nothing is kept, so no
            value of theirs may get a token.

    Returns:
        The same rows with the same columns, and `fault`: why a row's label cannot be used, else null.
    """
    if masking.has_spans:
        return cleaned_spans(rows, masking.masker, masking.counts)
    rows = rows.with_columns(pl.lit(None, pl.String).alias("fault"))
    texts = clean_all(rows["text"])
    places = None if refused is None or refused.null_count() == len(refused) else refused.is_null().arg_true()
    if places is None:
        texts = _masked(texts, rows["subject"], masking)
    elif len(places):
        texts = texts.clone().scatter(
            places, _masked(texts.gather(places), rows["subject"].gather(places), masking)
        )
    return rows.with_columns(texts, clean_all(rows["label"]))


def _masked(texts: pl.Series, subjects: pl.Series, masking: Masking) -> pl.Series:
    """A column of texts with personal data replaced, under its own name."""
    own = masking.masker
    if own.detector is None:
        return texts
    owners = own.book.pseudonyms(subjects.to_list()) if own.book else ()
    return pl.Series(
        texts.name, own.mask_all(texts.to_list(), masking.counts, owners=owners), dtype=pl.String
    )


def file_drafts(
    table: Table,
    data: DataSection,
    source: int,
    *,
    only_test: bool,
    masking: Masking,
    wishes: Wishes | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The usable rows of a table, and those that are not.

    Args:
        table: a file or a piece of it; a column that it lacks is empty.
        data: the [data] settings.
        source: the file's number among the sources.
        only_test: whether every row belongs to the test split.
        masking: what becomes of personal data.
        wishes: what people wish; without it every row may pass.

    Returns:
        A draft frame; and a frame of `row` and `reason`. Both in the file's order.
    """
    rows = _raw(table, data)
    refused = pl.Series("refused", [None] * len(rows), dtype=pl.String)
    if wishes is not None:
        refused = wishes.gate.reasons(rows["subject"], _wishes(table, wishes.column), from_file=True)
    rows = cleaned(rows, masking, refused)
    text, label = pl.col("text"), pl.col("label")
    too_long = pl.lit(f"longer than {data.max_characters} characters")
    rows = rows.with_columns(
        reason=pl.when(text == "")
        .then(pl.lit("empty text"))
        .when(label == "")
        .then(pl.lit("empty label"))
        .when(bare_all(rows["text"]).str.len_chars() > data.max_characters)
        .then(too_long)
        .when(pl.col("fault").is_not_null())
        .then(pl.col("fault"))
        .otherwise(refused)
    )
    unreadable = pl.DataFrame(
        {
            "row": [item.row for item in table.unreadable],
            "reason": [item.reason for item in table.unreadable],
        },
        schema={"row": pl.Int64, "reason": pl.String},
    )
    unusable = rows.filter(pl.col("reason").is_not_null()).select("row", "reason")
    usable = rows.filter(pl.col("reason").is_null())
    if masking.masker.book is not None:
        masking.masker.book.hold(set().union(*map(tokens_in, usable["text"])))
    test_share = 0.0 if data.test_files else data.test_share
    drafts = _with_groups(
        usable.with_columns(place=pl.col("row").cast(pl.UInt64) + (source << ROW_BITS)), data
    )
    split_N = splits_of(drafts["unit"].to_numpy(), data.validation_share, test_share)
    if only_test:
        split_N = np.full(len(drafts), TEST, np.uint8)
    drafts = drafts.with_columns(split=pl.Series(split_N, dtype=pl.UInt8))
    return drafts.select(*DRAFT, *slice_columns(data)), pl.concat([unreadable, unusable]).sort("row")


def _wishes(table: Table, column: str | None) -> pl.Series:
    if column is None or column not in table.columns:
        return pl.Series([""] * len(table.frame), dtype=pl.String)
    return table.frame[column]


def _raw(table: Table, data: DataSection) -> pl.DataFrame:
    """The settings' columns under the names of DRAFT; empty groups and subjects are null."""

    def column(name: str | None) -> pl.Expr:
        """A column's cells; empty ones where the table has no such column."""
        return pl.col(name) if name in table.columns else pl.lit("")

    def or_null(name: str | None) -> pl.Expr:
        """A column's cells, null where they are empty."""
        return pl.when(column(name) != "").then(column(name))

    return table.frame.select(
        row=pl.col(ROW),
        text=column(data.text),
        label=column(data.label),
        group=or_null(data.group).cast(pl.String),
        subject=or_null(data.subject).cast(pl.String),
        **{own: column(name) for own, name in zip(slice_columns(data), data.slices, strict=True)},
    )


def slice_columns(data: DataSection) -> list[str]:
    """What the slices are called in a frame, whatever the file calls them."""
    return [f"slice_{number}" for number in range(len(data.slices))]


def _with_groups(rows: pl.DataFrame, data: DataSection) -> pl.DataFrame:
    """Rows with canonical text, the group's name and its unit."""
    value = pl.col("subject") if data.group is not None and data.group == data.subject else pl.col("group")
    rows = rows.with_columns(canonical_all(rows["text"]).alias("canonical"))
    rows = rows.with_columns(
        group=pl.when(value.is_not_null() & (value != ""))
        .then(pl.concat_str(pl.lit("g:"), value))
        .otherwise(pl.concat_str(pl.lit("t:"), pl.col("canonical")))
    )
    return rows.with_columns(
        unit=pl.Series(units_of(rows["group"].to_list(), data.split_seed), dtype=pl.UInt64)
    )


def feedback_drafts(
    project: Project, source: int, masking: Masking, gate: Gate | None = None
) -> Iterator[tuple[pl.DataFrame, list[str], pl.DataFrame]]:
    """The rows that users' corrections made in earlier turns and in the one under way.

    Args:
        project: an open project; its [data] settings name each row's group as `group_name` does.
        source: the feedback's number among the sources.
        masking: what becomes of personal data; what was masked when it came stays as it is.
        gate: whose rows may teach; without it every row may pass.

    Yields:
        A draft frame and the prediction of each of its rows, ordered by prediction; a row's number
        is its place in this order, from 0. And a frame of `file` and `reason` of rows that may not.
    """
    columns, number, data = ("text", "label", "subject", "split"), 0, project.settings.data
    vault = open_vault(project)
    query = select(proposed_rows).order_by(proposed_rows.c.prediction)
    _ = count_proposed(project) and vault.keys  # outside of the transaction that reads
    with project.database.connect() as connection:
        for part in connection.execute(query, execution_options={"yield_per": FEEDBACK_ROWS}).partitions():
            opened = [open_proposed(vault, row) for row in part]
            refused = dict[str, str]()
            if gate is not None:
                refused = _refused(opened, gate)
                opened = [row for row in opened if row.prediction not in refused]
            rows = pl.DataFrame(
                {name: [getattr(row, name) for row in opened] for name in columns},
                schema=dict.fromkeys(columns, pl.String),
            )
            rows = rows.with_columns(
                pl.lit(None, pl.String).alias("group"),
                pl.col("split").replace_strict(list(SPLITS), range(len(SPLITS)), return_dtype=pl.UInt8),
                *(pl.lit(None, pl.String).alias(name) for name in slice_columns(data)),
                place=pl.int_range(number, number + len(opened), dtype=pl.UInt64) + (source << ROW_BITS),
            )
            number += len(opened)
            drafts = _with_groups(cleaned(rows, masking), data).select(*DRAFT, *slice_columns(data))
            excluded = pl.DataFrame(
                {"file": [f"feedback:{name}" for name in refused], "reason": list(refused.values())},
                schema={"file": pl.String, "reason": pl.String},
            )
            yield drafts, [row.prediction for row in opened], excluded


def _refused(rows: Sequence[ProposedRow], gate: Gate) -> dict[str, str]:
    """The reason by prediction of rows that may not teach."""
    subject = pl.Series([row.subject for row in rows], dtype=pl.String)
    reasons = gate.reasons(subject, pl.Series([""] * len(rows), dtype=pl.String), from_file=False)
    named = zip(rows, reasons.to_list(), strict=True)
    return {row.prediction: reason for row, reason in named if reason is not None}


def count_proposed(project: Project) -> int:
    """How many rows users' corrections made."""
    with project.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(proposed_rows)) or 0


def ids_of(drafts: pl.DataFrame) -> np.ndarray:
    """Each row's id as a number: a hash of what the row says, not of where it stands.

    The 1 at its end is how often the row was said: rows that say the same are exact duplicates, of
    which a dataset keeps one.
    """
    says = drafts.select(
        pl.concat_str(
            bare_all(drafts["text"]),
            "label",
            "group",
            pl.when(pl.col("split") == TEST).then(pl.lit("test")).otherwise(pl.lit("")),
            pl.lit("1"),
            separator="\0",
        )
    ).to_series()
    sha256 = hashlib.sha256
    digest = b"".join([sha256(said.encode()).digest()[:8] for said in says.to_list()])
    return np.frombuffer(digest, ">u8").astype(np.uint64)


def text_keys(drafts: pl.DataFrame) -> np.ndarray:
    """A hash of 128 bits of each row's canonical text, in two words."""
    return digests(drafts["canonical"].to_list(), before="", size=16)


def rows_of(
    table: Table, data: DataSection, shown: str, masking: Masking, *, only_test: bool
) -> tuple[list[Row], list[Excluded]]:
    """The usable rows of a file, without ids, and those that are not, with the reason.

    Args:
        table: a loaded file.
        data: the [data] settings.
        shown: the file's name in sources and lists.
        masking: what becomes of personal data.
        only_test: whether every row belongs to the test split.

    Returns:
        Rows and exclusions, in the file's order.

    Raises:
        NotFound: a column of the settings is not in the file.
        BadInput: the text column holds numbers.
    """
    check_columns(table, data)
    check_text_is_not_numbers(table, data.text)
    drafts, excluded = file_drafts(table, data, 0, only_test=only_test, masking=masking)
    sources = [f"file:{shown}:{row}" for row in drafts["place"].to_list()]
    return _rows(drafts, data, sources), [Excluded(shown, *item) for item in excluded.rows()]


def feedback_rows(project: Project) -> list[Row]:
    """Every row of `feedback_drafts`, without ids."""
    return [
        row
        for drafts, predictions, _ in feedback_drafts(project, 0, masking_of(project, reversible=True))
        for row in _rows(
            drafts, project.settings.data, [f"feedback:{prediction}" for prediction in predictions]
        )
    ]


def check_columns(table: Table, data: DataSection, consent: str | None = None) -> None:
    """Raise NotFound if a column that the settings name is not in the file."""
    if consent is not None:
        one_of(f"column in {table.path.name} (privacy.consent_column)", consent, table.columns)
    named = [("text", data.text), ("label", data.label), ("group", data.group), ("subject", data.subject)]
    for kind, name in [*named, *(("slices", name) for name in data.slices)]:
        if name is not None:
            one_of(f"column in {table.path.name} (data.{kind})", name, table.columns)


def _rows(drafts: pl.DataFrame, data: DataSection, sources: Sequence[str]) -> list[Row]:
    columns = [drafts[name].to_list() for name in ("text", "label", "split", "group", "subject")]
    slices = [drafts[name].to_list() for name in slice_columns(data)]
    found = []
    for place, (text, label, split, group, subject) in enumerate(zip(*columns, strict=True)):
        values = [(name, column[place]) for name, column in zip(data.slices, slices, strict=True)]
        own = tuple((name, value) for name, value in values if value is not None)
        found.append(Row("", text, label, SPLITS[split], sources[place], group, subject, own))
    return found
