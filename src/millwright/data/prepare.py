"""Makes a dataset of a project's files and of what its users said: clean, check, split, seal.

Rows pass through in pieces, and what must be compared over all of them goes to a spill, so that memory
does not grow with the rows. Nothing is dropped silently: each row that is left out is listed with its file,
number and reason. Reports refer to rows by file and number, never by their text.
"""

from collections import Counter
from collections.abc import Iterator
from os.path import isfile

import numpy as np
import polars as pl
from sqlalchemy import Engine, insert, select

from millwright.data.arrange import Arrangement
from millwright.data.dataset import ROWS, Dataset, seal_dataset, write_lines
from millwright.data.dataset import dataset_folder as dataset_folder
from millwright.data.drafts import ROW_BITS, count_proposed
from millwright.data.drafts import feedback_rows as feedback_rows
from millwright.data.drafts import group_name as group_name
from millwright.data.drafts import rows_of as rows_of
from millwright.data.intake import Intake, excluded_lines, take_in
from millwright.data.repeats import Findings, Kept, Parts, count_split_groups, drop_repeats, examine
from millwright.data.sources import Sources
from millwright.data.span_report import check_span_labels, count_spans
from millwright.data.spill import Spill, spilling
from millwright.data.weak import WEAK_FILE
from millwright.errors import BadInput
from millwright.privacy.sealed_lines import LinesKey
from millwright.privacy.vault import open_vault
from millwright.progress import Progress, quiet
from millwright.project import WAIT_S, Project
from millwright.records import SPLITS, WEAK, JsonObject
from millwright.settings import SPANS
from millwright.store.database import now
from millwright.store.tables import datasets

MAX_LABELS = 5_000
FEEDBACK_ROW_BYTES = 300  # of a row that users' corrections made, as it would stand in a file
PART_BYTES = 8_000_000  # of the files, in each of the parts that are held in memory one by one
MOST_PARTS = 1_024
LISTED_AT_ONCE = 16_000_000
OUTDONE = "weak label where another stands"
_UNPACKED = {".gz": 4, ".parquet": 6}  # about how much larger such a file's content is


def prepare(project: Project, *, progress: Progress = quiet) -> Dataset:
    """Build the dataset version that the project's files and accepted feedback make now.

    Args:
        project: an open project.
        progress: called with a stage's name and the fraction done.

    Returns:
        The dataset; `report` says what was found.

    Raises:
        NotFound: a file or a column that millwright.toml names is missing.
        BadInput: the files cannot be learnt from: empty, one label, one row a label, numbers as text.
        CannotStore: the disk is full or read-only.
        Busy: an erasure or another preparation runs for longer than a minute.
    """
    with project.lock("prepare", WAIT_S):  # an erasure holds it: what it takes away must not come back
        return build_dataset(project, progress)


def build_dataset(project: Project, progress: Progress = quiet) -> Dataset:
    """`prepare` for who holds its lock already."""
    data = project.settings.data
    if not data.files and not (project.folder / WEAK_FILE).is_file():
        raise BadInput("data.files in millwright.toml is empty; list at least one file", field="data.files")
    parts = Parts(_count_parts(project), len(data.files) + len(data.test_files), bool(data.test_files))
    with spilling(project.kept) as spill:
        intake = take_in(project, spill, parts, lambda done: progress("read rows", done))
        progress("compare rows", 0.0)
        kept = drop_repeats(spill, parts)
        reasons = _reasons(intake, kept)
        has_spans = project.settings.project.task == SPANS
        if has_spans:
            units, moves = check_span_labels(kept, intake.labels, reasons)
        else:
            _check_labels(kept, intake.labels, reasons)
            units, moves = _keep_every_label_in_training(kept, intake.labels)
        findings = examine(spill, parts, units)
        progress("compare rows", 1.0)
        arranged = Arrangement(spill, parts, intake.sources, data, kept.texts)
        rows_file = spill.folder / ROWS
        key = LinesKey(open_vault(project))
        lines = arranged.lines(units, lambda done: progress("write rows", done))
        sha256 = write_lines(rows_file, lines, key if project.settings.privacy.seal_datasets else None)
        progress("find near duplicates", 0.0)
        report = {
            **(count_spans if has_spans else _counts)(findings, intake.labels),
            "characters": _quantiles(arranged.lengths),
            "near_duplicates": arranged.near_duplicates(lambda done: progress("find near duplicates", done)),
            "texts_in_more_than_one_split": _named(findings.across, findings.across_places, intake.sources),
            "groups_in_more_than_one_split": count_split_groups(spill, parts),
            "conflicting_labels": _named(findings.conflicts, findings.conflict_places, intake.sources),
            "broken_texts": _named(
                arranged.broken, [[place] for place in arranged.broken_places], intake.sources
            ),
            **({"weak": weak} if (weak := int(kept.labels["weak"].sum())) else {}),
            "excluded": reasons,
            "masked": dict(sorted(intake.masked.items())),
            "notes": [*intake.notes, *moves],
        }
        excluded = _excluded(spill, intake.sources)
        dataset = seal_dataset(dataset_folder(project), rows_file, sha256, report, excluded, key)
    _remember(project.database, dataset)
    return dataset


def _count_parts(project: Project) -> int:
    data = project.settings.data
    paths = [project.folder / name for name in (*data.files, *data.test_files)]
    paths.append(project.folder / WEAK_FILE)
    sizes = [path.stat().st_size * _UNPACKED.get(path.suffix.lower(), 1) for path in paths if isfile(path)]
    sizes.append(count_proposed(project) * FEEDBACK_ROW_BYTES)
    return min(MOST_PARTS, 1 + sum(sizes) // PART_BYTES)


def _check_labels(kept: Kept, labels: tuple[str, ...], reasons: dict[str, int]) -> None:
    counts = {labels[code]: count for code, count in kept.labels.select("code", "may_train").rows() if count}
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    if not counts:
        raise BadInput(f"no row is left to learn from ({why or 'all are test rows'}); mend or add rows")
    if len(counts) < 2:
        rest = f" that is left ({why})" if why else ""
        raise BadInput(
            f"every row{rest} has the label {next(iter(counts))!r}; a classifier needs at least two labels"
        )
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


def _keep_every_label_in_training(kept: Kept, labels: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """A label whose groups are all held out cannot be learnt: move one group of it to training.

    Rows of test_files are never moved; a label that only they have is noted.
    """
    untrained = kept.labels.filter(pl.col("training") == 0)
    movable = untrained.filter(pl.col("movable_unit").is_not_null()).sort("movable_place")
    notes = [
        f"label {labels[code]!r} had no row in training; one group of it was moved there"
        for code in movable["code"]
    ]
    unknown = untrained.filter(pl.col("movable_unit").is_null() & (pl.col("weak") == 0))["code"]
    notes += [
        f"label {label!r} has only test rows, so no version can learn it"
        for label in sorted(labels[code] for code in unknown)
    ]
    return movable["movable_unit"].to_list(), notes


def _counts(findings: Findings, labels: tuple[str, ...]) -> JsonObject:
    per_label = {(labels[code], SPLITS[split]): rows for code, split, rows in findings.labels.rows()}
    names = sorted({label for label, _ in per_label})
    table = {label: {split: per_label.get((label, split), 0) for split in SPLITS} for label in names}
    sums = [sum(counts.values()) for counts in table.values()]
    return {
        "rows": sum(sums),
        "splits": {split: sum(counts[split] for counts in table.values()) for split in SPLITS},
        "labels": table,
        "largest_over_smallest_label": round(max(sums) / min(sums), 2),
    }


def _quantiles(lengths: Counter[int]) -> JsonObject:
    """What numpy.quantile says of the lengths, from how often each was seen."""
    length_L = np.array(sorted(lengths))
    until_L = np.cumsum([lengths[length] for length in length_L.tolist()])
    found = {}
    for name, share in (("min", 0.0), ("p05", 0.05), ("median", 0.5), ("p95", 0.95), ("max", 1.0)):
        place = share * (until_L[-1] - 1)
        low, high = length_L[np.searchsorted(until_L, [int(place), int(np.ceil(place))], side="right")]
        found[name] = int(np.round(low + (high - low) * (place - int(place))))
    return found


def _named(count: int, places: list[list[int]], sources: Sources) -> JsonObject:
    return {"count": count, "listed": [[sources.of(place) for place in group] for group in places]}


def _reasons(intake: Intake, kept: Kept) -> dict[str, int]:
    dropped = {"exact duplicate": kept.repeats, OUTDONE: kept.outdone}
    return {**intake.excluded, **{reason: count for reason, count in dropped.items() if count}}


def _excluded(spill: Spill, sources: Sources) -> Iterator[bytes]:
    """Rows that were left out, as JSON lines: those that cannot be used, then those that repeat others."""
    for start in range(0, spill.size("unusable"), LISTED_AT_ONCE):
        stop = min(start + LISTED_AT_ONCE, spill.size("unusable"))
        yield spill.read("unusable", start, stop)
    for name in spill.names("repeats-"):
        repeats = spill.take_frame(name)
        assert repeats is not None
        repeats = repeats.sort("place")
        number, row = pl.col("place") // (1 << ROW_BITS), pl.col("place") % (1 << ROW_BITS)
        own, first = (sources.column(repeats[name]) for name in ("place", "first"))
        is_file, is_weak = number < len(sources.names), number > len(sources.names)
        is_outdone = is_weak & ~pl.col("first").str.starts_with(WEAK)
        yield excluded_lines(
            repeats.with_columns(own=own, first=first).select(
                file=pl.when(is_file)
                .then(pl.col("own").str.strip_prefix("file:").str.replace(r":\d+$", ""))
                .when(is_weak)
                .then(pl.lit(WEAK_FILE))
                .otherwise(pl.col("own")),
                row=pl.when(is_file | is_weak).then(row).otherwise(0),
                reason=pl.concat_str(
                    pl.when(is_outdone).then(pl.lit(f"{OUTDONE}: ")).otherwise(pl.lit("exact duplicate of ")),
                    pl.col("first"),
                ),
            )
        )


def _remember(database: Engine, dataset: Dataset) -> None:
    with database.begin() as connection:
        known = connection.execute(select(datasets.c.id).where(datasets.c.id == dataset.id)).first()
        if known is None:
            values = {"id": dataset.id, "created_at": now(), "rows": dataset.report["rows"]}
            connection.execute(insert(datasets).values(values))
