"""How far annotators agree beyond chance, and what several labels of one row amount to."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Agreement on nominal labels: 1 is perfect, 0 is chance, below is worse than chance.

    Args:
        units: for each row, the labels that its annotators gave; rows with fewer than two are left out.

    Returns:
        Alpha; None where no row has two labels, 1 where only one label was ever given.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    pairable = [Counter(unit) for unit in units if len(unit) >= 2]
    if not pairable:
        return None
    totals: Counter[Hashable] = Counter()
    disagreed = 0.0
    for counts in pairable:
        size = sum(counts.values())
        totals.update(counts)
        disagreed += (size**2 - sum(count**2 for count in counts.values())) / (size - 1)
    size = sum(totals.values())
    expected = (size**2 - sum(count**2 for count in totals.values())) / (size - 1)
    return 1.0 if not expected else 1 - disagreed / expected


def adjudicated(labels: Sequence[str], needed: int) -> str | None:
    """The label of a row that enough annotators labelled and most of them agree on.

    Args:
        labels: one an annotator.
        needed: how many annotators a row should have.

    Returns:
        The label; None while there are fewer labels than needed, and where no label has a majority.
    """
    if len(labels) < needed:
        return None
    label, count = Counter(labels).most_common(1)[0]
    return label if 2 * count > len(labels) else None
