"""Finds personal data in texts: patterns first, the tagger or a model for names; no two spans overlap.

What is right for a text does not depend on other texts: `find_all` gives what `find` gives one by one.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter

from millwright.errors import one_of
from millwright.modalities.text import TOKEN_CHARACTERS, TOKEN_SIGNS
from millwright.privacy import (
    patterns_contact,
    patterns_finance,
    patterns_ids,
    patterns_people,
    patterns_places,
    patterns_secrets,
)
from millwright.privacy.candidates import may_hold_a_name, plausible_kind
from millwright.privacy.entities import ENTITIES, MODELLED, NAMED, Span
from millwright.privacy.names_model import open_names_model
from millwright.privacy.patterns import STRONG, Pattern
from millwright.privacy.patterns_places import address_tail
from millwright.privacy.tagger import shipped_tagger

PATTERNS: tuple[Pattern, ...] = tuple(
    pattern
    for module in (
        patterns_contact,
        patterns_finance,
        patterns_ids,
        patterns_secrets,
        patterns_places,
        patterns_people,
    )
    for pattern in module.PATTERNS
)
TAGGED_TOGETHER = 2_048  # texts
# What `mask` writes; nothing inside is looked at again.
PLACEHOLDER = re.compile(
    rf"<(?:{'|'.join(ENTITIES)})(?::(?:[0-9a-f]{{16}}|[{TOKEN_SIGNS}]{{{TOKEN_CHARACTERS}}}))?>"
)
_HOUSE = re.compile(r"(?<![\w.,$€£¥/\-])\d{1,5}[A-Za-z]?,? \Z")  # before a street
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"\d(?:[^\d\n]{0,3}\d){4}")


@dataclass(frozen=True)
class Due:
    """Patterns by what a text must have for them to run."""

    plain: tuple[Pattern, ...]
    digit: tuple[Pattern, ...]
    digits: tuple[Pattern, ...]
    literal: tuple[tuple[str, tuple[Pattern, ...]], ...]

    def find(self, text: str) -> list[Span]:
        """Every place of a text that fits a pattern; they may overlap."""
        due = list(self.plain)
        if _DIGIT.search(text):
            due += self.digit
            if _DIGITS.search(text):
                due += self.digits
        for sign, patterns in self.literal:
            if sign in text:
                due += patterns
        return [span for pattern in due for span in pattern.find(text)]


@dataclass(frozen=True)
class Detector:
    """What is looked for. Build it by `detector`."""

    entities: frozenset[str]
    wanted: Due
    others: Due
    names: bool | str

    def find(self, text: str) -> tuple[Span, ...]:
        """Personal data of one text, in order.

        Spans never overlap. Of two that do, one that lies inside a longer one of certainty STRONG or more
        yields to it; otherwise the more certain stays, then the longer, then the earlier. This is decided
        among all kinds, so what is a nationality is no name, even if only names are looked for.

        Args:
            text: any text.

        Returns:
            Spans; none where nothing was found.
        """
        return self.find_all([text])[0]

    def find_all(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """`find` for each of many texts, at less cost each."""
        found = [self.wanted.find(text) for text in texts]
        if self.names:
            places = [place for place, text in enumerate(texts) if may_hold_a_name(text)]
            for start in range(0, len(places), TAGGED_TOGETHER):
                part = places[start : start + TAGGED_TOGETHER]
                named = shipped_tagger().spans([texts[place] for place in part])
                for place, spans in zip(part, named, strict=True):
                    wanted = [span for span in spans if self._tagger_finds(span)]
                    found[place] += _looked_at_again(texts[place], wanted)
            if isinstance(self.names, str):
                for own, spans in zip(found, open_names_model(self.names).spans(texts), strict=True):
                    own += spans
        return [self._settled(text, spans) if spans else () for text, spans in zip(texts, found, strict=True)]

    def _tagger_finds(self, span: Span) -> bool:
        """Where a model is named, the tagger looks for addresses alone."""
        return self.names is True or span.entity not in MODELLED

    def _settled(self, text: str, spans: list[Span]) -> tuple[Span, ...]:
        if not any(span.entity in self.entities for span in spans):
            return ()
        settled = settle(text, spans + self.others.find(text))
        return tuple(span for span in settled if span.entity in self.entities)


@lru_cache(maxsize=64)
def detector(entities: frozenset[str] = frozenset(ENTITIES), *, names: bool | str = True) -> Detector:
    """A detector of some kinds of personal data.

    Args:
        entities: names of ENTITIES.
        names: whether the tagger runs; without it, patterns alone find ADDRESS, and nothing finds the names
            of people, organisations and places. A string names a model that finds these three.

    Returns:
        The detector.

    Raises:
        NotFound: an entity is not known.
    """
    for entity in entities:
        one_of("entity", entity, ENTITIES)
    wanted = [pattern for pattern in PATTERNS if pattern.entity in entities]
    others = [pattern for pattern in PATTERNS if pattern.entity not in entities]
    return Detector(entities, _due(wanted), _due(others), names=names if entities & NAMED else False)


def _due(patterns: Sequence[Pattern]) -> Due:
    by_need: dict[str, tuple[Pattern, ...]] = {}
    for pattern in patterns:
        by_need[pattern.needs] = (*by_need.get(pattern.needs, ()), pattern)
    plain, digit, digits = (by_need.pop(need, ()) for need in ("", "digit", "digits"))
    return Due(plain, digit, digits, tuple(by_need.items()))


def settle(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans of which none overlaps another or a placeholder, in order; the rule is in `Detector.find`."""
    written = [match.span() for match in PLACEHOLDER.finditer(text)] if "<" in text else []
    cut = [part for span in spans for part in _outside(text, _whole(text, span), written)]
    kept: list[Span] = []  # by place; they never overlap, so a new one can meet its neighbours only
    for span in sorted(_free(cut), key=lambda span: (-span.score, span.start - span.end, span.start)):
        place = bisect_left(kept, span.start, key=_start)
        if not any(span.overlaps(other) for other in kept[max(0, place - 1) : place + 1]):
            kept.insert(place, span)
    return tuple(kept)


def _start(span: Span) -> int:
    return span.start


def _free(spans: Sequence[Span]) -> list[Span]:
    """Those that lie inside no longer span of certainty STRONG or more."""
    strong = sorted((span for span in spans if span.score >= STRONG), key=_start)
    furthest = [0, *accumulate((span.end for span in strong), max)]  # end of those that begin before a place
    return [
        span
        for span in spans
        if furthest[bisect_right(strong, span.start, key=_start)] <= span.end
        and furthest[bisect_left(strong, span.start, key=_start)] < span.end
    ]


def _whole(text: str, span: Span) -> Span:
    """An address, with the number directly before it and the town with a postcode or country after it."""
    if span.entity != "ADDRESS":
        return span
    number = _HOUSE.search(text[max(0, span.start - 9) : span.start])
    town = address_tail().match(text, span.end)
    return Span(
        span.start - len(number[0]) if number else span.start,
        town.end() if town else span.end,
        span.entity,
        STRONG if town else span.score,
    )


def _looked_at_again(text: str, spans: Iterable[Span]) -> list[Span]:
    """The tagger's spans that hold at a second look, as the kind that they then are."""
    kinds = [(span, plausible_kind(text[span.start : span.end], span.entity)) for span in spans]
    return [replace(span, entity=kind) for span, kind in kinds if kind]


def _outside(text: str, span: Span, written: Sequence[tuple[int, int]]) -> list[Span]:
    """What is left of a span outside the placeholders, where it has a letter or digit."""
    parts, start = [], span.start
    first = bisect_right(written, span.start, key=itemgetter(1))
    met = written[first : bisect_left(written, span.end, key=itemgetter(0))]
    for low, high in [*met, (span.end, span.end)]:
        if low >= start and start < span.end:
            parts.append((start, min(low, span.end)))
        start = max(start, high)
    return [
        Span(low, high, span.entity, span.score)
        for low, high in parts
        if any(sign.isalnum() for sign in text[low:high])
    ]
