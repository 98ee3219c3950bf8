"""Rows whose label is the spans of their text: recognised, cleaned, masked; the spans follow their text."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import polars as pl

from millwright.data.table import Table
from millwright.errors import BadInput, one_of
from millwright.modalities.places import Round, clean_with_edits, follow
from millwright.modalities.spans import (
    LabelledSpan,
    check_spans,
    is_marked,
    read_row,
    trimmed,
    write_spans,
)
from millwright.privacy.detect import detector
from millwright.privacy.entities import ENTITIES
from millwright.privacy.mask import Masker
from millwright.settings import SPANS, Policy, Task

SPAN_NAMES = ("spans", "entities", "annotations", "tags", "ner_tags", "labels", "label")
TOKEN_NAMES = ("tokens", "words", "text", "sentence", "full_text")
LOOKED_AT = 20  # rows
TASKS: tuple[Task, ...] = ("text-classification", SPANS)
MASKED_AT = 2_000  # rows by which it is decided what may stay unmasked
KEPT_FROM = 0.1  # share of what is found of an entity that spans mark, from which on it is kept


def recognise_task(
    table: Table, task: str | None, text: str | None, label: str | None
) -> tuple[Task, str | None, str | None, tuple[str, ...]]:
    """What a model of a file's rows is to do.

    Args:
        table: a loaded file.
        task: the task, if it was named.
        text: the column of texts or tokens, if it was named.
        label: the column of spans or tags, if it was named.

    Returns:
        The task; the columns where spans are to be found, as they came otherwise; a sentence for what was
        recognised.

    Raises:
        NotFound: a name is not known.
        BadInput: spans are to be found, and no two columns hold texts and spans.
    """
    if task is not None:
        one_of("task", task, TASKS)
    for name in (text, label):
        if name is not None:
            one_of(f"column in {table.path.name}", name, table.columns)
    pair = None if task == TASKS[0] else _marked_columns(table, text, label)
    if pair is None and task == SPANS:
        raise BadInput(
            f"no two columns of {table.path.name} hold texts and spans ({', '.join(table.columns)}); give "
            'rows as {"text": "…", "spans": [{"start": 0, "end": 5, "label": "PER"}]} or '
            '{"tokens": ["…"], "tags": ["B-PER"]}',
            field="task",
        )
    if pair is None:
        return TASKS[0], text, label, ()
    return SPANS, *pair, (f"task = {SPANS!r}: column {pair[1]!r} marks spans of column {pair[0]!r}",)


def unmasked_entities(
    texts: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, Policy], tuple[str, ...]]:
    """Kinds of personal data that rows mark as what is to be found, and that are therefore not masked.

    Args:
        texts: cells of texts or tokens.
        labels: cells of spans or tags.

    Returns:
        `privacy.policies` for them, and a sentence that says so.
    """
    wanted = frozenset(name for name, entity in ENTITIES.items() if entity.policy != "keep")
    rows = []
    for text, label in zip(texts[:MASKED_AT], labels[:MASKED_AT], strict=True):
        with suppress(BadInput):
            rows.append(read_row(text, label))
    found, marked = Counter[str](), Counter[str]()
    for (_, spans), personal in zip(rows, detector(wanted).find_all([text for text, _ in rows]), strict=True):
        for one in personal:
            found[one.entity] += 1
            marked[one.entity] += any(one.start < span.end and span.start < one.end for span in spans)
    kept = sorted(name for name in found if marked[name] >= KEPT_FROM * found[name])
    told = "personal data in texts is masked, and spans follow"
    if kept:
        told += f"; but {', '.join(kept)} is kept, as spans mark it: see privacy.policies"
    return dict.fromkeys(kept, "keep"), (told,)


def _marked_columns(table: Table, text: str | None, label: str | None) -> tuple[str, str] | None:
    columns = set(table.columns)
    for spans in [label] if label else [name for name in SPAN_NAMES if name in columns]:
        for words in [text] if text else [name for name in TOKEN_NAMES if name in columns]:
            rows = table.frame.select(words, spans).filter(pl.col(spans) != "").head(LOOKED_AT).rows()
            # An empty list of spans says nothing: any text may have none.
            told = [row for row in rows if row[1].strip() != "[]"]
            if words != spans and told and all(is_marked(*row) for row in told):
                return words, spans
    return None


def look_of_spans(texts: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts of rows, and which labels their spans have, in one string: what even splits go by."""
    seen, kinds = [], []
    for text, label in zip(texts, labels, strict=True):
        spans: tuple[LabelledSpan, ...] = ()
        with suppress(BadInput):
            text, spans = read_row(text, label)
        seen.append(text)
        kinds.append(", ".join(sorted({span.label for span in spans})))
    return seen, kinds


def cleaned_spans(rows: pl.DataFrame, masker: Masker, counts: Counter[str]) -> pl.DataFrame:
    """Repair texts, replace personal data in them, and let their spans follow.

    Args:
        rows: columns text and label, and others.
        masker: what becomes of personal data.
        counts: takes how often each kind was replaced.

    Returns:
        The same rows, each label as `write_spans` writes it; `fault` is null, or why a row cannot be used.
    """
    texts: list[str] = []
    found: list[tuple[LabelledSpan, ...]] = []
    faults: list[str | None] = []
    edits: list[list[Round]] = []
    for text, label in zip(rows["text"].to_list(), rows["label"].to_list(), strict=True):
        spans: tuple[LabelledSpan, ...] = ()
        fault = None
        if label.strip():  # an empty cell is told of by its own reason
            try:
                text, spans = read_row(text, label)
            except BadInput as reason:
                fault = str(reason)
        text, rounds = clean_with_edits(text)
        texts.append(text)
        found.append(spans)
        faults.append(fault)
        edits.append(rounds)
    masked = masker.mask_all(texts, counts, edits=edits)
    labels = rows["label"].to_list()
    for place, (text, spans) in enumerate(zip(masked, found, strict=True)):
        if not labels[place].strip() or faults[place]:
            continue
        try:
            labels[place] = write_spans(_followed(text, spans, edits[place]))
        except BadInput:
            faults[place] = "two spans lie in one part that was masked or composed"
    return rows.with_columns(
        pl.Series("text", masked, pl.String),
        pl.Series("label", labels, pl.String).str.strip_chars(),
        pl.Series("fault", faults, pl.String),
    )


def _followed(text: str, spans: Sequence[LabelledSpan], rounds: Sequence[Round]) -> list[LabelledSpan]:
    if not rounds:
        return list(spans)
    moved = [LabelledSpan(*follow(rounds, span.start, span.end), span.label) for span in spans]
    check_spans(text, moved)
    return [trimmed(text, span) for span in moved]
