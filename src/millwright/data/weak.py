"""Weak rows: unlabelled texts with what labelling functions said of them, as `weak apply` kept it.

They stand in weak.jsonl beside millwright.toml: votes, not labels, so that the label model learns anew from
the rows that may teach each time a dataset is built. A dataset without a person is then the one that would
have been built had the person never been there. Weak rows teach and never measure.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from millwright.data.drafts import ROW_BITS, Masking, Wishes, file_drafts
from millwright.data.label_model import Votes, fit_accuracies, likeliest
from millwright.data.load import stream_table
from millwright.data.table import Table
from millwright.errors import BadInput, NoRows
from millwright.project import Project
from millwright.records import SPLITS

WEAK_FILE = "weak.jsonl"
VOTES, SOURCE = "weak_votes", "weak_source"  # columns of it, beside those of the settings
LEAST_PROBABILITY = 0.5  # a label that is less likely than that teaches nothing
TRAIN = SPLITS.index("train")


@dataclass(frozen=True)
class LabelModel:
    """What was learnt of labelling functions: an accuracy each, and a label for each pattern of votes.

    `accuracy` is None for a model of no vote. `said` maps a pattern, JSON as it stands in the file, to its
    likeliest label and the probability of it.
    """

    accuracy: Mapping[str, float]
    prior: Mapping[str, float]
    said: Mapping[str, tuple[str, float]]

    @property
    def labels(self) -> dict[str, str]:
        """The label of each pattern that is likely enough to teach."""
        return {pattern: label for pattern, (label, share) in self.said.items() if share > LEAST_PROBABILITY}


def learn_votes(patterns: Mapping[str, int], clean: Mapping[str, int]) -> LabelModel:
    """Fit the label model to patterns of votes.

    Args:
        patterns: how many rows have each pattern: a JSON object of labels by function.
        clean: how many rows that aren't weak have each label; their shares, each label counted once more, are
            the prior.

    Returns:
        The model; it has nothing to say where there is no pattern.

    Raises:
        BadInput: there are fewer than two labels, or a pattern is not one.
    """
    votes = {pattern: _parsed(pattern) for pattern in sorted(patterns)}
    functions = sorted({name for said in votes.values() for name in said})
    labels = sorted({*clean, *(label for said in votes.values() for label in said.values())})
    if not functions:
        return LabelModel({}, {}, {})
    count_C = np.array([clean.get(label, 0) + 1 for label in labels], dtype=np.float64)
    prior_C = count_C / count_C.sum()
    table = _table(list(votes.values()), functions, labels, [patterns[pattern] for pattern in votes])
    accuracy_F = fit_accuracies(table, len(functions), prior_C)
    label_P, best_P = likeliest(table, accuracy_F, prior_C)
    found = zip(votes, label_P.tolist(), best_P.tolist(), strict=True)
    return LabelModel(
        dict(zip(functions, accuracy_F.tolist(), strict=True)),
        dict(zip(labels, prior_C.tolist(), strict=True)),
        {pattern: (labels[label], share) for pattern, label, share in found if label >= 0},
    )


def _table(
    votes: Sequence[Mapping[str, str]], functions: Sequence[str], labels: Sequence[str], counts: Sequence[int]
) -> Votes:
    function = {name: place for place, name in enumerate(functions)}
    number = {label: place for place, label in enumerate(labels)}
    cells = [
        (place, function[name], number[label])
        for place, said in enumerate(votes)
        for name, label in said.items()
    ]
    pattern_V, function_V, label_V = np.array(cells, dtype=np.int64).reshape(-1, 3).T
    return Votes(pattern_V, function_V, label_V, np.array(counts, dtype=np.float64))


def pattern_of(votes: Mapping[str, str]) -> str:
    """Labels by function as the pattern under which they are counted."""
    return json.dumps(votes, ensure_ascii=False, sort_keys=True)


def _parsed(pattern: str) -> dict[str, str]:
    try:
        said = json.loads(pattern)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not all(isinstance(label, str) and label for label in said.values()):
        raise BadInput(
            f"{WEAK_FILE}: {VOTES} must be an object of labels by function, got {pattern[:60]!r}; run "
            "`millwright weak apply` again"
        )
    return said


def weak_drafts(
    project: Project, source: int, masking: Masking, wishes: Wishes, clean: Mapping[str, int]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """The rows of weak.jsonl that may teach, each with its likeliest label; none without that file.

    Args:
        project: an open project.
        source: their number among the sources.
        masking: what becomes of personal data; what was masked stays as it is.
        wishes: what people wish.
        clean: how many rows that aren't weak have each label.

    Yields:
        A draft frame, every row of it in training, and a frame of `row` and `reason`.

    Raises:
        BadInput: the file is not what `millwright weak apply` writes.
    """
    path, data = project.folder / WEAK_FILE, project.settings.data
    if not path.is_file():
        return
    counts = Counter[str]()
    for table in _tables(path):
        _check(table)
        reason = wishes.gate.reasons(*_people(table, data.subject, wishes.column), from_file=True)
        counts.update(dict(table.frame.filter(reason.is_null())[VOTES].value_counts().rows()))
    labels = learn_votes(counts, clean).labels
    for table in _tables(path):
        reason = wishes.gate.reasons(*_people(table, data.subject, wishes.column), from_file=True)
        label = pl.col(VOTES).replace_strict(labels, default="", return_dtype=pl.String)
        label = pl.when(reason.is_null()).then(label).otherwise(pl.lit("refused"))  # the reason is told then
        labelled = replace(table, frame=table.frame.with_columns(label.alias(data.label)))
        drafts, excluded = file_drafts(
            labelled, data, source, only_test=False, masking=masking, wishes=wishes
        )
        excluded = excluded.with_columns(
            pl.col("reason").replace({"empty label": "labelling functions are not sure enough"})
        )
        is_held = pl.col("split") != TRAIN
        held = drafts.filter(is_held).select(
            row=(pl.col("place") - (source << ROW_BITS)).cast(pl.Int64),
            reason=pl.lit("weak label in a group that is held out"),
        )
        yield drafts.filter(~is_held), pl.concat([excluded, held]).sort("row")


def _tables(path: Path) -> Iterator[Table]:
    """The pieces of weak.jsonl; none where an erasure took its last row."""
    with suppress(NoRows):
        yield from stream_table(path)


def _check(table: Table) -> None:
    if VOTES not in table.columns or SOURCE not in table.columns:
        raise BadInput(
            f"{WEAK_FILE} must have {VOTES} and {SOURCE} in each line; run `millwright weak apply` again, or "
            "`millwright weak clear`"
        )


def _people(table: Table, subject: str | None, wish: str | None) -> tuple[pl.Series, pl.Series]:
    """Whose each row is, null for nobody's, and what its consent column says."""

    def column(name: str | None) -> pl.Series:
        """A column's cells; empty ones where the table has no such column."""
        if name is not None and name in table.columns:
            return table.frame[name]
        return pl.Series([""] * len(table.frame), dtype=pl.String)

    owner = column(subject)
    return owner.set(owner == "", None), column(wish)


def weak_files(project: Project) -> list[str]:
    """weak.jsonl and the unlabelled files of which it was made, as paths from the project's folder."""
    path = project.folder / WEAK_FILE
    if not path.is_file():
        return []
    names: dict[str, None] = {WEAK_FILE: None}
    for table in _tables(path):
        _check(table)
        file = table.frame[SOURCE].str.strip_prefix("file:").str.replace(r":\d+$", "")
        names.update(dict.fromkeys(file.unique(maintain_order=True).to_list()))
    return list(names)
