"""Whether a challenger replaces the champion: better on the same held-out rows, and through every gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from millwright.experiment.compare import Comparison, compare_paired
from millwright.experiment.forgetting import Loss, forgotten
from millwright.experiment.gates import Changes, blocked_by
from millwright.settings import TurnSection

MOST_NAMED = 3
Decider = Literal["users", "rows"]


@dataclass(frozen=True)
class Verdict:
    """What was decided, on what figures, and why.

    `losses` are labels and slices shown to be worse, `blocked` the gates that were not passed, in words.
    """

    promotes: bool
    reason: str
    comparison: Comparison
    losses: tuple[Loss, ...]
    blocked: tuple[str, ...]


def judge(
    correct_before_N: np.ndarray,
    correct_after_N: np.ndarray,
    slices: Mapping[str, np.ndarray],
    settings: TurnSection,
    *,
    changes: Changes | None = None,
    decide_by: Decider = "rows",
) -> Verdict:
    """Decide by which held-out rows each version got right, and by what else differs.

    Args:
        correct_before_N: whether the champion was right, a row each.
        correct_after_N: whether the challenger was right, in the same order.
        slices: which rows belong to each label and slice.
        settings: how sure one must be, and how much a slice may lose.
        changes: what else differs between the two; None looks at answers alone.
        decide_by: "rows" decides here, "users" leaves a challenger that passes the gates to an experiment.

    Returns:
        The verdict. A challenger is promoted if the paired test shows it to be better, no slice is shown to
        lose more than `max_slice_loss`, and it passes the other gates.

    Raises:
        BadInput: no rows, or not the same number.
    """
    comparison = compare_paired(correct_before_N, correct_after_N)
    losses = forgotten(correct_before_N, correct_after_N, slices, settings.alpha)
    blocked = blocked_by(comparison, changes, settings.alpha) if changes is not None else ()
    too_large = [loss for loss in losses if loss.size > settings.max_slice_loss]
    if too_large:
        told = f"turn.max_slice_loss = {settings.max_slice_loss} is exceeded by {too_large[0].name}"
        blocked = (f"slices: {told}", *blocked)
    is_better = comparison.p_value <= settings.alpha and comparison.difference.value > 0
    promotes = is_better and not blocked and decide_by == "rows"
    head = _head(promotes, is_better, blocked, settings.alpha, decide_by)
    reason = f"{head}: {_figures(comparison)}{_named(losses)}"
    return Verdict(promotes, reason, comparison, losses, blocked)


def _head(promotes: bool, is_better: bool, blocked: Sequence[str], alpha: float, decide_by: Decider) -> str:
    if promotes:
        return "promoted"
    if blocked:
        better = "better on the whole, but " if is_better else ""
        return f"kept the champion: {better}{'; '.join(blocked)}"
    if decide_by == "users":
        return "passed the gates, now users decide"
    return f"kept the champion: not shown to be better at alpha = {alpha}"


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
