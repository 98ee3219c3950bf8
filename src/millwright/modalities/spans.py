"""Labelled spans of texts: how rows write them, and the tags of words that stand for them.

A row is a text with `[{"start": 0, "end": 5, "label": "PER"}, …]`, or a list of tokens with a list of tags.
Inside Millwright a row's label is the first form, in one line of JSON with the spans in order.

Shape suffixes: W words.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from millwright.errors import BadInput
from millwright.modalities.places import Round, go_back
from millwright.modalities.words import Place, join_tags, join_words

NOT_SPANS = "spans are not a JSON list, each with start, end and label"
NOT_TAGS = "tags are not a JSON list with a string for each token"
MOST_LABEL = 100  # characters


@dataclass(frozen=True, order=True)
class LabelledSpan:
    """Characters `start` to `end` (exclusive) of a text, and what they are."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class FoundSpans:
    """What a model found in a text: spans in order, the probability of each, and that of the whole answer.

    `probability` is that all of the text's words are marked right, those in no span too.
    """

    spans: tuple[LabelledSpan, ...]
    probabilities: tuple[float, ...]
    probability: float


def as_it_came(found: FoundSpans, rounds: Sequence[Round]) -> FoundSpans:
    """What was found in a text that was edited, by the places of the text that came.

    Args:
        found: spans of the edited text.
        rounds: the edits; where they made one part of several spans, the surest of these is told.

    Returns:
        The spans of the text that came.
    """
    told: list[tuple[LabelledSpan, float]] = []
    for span, sure in zip(found.spans, found.probabilities, strict=True):
        moved = LabelledSpan(*go_back(rounds, span.start, span.end), span.label)
        if told and told[-1][0].end > moved.start:
            told[-1] = max(told[-1], (moved, sure), key=lambda one: one[1])
        elif moved.start < moved.end:
            told.append((moved, sure))
    return FoundSpans(tuple(span for span, _ in told), tuple(sure for _, sure in told), found.probability)


def write_spans(spans: Iterable[LabelledSpan]) -> str:
    """Spans in order, as one line of JSON."""
    return json.dumps(
        [{"start": span.start, "end": span.end, "label": span.label} for span in sorted(spans)],
        ensure_ascii=False,
    )


def read_spans(written: str) -> tuple[LabelledSpan, ...]:
    """Spans of a JSON list, in order.

    Args:
        written: what `write_spans` writes, or what a user did.

    Returns:
        The spans, by start.

    Raises:
        BadInput: it is no such list; the message is the reason alone.
    """
    return parse_spans(_parsed(written, NOT_SPANS))


def parse_spans(items: object) -> tuple[LabelledSpan, ...]:
    """`read_spans` of parsed JSON."""
    if not isinstance(items, list):
        raise BadInput(NOT_SPANS)
    return tuple(sorted(map(_span, items)))


def check_spans(text: str, spans: Sequence[LabelledSpan]) -> None:
    """Raise BadInput, with the reason alone, if spans in order do not fit a text or overlap."""
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            raise BadInput("a span is empty or lies outside the text")
        if not text[span.start : span.end].strip():
            raise BadInput("a span holds white space alone")
    if any(one.end > other.start for one, other in zip(spans, spans[1:], strict=False)):
        raise BadInput("spans overlap")


def trimmed(text: str, span: LabelledSpan) -> LabelledSpan:
    """A span without white space at its ends."""
    inside = text[span.start : span.end]
    start = span.start + len(inside) - len(inside.lstrip())
    return LabelledSpan(start, start + len(inside.strip()), span.label)


def read_row(text: str, label: str) -> tuple[str, tuple[LabelledSpan, ...]]:
    """A text and its spans, of either form of row.

    Args:
        text: the text, or a JSON list of tokens.
        label: a JSON list of spans, or of tags, one a token.

    Returns:
        The text, and its spans in order, none overlapping, without white space at their ends.

    Raises:
        BadInput: the row cannot be used; the message is the reason alone.
    """
    tokens = _tokens(text)
    if tokens is None or label.strip() == "[]" or label.lstrip()[:2] == "[{":
        spans = read_spans(label)
    else:
        tags = _parsed(label, NOT_TAGS)
        if (
            not isinstance(tags, list)
            or len(tags) != len(tokens)
            or not all(isinstance(t, str) for t in tags)
        ):
            raise BadInput(NOT_TAGS)
        text, places = join_words(tokens)
        spans = tuple(
            LabelledSpan(places[first][0], places[last - 1][1], name) for first, last, name in join_tags(tags)
        )
    check_spans(text, spans)
    return text, tuple(trimmed(text, span) for span in spans)


def is_marked(text: str, label: str) -> bool:
    """True for the cells of a row of spans or tags."""
    try:
        read_row(text, label)
    except BadInput as reason:
        return str(reason) not in (NOT_SPANS, NOT_TAGS)
    return True


def tags_of(words: Sequence[Place], spans: Sequence[LabelledSpan]) -> list[tuple[str, str]]:
    """The tag of each word: ("B", label), ("I", label) or ("O", "").

    Args:
        words: places of words, in order.
        spans: in order, none overlapping.

    Returns:
        W tags. A word that a span cuts belongs to it whole, and to the first of several.
    """
    found = [("O", "")] * len(words)
    at = 0
    for span in spans:
        while at < len(words) and words[at][1] <= span.start:
            at += 1
        prefix = "B"
        while at < len(words) and words[at][0] < span.end:
            found[at], prefix = (prefix, span.label), "I"
            at += 1
    return found


def _span(item: object) -> LabelledSpan:
    if not isinstance(item, dict):
        raise BadInput(NOT_SPANS)
    start, end, label = (item.get(name) for name in ("start", "end", "label"))
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise BadInput(NOT_SPANS)
    label = " ".join(label.split())
    if not label or len(label) > MOST_LABEL:
        raise BadInput(f"a span's label is blank or longer than {MOST_LABEL} characters")
    return LabelledSpan(start, end, label)


def _tokens(text: str) -> list[str] | None:
    """The tokens of a JSON list of strings; None for anything else, which is a text."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_tokens = isinstance(found, list) and found and all(isinstance(token, str) for token in found)
    return found if is_tokens else None


def _parsed(written: str, otherwise: str) -> object:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        raise BadInput(otherwise) from None
