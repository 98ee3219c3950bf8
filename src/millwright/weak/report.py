"""What labelling functions are worth: how much they cover, how often they differ, how often they are right.

Accuracy is told twice: as the label model estimates it from the functions' agreement, and as it is on
labelled rows, where there are any. Test rows are never looked at.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from millwright.data.dataset import Dataset
from millwright.data.drafts import ids_of
from millwright.data.prepare import prepare
from millwright.data.weak import LEAST_PROBABILITY, TRAIN, LabelModel, learn_votes, pattern_of
from millwright.modalities.text import canonical
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.proportions import wilson
from millwright.records import WEAK, Interval, JsonObject, Row
from millwright.weak.functions import LabellingFunction
from millwright.weak.votes import Tally, cast_votes, count_sides, votes_on

NO_VOTE = "{}"
KEPT = ("text", "group", "canonical", "split")  # of a draft


@dataclass(frozen=True)
class FunctionReport:
    """One labelling function.

    `coverage`, `overlaps` and `conflicts` are shares of the unlabelled rows: it voted; others did too; others
    gave another label. `chance` is the accuracy of guessing the labels that it gives. `right` of `judged`
    labelled rows had the label that it gave; `measured` is that share with Wilson's 95 % interval.
    """

    name: str
    labels: tuple[str, ...]
    coverage: float
    overlaps: float
    conflicts: float
    estimated: float | None
    chance: float | None
    judged: int
    right: int
    measured: Interval | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class WeakReport:
    """All functions, and what they come to together.

    `covered` of `rows` got a vote and `labelled` a label that is likely enough. `excluded` counts rows that
    may not teach by reason. On labelled rows with a vote, the combined label was right on `right` of
    `judged`, and that of the majority on `majority_right`.
    """

    rows: int
    covered: int
    labelled: int
    labels: dict[str, int]
    excluded: dict[str, int]
    functions: tuple[FunctionReport, ...]
    judged: int
    right: int
    majority_right: int

    def to_json(self) -> JsonObject:
        """Everything, as JSON."""
        return asdict(self)


def survey_weak(
    project: Project,
    files: Sequence[Path],
    functions: Sequence[LabellingFunction],
    progress: Progress = quiet,
) -> tuple[WeakReport, list[Row]]:
    """Ask the functions about unlabelled files and about labelled rows, and compare.

    Args:
        project: an open project; its training and validation rows that aren't weak judge, if it has any.
        files: unlabelled files.
        functions: what to ask.
        progress: called with a stage's name and the fraction done.

    Returns:
        The report; and the rows of which training would decide whether the weak ones teach: labelled training
        and validation rows and, as `prepare` would make them, weak ones.

    Raises:
        NotFound: a file or a column is missing.
        BadInput: a file or a function cannot be used.
        Busy: an erasure or another preparation runs for longer than a minute.
    """
    tally, drafts = Tally(), list[pl.DataFrame]()
    for piece in cast_votes(project, files, functions, lambda done: progress("ask functions", done)):
        drafts.append(_voted(piece.drafts, tally.add(piece)))
    dataset = prepare(project, progress=progress) if project.settings.data.files else None
    known = _labelled(dataset)
    found = summarise(tally, functions, known)
    taken = {canonical(row.text) for row in dataset.rows if not row.is_weak} if dataset else set[str]()
    weak = _weak_rows(pl.concat(drafts), _likely_labels(tally.patterns, known), taken) if drafts else []
    return found, sorted([*known, *weak], key=lambda row: row.id)


def _voted(drafts: pl.DataFrame, patterns: Sequence[str]) -> pl.DataFrame:
    """Training rows of a piece that some function voted on, with the pattern of their votes."""
    voted = drafts.with_columns(pl.Series("pattern", patterns, dtype=pl.String))
    return voted.filter(pl.col("split") == TRAIN, pl.col("pattern") != NO_VOTE).select(*KEPT, "pattern")


def _likely_labels(counts: Mapping[str, int], known: Sequence[Row]) -> dict[str, str]:
    """The label of each pattern of votes that is likely enough to teach."""
    voted = {pattern: count for pattern, count in counts.items() if pattern != NO_VOTE}
    return learn_votes(voted, Counter(row.label for row in known)).labels


def _weak_rows(voted: pl.DataFrame, labels: Mapping[str, str], taken: set[str]) -> list[Row]:
    """What `prepare` would make of rows with votes: each text once, and none that is `taken`."""
    voted = voted.filter(pl.col("pattern").is_in(list(labels)), ~pl.col("canonical").is_in(list(taken)))
    voted = voted.unique("canonical", keep="first", maintain_order=True)
    label = pl.col("pattern").replace_strict(dict(labels), return_dtype=pl.String)
    voted = voted.with_columns(label=label)
    rows = zip(ids_of(voted).tolist(), voted.select("text", "label", "group").rows(), strict=True)
    return [
        Row(f"{number:016x}", text, label, "train", f"{WEAK}{place}", group)
        for place, (number, (text, label, group)) in enumerate(rows)
    ]


def labelled_rows(project: Project, progress: Progress = quiet) -> list[Row]:
    """Training and validation rows that somebody labelled; none if the project has no labelled file."""
    return _labelled(prepare(project, progress=progress) if project.settings.data.files else None)


def _labelled(dataset: Dataset | None) -> list[Row]:
    if dataset is None:
        return []
    return [row for row in dataset.split("train", "validation") if not row.is_weak]


def summarise(tally: Tally, functions: Sequence[LabellingFunction], known: Sequence[Row]) -> WeakReport:
    """The report of votes that were cast.

    Args:
        tally: the votes.
        functions: the functions.
        known: labelled rows.

    Returns:
        The report.
    """
    clean = Counter(row.label for row in known)
    voted = {pattern: count for pattern, count in tally.patterns.items() if pattern != NO_VOTE}
    parsed: dict[str, dict[str, str]] = {pattern: json.loads(pattern) for pattern in voted}
    on_known = votes_on(functions, [row.text for row in known])
    truth = [row.label for row in known]
    judged = [(votes, label) for votes, label in zip(on_known, truth, strict=True) if votes]
    # Labelled rows judge; the label model counts patterns that they alone have as if no row had them.
    model = learn_votes({**dict.fromkeys((pattern_of(votes) for votes, _ in judged), 0), **voted}, clean)
    made = tuple(
        _one(
            function.name,
            tally.rows,
            parsed,
            voted,
            model,
            list(zip(on_known, truth, strict=True)),
            set(clean),
        )
        for function in functions
    )
    labels = Counter[str]()
    for pattern, label in model.labels.items():
        labels[label] += voted.get(pattern, 0)
    return WeakReport(
        rows=tally.rows,
        covered=sum(voted.values()),
        labelled=sum(labels.values()),
        labels={label: count for label, count in labels.most_common() if count},
        excluded=dict(tally.excluded),
        functions=made,
        judged=len(judged),
        right=sum(model.said[pattern_of(votes)][0] == label for votes, label in judged),
        majority_right=sum(majority(votes) == label for votes, label in judged),
    )


def majority(votes: Mapping[str, str]) -> str:
    """The label that most functions gave; of several the first in the alphabet."""
    counts = Counter(votes.values())
    return min(counts, key=lambda label: (-counts[label], label))


def _one(
    name: str,
    rows: int,
    parsed: Mapping[str, Mapping[str, str]],
    counts: Mapping[str, int],
    model: LabelModel,
    known: Sequence[tuple[Mapping[str, str], str]],
    clean: set[str],
) -> FunctionReport:
    sides = count_sides(parsed, counts, name)
    labels = Counter[str]()
    for pattern, said in parsed.items():
        if name in said:
            labels[said[name]] += counts[pattern]
    judged = [said[name] == truth for said, truth in known if name in said]
    chance = sum(model.prior[label] * count for label, count in labels.items()) / max(1, sides["votes"])
    estimated = model.accuracy[name] if sides["votes"] else None
    measured = _interval(sum(judged), len(judged)) if judged else None
    flags = []
    if not sides["votes"]:
        flags.append("never votes")
    elif measured is not None and measured.high < chance:
        flags.append("worse than chance on labelled rows")
    elif estimated is not None and estimated < chance:
        flags.append("worse than chance by the label model")
    elif estimated is not None and estimated < LEAST_PROBABILITY:
        flags.append("wrong more often than right by the label model: alone it gives no label")
    if clean and (new := sorted(set(labels) - clean)):
        flags.append(f"no labelled row has {', '.join(map(repr, new))}")
    return FunctionReport(
        name=name,
        labels=tuple(sorted(labels)),
        coverage=sides["votes"] / max(1, rows),
        overlaps=sides["overlaps"] / max(1, rows),
        conflicts=sides["conflicts"] / max(1, rows),
        estimated=estimated,
        chance=chance if sides["votes"] else None,
        judged=len(judged),
        right=sum(judged),
        measured=measured,
        flags=tuple(flags),
    )


def _interval(right: int, judged: int) -> Interval:
    return Interval(right / judged, *wilson(right, judged))
