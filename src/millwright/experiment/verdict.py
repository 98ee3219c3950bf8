"""Whether a challenger replaces the champion: better on the same held-out rows, and nothing forgotten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millwright.experiment.compare import Comparison, compare_paired
from millwright.experiment.forgetting import Loss, forgotten
from millwright.settings import TurnSection

MOST_NAMED = 3


@dataclass(frozen=True)
class Verdict:
    """What was decided, on what figures, and why; `losses` are labels and slices shown to be worse."""

    promotes: bool
    reason: str
    comparison: Comparison
    losses: tuple[Loss, ...]


def judge(
    correct_before_N: np.ndarray,
    correct_after_N: np.ndarray,
    slices: Mapping[str, np.ndarray],
    settings: TurnSection,
) -> Verdict:
    """Decide by which held-out rows each version got right.

    Args:
        correct_before_N: whether the champion was right, a row each.
        correct_after_N: whether the challenger was right, in the same order.
        slices: which rows belong to each label and slice.
        settings: how sure one must be, and how much a slice may lose.

    Returns:
        The verdict. A challenger is promoted if the paired test shows it to be better and no slice is
        shown to lose more than `max_slice_loss`.

    Raises:
        BadInput: no rows, or not the same number.
    """
    comparison = compare_paired(correct_before_N, correct_after_N)
    losses = forgotten(correct_before_N, correct_after_N, slices, settings.alpha)
    is_better = comparison.p_value <= settings.alpha and comparison.difference.value > 0
    too_large = [loss for loss in losses if loss.size > settings.max_slice_loss]
    if is_better and too_large:
        head = f"kept the champion: better on the whole, but turn.max_slice_loss = {settings.max_slice_loss} "
        head += f"is exceeded by {too_large[0].name}"
    elif is_better:
        head = "promoted"
    else:
        head = f"kept the champion: not shown to be better at alpha = {settings.alpha}"
    reason = f"{head}: {_figures(comparison)}{_named(losses)}"
    return Verdict(is_better and not too_large, reason, comparison, losses)


def _figures(comparison: Comparison) -> str:
    return (
        f"{comparison.before.value:.1%} before, {comparison.after.value:.1%} after on the same rows "
        f"(difference {comparison.difference.value:+.1%}, 95 % between {comparison.difference.low:+.1%} and "
        f"{comparison.difference.high:+.1%}; {comparison.only_after} rows only the challenger got right, "
        f"{comparison.only_before} only the champion; p = {comparison.p_value:.2g})"
    )


def _named(losses: Sequence[Loss]) -> str:
    if not losses:
        return ""
    told = [
        f"{loss.name} {loss.before:.0%} to {loss.after:.0%} of {loss.rows} rows, p = {loss.p_value:.2g}"
        for loss in losses[:MOST_NAMED]
    ]
    more = f"; and {len(losses) - MOST_NAMED} more" if len(losses) > MOST_NAMED else ""
    return f"; worse on {'; '.join(told)}{more}"
