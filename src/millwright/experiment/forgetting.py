"""What a challenger forgot: labels and slices on which it is shown to be worse than the champion.

Shape suffixes: N rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput
from millwright.proportions import chance_of_at_least
from millwright.records import Row


@dataclass(frozen=True)
class Loss:
    """Held-out rows of one label or slice on which the challenger is worse.

    `before` and `after` are the accuracies on its `rows`; `p_value` is corrected for the number of
    labels and slices that were looked at.
    """

    name: str
    rows: int
    before: float
    after: float
    p_value: float

    @property
    def size(self) -> float:
        """How much accuracy was lost, in (0, 1]."""
        return self.before - self.after


def slices_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Which rows belong to each label and to each value of each slice column.

    Args:
        rows: held-out rows.

    Returns:
        Flags [N] by "label X" and "COLUMN X". A row without a column, such as one that a user made,
        belongs to none of its values; what all rows belong to is no slice.
    """
    kinds: dict[str, list[str | None]] = {"label": [row.label for row in rows]}
    for column in sorted({name for row in rows for name, _ in row.slices}):
        kinds[column] = [dict(row.slices).get(column) for row in rows]
    return {
        f"{kind} {value!r}": np.array([own == value for own in values])
        for kind, values in kinds.items()
        if len(set(values)) > 1
        for value in sorted({own for own in values if own is not None})
    }


def forgotten(
    correct_before_N: np.ndarray,
    correct_after_N: np.ndarray,
    slices: Mapping[str, np.ndarray],
    alpha: float,
) -> tuple[Loss, ...]:
    """Slices on which the challenger is right less often, beyond chance.

    Each slice gets the exact one-sided McNemar test for harm; Holm's procedure keeps the chance that
    any slice at all is named wrongly at `alpha` at most, however the slices overlap. Slices of so few
    rows that losing all of them would be no evidence are not tested, and take no power from the others.

    Args:
        correct_before_N: whether the champion was right, a row each.
        correct_after_N: whether the challenger was right, in the same order.
        slices: which rows belong to each.
        alpha: the chance of a false name, in (0, 1).

    Returns:
        The losses, the largest first.

    Raises:
        BadInput: a slice's flags are not one a row.

    Source: McNemar 1947, Psychometrika 12, 153-157; Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    before_N, after_N = np.asarray(correct_before_N, dtype=bool), np.asarray(correct_after_N, dtype=bool)
    found = []
    for name, flag_N in slices.items():
        if len(flag_N) != len(before_N) or len(after_N) != len(before_N):
            raise BadInput(
                f"slice {name!r} has {len(flag_N)} flags for {len(before_N)} and {len(after_N)} answers; "
                "pass one a row for each"
            )
        own_before, own_after = before_N[flag_N], after_N[flag_N]
        if 0.5 ** len(own_before) <= alpha:
            p_value = _harm(own_before, own_after)
            found.append(Loss(name, len(own_before), own_before.mean(), own_after.mean(), p_value))
    shown = [loss for loss in _holm(found) if loss.p_value <= alpha]
    return tuple(sorted(shown, key=lambda loss: (-loss.size, loss.name)))


def _harm(before_N: np.ndarray, after_N: np.ndarray) -> float:
    only_before, only_after = int((before_N & ~after_N).sum()), int((after_N & ~before_N).sum())
    return chance_of_at_least(only_before, only_before + only_after)


def _holm(losses: Sequence[Loss]) -> list[Loss]:
    """The same with p-values corrected: the k-th smallest of m times m - k + 1, never falling."""
    highest, found = 0.0, []
    for place, loss in enumerate(sorted(losses, key=lambda loss: loss.p_value)):
        highest = max(highest, min(1.0, loss.p_value * (len(losses) - place)))
        found.append(Loss(loss.name, loss.rows, float(loss.before), float(loss.after), highest))
    return found
