"""What the report of a dataset says of rows whose label is the spans of their text."""

from collections import Counter

from millwright.data.repeats import Findings, Kept
from millwright.errors import BadInput
from millwright.modalities.spans import read_spans
from millwright.records import SPLITS, JsonObject

MOST_SPAN_LABELS = 200  # each label brings two tags, and what follows what is a table of all pairs


def check_span_labels(
    kept: Kept, written: tuple[str, ...], reasons: dict[str, int]
) -> tuple[list[int], list[str]]:
    """Refuse rows that nothing can be learnt from.

    Args:
        kept: what is left once repeats are dropped.
        written: each row's label by its code: all of its spans.
        reasons: how many rows were left out, and why.

    Returns:
        Groups to move to training, which are none, and a note for each label that only held-out rows have.

    Raises:
        BadInput: no row or no span is left, or there are too many labels.
    """
    counts, learnt = Counter[str](), Counter[str]()
    rows = 0
    for code, may_train, training in kept.labels.select("code", "may_train", "training").rows():
        rows += may_train
        for span in read_spans(written[code]):
            counts[span.label] += may_train
            learnt[span.label] += training
    if not rows:
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise BadInput(f"no row is left to learn from ({why or 'all are test rows'}); mend or add rows")
    if not any(counts.values()):
        raise BadInput(f"none of {rows:,} rows has a span; mark what is to be found")
    if len(counts) > MOST_SPAN_LABELS:
        raise BadInput(
            f"spans have {len(counts):,} labels, the limit is {MOST_SPAN_LABELS}; merge rare ones, or check "
            "that labels are kinds and not the words themselves"
        )
    notes = [
        f"label {label!r} has no span in training rows, so no version can learn it"
        for label in sorted(counts)
        if not learnt[label]
    ]
    return [], notes


def count_spans(findings: Findings, written: tuple[str, ...]) -> JsonObject:
    """Rows by split, and spans by label and split.

    Args:
        findings: what was found in the rows that are kept.
        written: each row's label by its code: all of its spans.

    Returns:
        The report's rows, splits, labels, balance, and how many spans there are.
    """
    rows, spans, bare = Counter[str](), Counter[tuple[str, str]](), 0
    for code, number, count in findings.labels.select("code", "split", "rows").rows():
        split, own = SPLITS[number], read_spans(written[code])
        rows[split] += count
        bare += count * (not own)
        for span in own:
            spans[span.label, split] += count
    table = {
        label: {split: spans[label, split] for split in SPLITS}
        for label in sorted({label for label, _ in spans})
    }
    sums = [sum(counts.values()) for counts in table.values()]
    return {
        "rows": sum(rows.values()),
        "splits": {split: rows[split] for split in SPLITS},
        "labels": table,
        "largest_over_smallest_label": round(max(sums) / min(sums), 2),
        "spans": {"count": sum(sums), "rows_without": bare},
    }
