"""Where places of a text go when parts of it are replaced, and back again.

Cleaning and masking replace parts; spans must follow, and what a model finds in the replaced text must be
told by the places of the text that came.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from millwright.modalities.text import clean

_UNIT = re.compile(r"\r\n|.", re.DOTALL)


@dataclass(frozen=True)
class Edit:
    """Characters `start` to `end` (exclusive) gave way to `size` others."""

    start: int
    end: int
    size: int


Round = tuple[Edit, ...]  # edits of one text, in order, none overlapping


def follow(rounds: Iterable[Round], start: int, end: int) -> tuple[int, int]:
    """Where a span stands after rounds of edits; one that ends inside a replaced part takes it in whole.

    Args:
        rounds: edits, each round of the text that the one before it made.
        start: the span's first character.
        end: after its last one.

    Returns:
        Start and end in the last text.
    """
    for edits in rounds:
        start, end = _moved(edits, start, end)
    return start, end


def go_back(rounds: Sequence[Round], start: int, end: int) -> tuple[int, int]:
    """Where a span of the last text stands in the first one: the inverse of `follow`, where there is one."""
    for edits in reversed(rounds):
        start, end = _moved(_inverse(edits), start, end)
    return start, end


def _moved(edits: Round, start: int, end: int) -> tuple[int, int]:
    shift, moved = 0, [start, end]
    for edit in edits:
        grows = edit.size - (edit.end - edit.start)
        for side, place in enumerate((start, end)):
            if side and edit.start == edit.end == place:
                continue  # put in where the span ends: behind it
            if edit.end <= place:
                moved[side] += grows
            elif edit.start < place:  # inside: the start goes to the part's start, the end to its end
                moved[side] = edit.start + shift + (edit.size if side else 0)
        shift += grows
    return moved[0], moved[1]


def _inverse(edits: Round) -> Round:
    shift, found = 0, []
    for edit in edits:
        found.append(Edit(edit.start + shift, edit.start + shift + edit.size, edit.end - edit.start))
        shift += edit.size - (edit.end - edit.start)
    return tuple(found)


def clean_with_edits(text: str) -> tuple[str, list[Round]]:
    """What `clean` makes of a text, and the edits by which it did.

    Args:
        text: any text.

    Returns:
        The clean text, and rounds of edits; none where it was clean already.
    """
    done = clean(text)
    if done == text:
        return text, []
    parts, edits = [], list[Edit]()
    for start, end, part in _parts(text):
        parts.append(part)
        if part != text[start:end]:
            edits.append(Edit(start, end, len(part)))
    whole = "".join(parts)
    if whole.strip() != done:  # where composing reaches further than from one part to the next
        return done, [(Edit(0, len(text), len(done)),)]
    lead = len(whole) - len(whole.lstrip())
    tail = Edit(lead + len(done), len(whole), 0)
    return done, [tuple(edits), (Edit(0, lead, 0), tail)]


def _parts(text: str) -> Iterable[tuple[int, int, str]]:
    """Stretches of a text that are composed by themselves, and what becomes of each before it is stripped."""
    begin, end, held = 0, 0, ""
    for match in _UNIT.finditer(text):
        unit = _one_line_break(match[0])
        if held and unit and _stands_apart(held, unit):
            yield begin, end, unicodedata.normalize("NFC", held)
            begin, held = match.start(), ""
        held += unit
        end = match.end()
    yield begin, end, unicodedata.normalize("NFC", held)


def _one_line_break(unit: str) -> str:
    if unit in ("\r\n", "\r"):
        return "\n"
    # `clean` strips; a sign on each side keeps white space, so that only what is removed anywhere goes.
    return clean(f"x{unit}x")[1:-1] if unicodedata.category(unit) in ("Cc", "Cf", "Cn") else unit


def _stands_apart(held: str, unit: str) -> bool:
    if held.isascii() and unit.isascii():
        return True
    composed = unicodedata.normalize("NFC", held + unit)
    apart = unicodedata.normalize("NFC", held) + unicodedata.normalize("NFC", unit)
    return unicodedata.combining(unit) == 0 and composed == apart
