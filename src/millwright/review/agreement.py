"""How far annotators agree beyond chance, and what several labels of one row amount to."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

EXPECTED_RIGHT, WORTH_ROWS = 0.8, 5  # of an annotator of whom nothing is known, and for how many gold rows
LEAST_SURE = 0.75


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


def weight_of(right: int, gold: int, labels: int) -> float:
    """How much an annotator's label says, by the gold rows: the log of the odds that it is right.

    Args:
        right: gold rows that the annotator labelled rightly.
        gold: gold rows that the annotator labelled.
        labels: how many labels there are; wrong ones are taken to be equally likely.

    Returns:
        Zero where it says no more than a guess; without gold rows the same of everybody.

    Source: Dawid and Skene 1979, with one parameter an annotator and a Beta prior.
    """
    accuracy = (right + EXPECTED_RIGHT * WORTH_ROWS) / (gold + WORTH_ROWS)
    return max(0.0, math.log(accuracy * max(1, labels - 1) / (1 - accuracy)))


def adjudicated(labels: Mapping[str, str], needed: int, weights: Mapping[str, float]) -> str | None:
    """The label of a row that enough annotators labelled and on which they agree, each by weight.

    Args:
        labels: by annotator.
        needed: how many annotators a row should have.
        weights: of each annotator, from `weight_of`.

    Returns:
        The label; None while there are fewer labels than needed, and where none has the greater part of the
        weight and a chance of 75 % among the labels that were given. Of annotators of one weight, that is
        their majority where the weight is log 3 or more, as without gold rows; below it takes a larger one.
    """
    if len(labels) < needed:
        return None
    given = dict.fromkeys(labels.values(), 0.0)
    for annotator, label in labels.items():
        given[label] += weights[annotator]
    label = max(given, key=lambda one: given[one])
    chance = 1 / sum(math.exp(weight - given[label]) for weight in given.values())
    return label if 2 * given[label] > sum(given.values()) and chance >= LEAST_SURE else None
