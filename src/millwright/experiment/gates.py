"""What a challenger must pass before any user meets it."""

from dataclasses import dataclass

from millwright.experiment.compare import Comparison
from millwright.proportions import chance_of_at_least

MAX_CALIBRATION_LOSS = 0.05
MAX_SLOWDOWN = 3.0
MAX_GROWTH = 4.0


@dataclass(frozen=True)
class Changes:
    """What changes from champion to challenger beside accuracy.

    Calibration errors are those on the same held-out rows; `slowdown` is seconds a text and `growth` bytes
    of the version's files, each over the champion's; `barred_rows` taught it though the people whose they
    are may not teach any more. `members_found` is the share of its rows that an audit of membership found at
    1 % false accusations, None without an audit; more than `most_found` are too many.
    """

    calibration_before: float
    calibration_after: float
    slowdown: float
    growth: float
    barred_rows: int
    members_found: float | None = None
    most_found: float = 1.0


def blocked_by(comparison: Comparison, changes: Changes, alpha: float) -> tuple[str, ...]:
    """The gates that a challenger does not pass, in words.

    Args:
        comparison: champion and challenger on the same held-out rows.
        changes: what else differs.
        alpha: highest p-value at which a challenger is shown to be worse.

    Returns:
        A reason a gate; empty where the challenger may meet users.
    """
    found = []
    discordant = comparison.only_before + comparison.only_after
    worse = chance_of_at_least(comparison.only_before, discordant)
    if worse <= alpha:
        found.append(f"quality: shown to be worse (p = {worse:.2g})")
    before, after = changes.calibration_before, changes.calibration_after
    if after - before > MAX_CALIBRATION_LOSS:
        limit = f"it may rise by {MAX_CALIBRATION_LOSS:g}"
        found.append(f"calibration: the error rose from {before:.3f} to {after:.3f}, {limit}")
    if changes.slowdown > MAX_SLOWDOWN:
        limit = f"it may be {MAX_SLOWDOWN:g} times"
        found.append(f"latency: {changes.slowdown:.1f} times slower, {limit}")
    if changes.growth > MAX_GROWTH:
        limit = f"it may be {MAX_GROWTH:g} times"
        found.append(f"size: {changes.growth:.1f} times as large, {limit}")
    if changes.barred_rows:
        found.append(f"privacy: {changes.barred_rows} rows of people who may not teach any more taught it")
    if changes.members_found is not None and changes.members_found > changes.most_found:
        limit = f"at most {changes.most_found:.1%} may be"
        found.append(f"membership: {changes.members_found:.1%} of its rows are found at 1 % false, {limit}")
    return tuple(found)
