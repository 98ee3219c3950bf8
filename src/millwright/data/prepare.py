"""Makes a dataset of a project's files and of what its users said: clean, check, split, seal.

Nothing is dropped silently: each row that is left out is listed with its file, number and reason.
Reports refer to rows by file and number, never by their text.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert, select

from millwright.data.columns import check_text_is_not_numbers
from millwright.data.dataset import Dataset, write_dataset
from millwright.data.duplicates import near_duplicates
from millwright.data.load import ROW, Table, read_table
from millwright.data.split import split_of
from millwright.errors import BadInput, one_of
from millwright.modalities.text import canonical, clean, is_broken
from millwright.project import Project
from millwright.records import SPLITS, Excluded, JsonObject, Row
from millwright.settings import DataSection
from millwright.store.database import now
from millwright.store.tables import datasets, proposed_rows

MAX_LABELS = 5_000
LISTED = 50  # how many examples of a finding a report names


def prepare(project: Project) -> Dataset:
    """Build the dataset version that the project's files and accepted feedback make now.

    Args:
        project: an open project.

    Returns:
        The dataset; `report` says what was found.

    Raises:
        NotFound: a file or a column that millwright.toml names is missing.
        BadInput: the files cannot be learnt from: empty, one label, one row a label, numbers as text.
        CannotStore: the disk is full or read-only.
    """
    data = project.settings.data
    if not data.files:
        raise BadInput("data.files in millwright.toml is empty; list at least one file", field="data.files")
    drafts, excluded, notes = [], [], []
    names = [*data.files, *data.test_files]
    file_names = [Path(name).name for name in names]
    for name, file_name in zip(names, file_names, strict=True):
        table = read_table(project.folder / name)
        shown = file_name if file_names.count(file_name) == 1 else name
        found, left_out = rows_of(table, data, shown, only_test=name in data.test_files)
        drafts += found
        excluded += left_out
        if table.encoding not in ("utf-8", "parquet"):
            notes.append(f"{shown} was read as {table.encoding}")
    drafts += feedback_rows(project.database, data)
    rows, duplicates = _without_duplicates(drafts)
    excluded += duplicates
    _check_labels(rows, data, excluded)
    rows, moved = _keep_every_label_in_training(_numbered(rows), data)
    notes += moved
    report = {**_report(rows, data), "excluded": _reasons(excluded), "notes": notes}
    dataset = write_dataset(dataset_folder(project), rows, report, excluded)
    _remember(project.database, dataset)
    return dataset


def feedback_rows(database: Engine, data: DataSection) -> list[Row]:
    """The rows that users' corrections made in earlier turns and in the one under way.

    Args:
        database: the project's database.
        data: the [data] settings; they name each row's group as `group_name` does.

    Returns:
        The rows, without ids, ordered by prediction.
    """
    with database.connect() as connection:
        found = connection.execute(select(proposed_rows).order_by(proposed_rows.c.prediction)).all()
    rows = []
    for row in found:
        text = clean(row.text)
        group = group_name(data, text, None, row.subject)
        rows.append(Row("", text, row.label, row.split, f"feedback:{row.prediction}", group, row.subject))
    return rows


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


@dataclass(frozen=True)
class _Source:
    """Where the cells of a file are: whole columns as lists, in the file's order."""

    number: list[int]
    text: list[str]
    label: list[str]
    group: list[str | None]
    subject: list[str | None]
    slices: list[tuple[tuple[str, str], ...]]


def _columns(table: Table, data: DataSection) -> _Source:
    def column(name: str | None, kind: str) -> list[str | None]:
        if name is None:
            return [None] * len(table.frame)
        one_of(f"column in {table.path.name} (data.{kind})", name, table.columns)
        return [value or None for value in table.frame[name].to_list()]

    slices = [[(name, value or "") for value in column(name, "slices")] for name in data.slices]
    return _Source(
        number=table.frame[ROW].to_list(),
        text=[value or "" for value in column(data.text, "text")],
        label=[value or "" for value in column(data.label, "label")],
        group=column(data.group, "group"),
        subject=column(data.subject, "subject"),
        slices=list(zip(*slices, strict=True)) if slices else [()] * len(table.frame),
    )


def rows_of(
    table: Table, data: DataSection, shown: str, *, only_test: bool
) -> tuple[list[Row], list[Excluded]]:
    """The usable rows of a file, without ids, and those that are not, with the reason.

    Args:
        table: a loaded file.
        data: the [data] settings.
        shown: the file's name in sources and lists.
        only_test: whether every row belongs to the test split.

    Returns:
        Rows and exclusions, in the file's order.

    Raises:
        NotFound: a column of the settings is not in the file.
        BadInput: the text column holds numbers.
    """
    source = _columns(table, data)
    check_text_is_not_numbers(table, data.text)
    test_share = 0.0 if data.test_files else data.test_share
    rows, excluded = [], [replace(item, file=shown) for item in table.unreadable]
    for place, number in enumerate(source.number):
        text, label = clean(source.text[place]), clean(source.label[place])
        reason = _unusable(text, label, data)
        if reason:
            excluded.append(Excluded(shown, number, reason))
            continue
        group = group_name(data, text, source.group[place], source.subject[place])
        split = "test" if only_test else split_of(group, data.split_seed, data.validation_share, test_share)
        where = f"file:{shown}:{number}"
        rows.append(Row("", text, label, split, where, group, source.subject[place], source.slices[place]))
    return rows, excluded


def _unusable(text: str, label: str, data: DataSection) -> str | None:
    if not text:
        return "empty text"
    if not label:
        return "empty label"
    if len(text) > data.max_characters:
        return f"longer than {data.max_characters} characters"
    return None


def _without_duplicates(rows: Iterable[Row]) -> tuple[list[Row], list[Excluded]]:
    """Drop rows that repeat text and label of an earlier one, training and test apart."""
    first: dict[tuple[str, str, bool], Row] = {}
    kept, excluded = [], []
    for row in rows:
        key = (canonical(row.text), row.label, row.split == "test")
        if key in first:
            file, number = row.source, "0"
            if row.source.startswith("file:"):
                file, _, number = row.source.removeprefix("file:").rpartition(":")
            excluded.append(Excluded(file, int(number), f"exact duplicate of {first[key].source}"))
        else:
            first[key] = row
            kept.append(row)
    return kept, excluded


def _may_train(row: Row, data: DataSection) -> bool:
    """False for rows that are only ever tested on: those of test_files and of held-out users."""
    return row.split != "test" or (row.source.startswith("file:") and not data.test_files)


def _reasons(excluded: Sequence[Excluded]) -> dict[str, int]:
    """How many rows were left out for each reason."""
    return dict(Counter(item.reason.split(" of ")[0] for item in excluded))


def _check_labels(rows: Sequence[Row], data: DataSection, excluded: Sequence[Excluded]) -> None:
    counts = Counter(row.label for row in rows if _may_train(row, data))
    if not counts:
        why = ", ".join(f"{count:,} {reason}" for reason, count in _reasons(excluded).items())
        raise BadInput(f"no row is left to learn from ({why or 'all are test rows'}); mend or add rows")
    if len(counts) < 2:
        only = next(iter(counts))
        raise BadInput(f"every row has the label {only!r}; a classifier needs at least two labels")
    if len(counts) > MAX_LABELS:
        raise BadInput(
            f"there are {len(counts):,} labels, the limit is {MAX_LABELS:,}; merge rare ones, "
            "or name another column with --label"
        )
    if max(counts.values()) == 1:
        raise BadInput(
            f"each of the {len(counts):,} labels has one row; give at least five rows a label, "
            "or name another column with --label"
        )


def _numbered(rows: Iterable[Row]) -> list[Row]:
    """Give each row an id that depends on what it says, not on where it stands."""
    seen: Counter[str] = Counter()
    numbered = []
    for row in rows:
        says = "\0".join((row.text, row.label, row.group, row.split if row.split == "test" else ""))
        seen[says] += 1
        digest = hashlib.sha256(f"{says}\0{seen[says]}".encode()).hexdigest()
        numbered.append(replace(row, id=digest[:16]))
    return numbered


def _keep_every_label_in_training(rows: list[Row], data: DataSection) -> tuple[list[Row], list[str]]:
    """A label whose groups are all held out cannot be learnt: move one group of it to training.

    Rows of test_files are never moved; a label that only they have is noted.
    """
    trained = {row.label for row in rows if row.split == "train"}
    movable: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.label not in trained and row.source.startswith("file:") and _may_train(row, data):
            movable[row.label].append(row)
    moved = {min(found, key=lambda row: row.id).group: label for label, found in movable.items()}
    notes = [f"label {label!r} had no row in training; one group of it was moved there" for label in movable]
    unknown = sorted({row.label for row in rows} - trained - set(movable))
    notes += [f"label {label!r} has only test rows, so no version can learn it" for label in unknown]
    return [
        replace(row, split="train") if row.group in moved and _may_train(row, data) else row for row in rows
    ], notes


def _report(rows: Sequence[Row], data: DataSection) -> JsonObject:
    by_text: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_text[canonical(row.text)].append(row)
    texts = list(by_text)
    near = near_duplicates(texts, data.near_duplicate_similarity)
    pairs = [(by_text[texts[a]][0], by_text[texts[b]][0], round(found, 3)) for a, b, found in near]
    across = [same for same in by_text.values() if len({row.split for row in same}) > 1]
    conflicts = [same for same in by_text.values() if len({row.label for row in same}) > 1]
    counts = Counter(row.label for row in rows)
    splits = Counter(row.split for row in rows)
    per_label = Counter((row.label, row.split) for row in rows)
    lengths = np.quantile([len(row.text) for row in rows], [0, 0.05, 0.5, 0.95, 1]).round().astype(int)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[row.group].add(row.split)
    return {
        "rows": len(rows),
        "splits": {split: splits[split] for split in SPLITS},
        "labels": {label: {split: per_label[label, split] for split in SPLITS} for label in sorted(counts)},
        "largest_over_smallest_label": round(max(counts.values()) / min(counts.values()), 2),
        "characters": dict(zip(("min", "p05", "median", "p95", "max"), lengths.tolist(), strict=True)),
        "near_duplicates": {
            "pairs": len(pairs),
            "across_splits": sum(a.split != b.split for a, b, _ in pairs),
            "listed": [[a.source, b.source, found] for a, b, found in pairs[:LISTED]],
        },
        "texts_in_more_than_one_split": _listed(across),
        "groups_in_more_than_one_split": sum(len(found) > 1 for found in groups.values()),
        "conflicting_labels": _listed(conflicts),
        "broken_texts": _listed([[row] for row in rows if is_broken(row.text)]),
    }


def _listed(found: list[list[Row]]) -> JsonObject:
    return {"count": len(found), "listed": [[row.source for row in rows] for rows in found[:LISTED]]}


def _remember(database: Engine, dataset: Dataset) -> None:
    with database.begin() as connection:
        known = connection.execute(select(datasets.c.id).where(datasets.c.id == dataset.id)).first()
        if known is None:
            values = {"id": dataset.id, "created_at": now(), "rows": len(dataset.rows)}
            connection.execute(insert(datasets).values(values))


def dataset_folder(project: Project) -> Path:
    """Where the project's datasets stand."""
    return project.kept / "datasets"
