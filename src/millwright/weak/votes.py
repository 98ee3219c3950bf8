"""What labelling functions say of the rows of unlabelled files that may teach, their texts masked."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from millwright.data.drafts import ROW_BITS, Masking, Wishes, file_drafts
from millwright.data.intake import checked_pieces
from millwright.data.table import ROW
from millwright.data.weak import pattern_of
from millwright.errors import BadInput
from millwright.privacy.gate import open_gate
from millwright.privacy.mask import masker
from millwright.project import Project
from millwright.settings import refuse_spans
from millwright.weak.functions import LabellingFunction

TEXT = "__text__"


@dataclass(frozen=True)
class Piece:
    """Some rows of a file: `rows` has TEXT and the file's columns ROW, subject, group, slices and consent;
    `votes` the labels by function of each, and `drafts` the same rows on their way into a dataset, without
    labels. `excluded` counts rows that may not teach by reason.
    """

    source: str
    rows: pl.DataFrame
    votes: list[dict[str, str]]
    drafts: pl.DataFrame
    excluded: Counter[str]


def cast_votes(
    project: Project,
    files: Sequence[Path],
    functions: Sequence[LabellingFunction],
    seen: Callable[[float], object],
) -> Iterator[Piece]:
    """Let every function look at every row that may teach.

    Args:
        project: an open project; its settings name the columns. That of the label is not looked at.
        files: unlabelled files.
        functions: what to ask.
        seen: called with the fraction of a file that was read.

    Yields:
        Pieces of the files in their order.

    Raises:
        NotFound: a file or a column of the settings is missing.
        BadInput: a file cannot be read, or a function failed.
    """
    refuse_spans(project.settings, "`millwright weak`")
    settings = project.settings
    data = settings.data.model_copy(update={"label": settings.data.text})  # there need be no label
    masking, wishes = Masking(masker(project)), Wishes(open_gate(project), settings.privacy.consent_column)
    wanted = [data.subject, data.group, *data.slices, wishes.column]
    if not files:
        raise BadInput("no unlabelled file was named; pass at least one, such as pile.csv")
    for path in files:
        source = os.path.relpath(path.resolve(), project.folder.resolve())
        for table in checked_pieces(path, data, seen, wishes.column):
            drafts, excluded = file_drafts(table, data, 0, only_test=False, masking=masking, wishes=wishes)
            rows = drafts.select(
                pl.col("text").alias(TEXT), (pl.col("place") % (1 << ROW_BITS)).cast(pl.Int64).alias(ROW)
            )
            own = [name for name in dict.fromkeys(wanted) if name in table.columns and name != data.text]
            rows = rows.join(table.frame.select(ROW, *own), on=ROW, how="left", maintain_order="left")
            reasons = Counter(excluded["reason"].to_list())
            yield Piece(source, rows, votes_on(functions, rows[TEXT].to_list()), drafts, reasons)


@dataclass
class Tally:
    """What was counted of pieces: `rows` that functions looked at, how many have each pattern of votes, and
    how many may not teach, by reason.
    """

    rows: int = 0
    patterns: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)

    def add(self, piece: Piece) -> list[str]:
        """Count a piece.

        Args:
            piece: rows and votes.

        Returns:
            The pattern of each row's votes.
        """
        patterns = [pattern_of(votes) for votes in piece.votes]
        self.rows += len(patterns)
        self.patterns.update(patterns)
        self.excluded.update(piece.excluded)
        return patterns


def votes_on(functions: Sequence[LabellingFunction], texts: Sequence[str]) -> list[dict[str, str]]:
    """The labels by function that functions give texts."""
    return [
        {function.name: label for function in functions if (label := function(text)) is not None}
        for text in texts
    ]


def count_sides(
    patterns: Mapping[str, Mapping[str, str]], counts: Mapping[str, int], name: str
) -> Counter[str]:
    """How many rows a function voted on, on how many of them others did too, and others another label."""
    found = Counter[str]()
    for pattern, said in patterns.items():
        if name in said:
            others = [label for other, label in said.items() if other != name]
            found["votes"] += counts[pattern]
            found["overlaps"] += counts[pattern] if others else 0
            found["conflicts"] += counts[pattern] if any(label != said[name] for label in others) else 0
    return found
