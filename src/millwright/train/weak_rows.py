"""Whether rows that labelling functions labelled may teach: only where heads are shown to gain by them.

Shape suffixes: N rows, D features, C labels, W weak rows, R deals of rows into folds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from millwright.proportions import chance_of_at_least
from millwright.records import JsonObject
from millwright.train.cross_validation import FOLDS, cross_validate
from millwright.train.heads import DEFAULT_STRENGTH

# Neither a needless nor a missing use is worse, so the higher share would do; but heads of cross-validation
# have fewer labelled rows than the one that serves, which favours weak rows: these must be clearly ahead.
MOST_CHANCE = 0.25
MOST_JUDGED = 5_000
DEALS, OFTEN = 3, 1_000  # up to so many labelled rows are judged several times, by heads of other folds
TOO_FEW = 10  # labelled rows: with fewer nothing can be shown, and weak rows are what there is


@dataclass(frozen=True)
class Taught:
    """Rows that teach: features, label numbers, groups."""

    feature_ND: np.ndarray
    truth_N: np.ndarray
    group_N: Sequence[str]


@dataclass(frozen=True)
class WeakUse:
    """Which weak rows teach, by their place, and why.

    `way` is "all", "few" (of each label at most as many as labels have rows on average) or "none". Of
    `judged` rows, heads without weak rows were right on `without` and with them on `with_weak`, in cross-
    validation; the mean of several where rows are few.
    """

    rows: int
    taken: tuple[int, ...]
    way: str
    better: str
    judged: int
    without: int
    with_weak: int
    p_value: float | None
    why: str

    def to_json(self) -> JsonObject:
        """The figures, rows taken as their number."""
        return {**asdict(self), "taken": len(self.taken)}


def use_of_weak_rows(clean: Taught, weak: Taught, name_CD: np.ndarray) -> WeakUse:
    """Compare heads with and without weak rows on the same rows that aren't weak, and decide.

    Each row is judged by heads that saw nothing of its group, if its label has rows of another group. There
    are as many folds as labels have rows, five at most, so that a head lacks the same share of each label:
    were the judged label alone to lack a row, as with five folds of two rows a label, it would lose to all
    others, and weak rows would win by making up for that. Of two ways to use weak rows, the one that is right
    more often is compared with none by an exact one-sided McNemar test, and taken where chance would bring as
    much no more often than MOST_CHANCE.

    Args:
        clean: training and validation rows in canonical order.
        weak: weak rows, in canonical order.
        name_CD: features of the labels' names that teach too; may be empty.

    Returns:
        What to do.

    Source: McNemar 1947, Psychometrika 12, 153-157.
    """
    total, count = len(weak.truth_N), len(clean.truth_N)
    everything = tuple(range(total))
    if count < TOO_FEW:
        why = f"all {total:,} teach: {count} labelled rows are too few to tell whether they help"
        return WeakUse(total, everything, "all", "all", 0, 0, 0, None, why)
    can_judge_N = _can_judge(clean)
    if can_judge_N.sum() < TOO_FEW:
        told = "too few labels have two labelled rows to tell whether they help"
        return WeakUse(total, (), "none", "none", 0, 0, 0, None, f"none of {total:,} teaches: {told}")
    mean, folds = count / len(set(clean.truth_N.tolist())), _folds(clean, can_judge_N)
    ways = {"all": everything, "few": few_of_each(weak.truth_N, max(1, round(mean)))}
    judged = {"none": (), "all": everything, "few": _as_few(weak, mean, folds)}
    right = {
        name: _right(clean, weak, taken, name_CD, folds)[:, can_judge_N] for name, taken in judged.items()
    }
    way = max(ways, key=lambda name: (int(right[name].sum()), name))
    before_RN, after_RN = right["none"], right[way]
    gained, lost = _a_deal(after_RN & ~before_RN), _a_deal(before_RN & ~after_RN)
    p_value = chance_of_at_least(gained, gained + lost)
    helps = p_value <= MOST_CHANCE
    rows, figures = before_RN.shape[1], (_a_deal(before_RN), _a_deal(after_RN), p_value)
    shares = (
        f"heads are right on {figures[1] / rows:.1%} of {rows:,} labelled rows with {len(judged[way]):,} "
        f"weak rows and on {figures[0] / rows:.1%} without, p = {p_value:.2g}"
    )
    if helps:
        why = f"{len(ways[way]):,} of {total:,} teach: {shares}"
        return WeakUse(total, ways[way], way, way, rows, *figures, why)
    return WeakUse(total, (), "none", way, rows, *figures, f"none of {total:,} teaches: {shares}")


def _can_judge(clean: Taught) -> np.ndarray:
    """Of the rows that are judged, those whose label has rows of another group too.

    A row that is the only one of its label is never right without weak rows, whatever heads are worth.
    """
    groups = _groups(clean)
    return np.array([len(groups[label]) > 1 for label in clean.truth_N[:MOST_JUDGED].tolist()])


def _groups(clean: Taught) -> dict[int, set[str]]:
    """The groups of each label's rows."""
    groups: dict[int, set[str]] = {}
    for label, group in zip(clean.truth_N.tolist(), clean.group_N, strict=True):
        groups.setdefault(label, set()).add(group)
    return groups


def few_of_each(truth_W: np.ndarray, most: int) -> tuple[int, ...]:
    """Places of the first weak rows of each label, at most `most` of one."""
    seen: Counter[int] = Counter()
    found = []
    for place, label in enumerate(truth_W.tolist()):
        if seen[label] < most:
            seen[label] += 1
            found.append(place)
    return tuple(found)


def _as_few(weak: Taught, mean: float, folds: int) -> tuple[int, ...]:
    """Few weak rows for heads that lack a fold: as many to a labelled row as the one that serves gets."""
    return few_of_each(weak.truth_N, max(1, round(mean * (folds - 1) / folds)))


def _folds(clean: Taught, can_judge_N: np.ndarray) -> int:
    """As many as the labels that are judged have groups, by their median; from two to FOLDS."""
    groups = _groups(clean)
    labels = set(clean.truth_N[:MOST_JUDGED][can_judge_N].tolist())
    return int(np.clip(np.median([len(groups[label]) for label in labels]), 2, FOLDS))


def _a_deal(flag_RN: np.ndarray) -> int:
    """How many rows of a deal, on average."""
    return round(int(flag_RN.sum()) / len(flag_RN))


def _right(clean: Taught, weak: Taught, taken: Sequence[int], name_CD: np.ndarray, folds: int) -> np.ndarray:
    """Whether heads that these weak rows teach too are right on each judged row, a line a deal."""
    some, rest, places = slice(MOST_JUDGED), slice(MOST_JUDGED, None), np.array(taken, dtype=np.int64)
    also = (
        np.concatenate([clean.feature_ND[rest], weak.feature_ND[places], name_CD]),
        np.concatenate([clean.truth_N[rest], weak.truth_N[places], np.arange(len(name_CD))]),
    )
    also_group = [*clean.group_N[rest], *(weak.group_N[place] for place in taken), *[""] * len(name_CD)]
    return np.stack(
        [
            cross_validate(
                clean.feature_ND[some],
                clean.truth_N[some],
                clean.group_N[some],
                strength=DEFAULT_STRENGTH,
                also=also,
                also_group=also_group,
                folds=folds,
                deal=deal,
            )
            for deal in range(DEALS if len(clean.truth_N) <= OFTEN else 1)
        ]
    )
