"""Words of a text, by their places, in any script; and tags of words (BIO and its kin) joined to spans.

A word is a run of letters with their marks, a run of digits, one sign, or one Chinese or Japanese character,
since those are written without spaces.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from millwright.errors import BadInput

# Scripts of which each character is a word: Han with its extensions, kana, and the iteration marks.
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTERS = rf"[^\W\d_{UNSPACED}]+"
_RUNS = rf"[^\W_{UNSPACED}]+"
_WORD = re.compile(rf"[{UNSPACED}]|{_LETTERS}|\d+|[^\w\s]|_")
_COMPOUND = re.compile(rf"[{UNSPACED}]|{_RUNS}(?:[-'’.]{_RUNS})*|[^\w\s]|_")
_OUTSIDE = "O"
_BEGINS, _GOES_ON, _ENDS = "BSU", "IMEL", "ESLU"

Place = tuple[int, int]


def word_places(text: str, *, compounds: bool = False) -> list[Place]:
    """Where each word begins and ends.

    Args:
        text: any text.
        compounds: whether "Jean-Luc", "O'Neill" and "U.S" are one word each.

    Returns:
        Start and end (exclusive) in characters, in order; white space belongs to no word.
    """
    places = [match.span() for match in (_COMPOUND if compounds else _WORD).finditer(text)]
    return places if text.isascii() else _with_marks(text, places)


def is_unspaced(sign: str) -> bool:
    """True for a character that is a word by itself: Han and kana."""
    return re.match(f"[{UNSPACED}]", sign) is not None


def _with_marks(text: str, places: list[Place]) -> list[Place]:
    """Combining marks, and joiners between letters, belong to the word before; so do letters right after."""
    joined: list[Place] = []
    for start, end in places:
        if joined and joined[-1][1] == start and (_is_mark(text[start]) or _goes_on(text, start)):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _is_mark(sign: str) -> bool:
    return not sign.isascii() and (unicodedata.category(sign)[0] == "M" or sign in "\u200c\u200d")


def _goes_on(text: str, start: int) -> bool:
    """True for a letter right after a mark."""
    return start > 0 and text[start].isalpha() and not is_unspaced(text[start]) and _is_mark(text[start - 1])


def split_tag(tag: str) -> tuple[str, str]:
    """The prefix and the label of a tag: "B-PER" gives ("B", "PER"), "O" ("", ""), "PER" ("I", "PER")."""
    if tag in (_OUTSIDE, ""):
        return "", ""
    if len(tag) > 2 and tag[1] == "-" and tag[0] in _BEGINS + _GOES_ON:
        return tag[0], tag[2:]
    return "I", tag


def join_tags(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Spans of words by their tags: BIO (IOB1 and IOB2), BIOES, BILOU, BMES, or labels alone.

    Args:
        tags: one a word; "O" or "" is outside.

    Returns:
        First word, last word (exclusive) and label of each span. A tag that continues nothing of its label
        begins a span.
    """
    spans: list[tuple[int, int, str]] = []
    is_open = False
    for place, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        if not label:
            is_open = False
            continue
        if is_open and prefix not in _BEGINS and spans[-1][2] == label:
            spans[-1] = (spans[-1][0], place + 1, label)
        else:
            spans.append((place, place + 1, label))
        is_open = prefix not in _ENDS
    return spans


def first_tokens(words: Sequence[Place], tokens: Iterable[Place]) -> list[int | None]:
    """Which token is the first of each word.

    Args:
        words: places of words, in order.
        tokens: places of tokens in order; empty ones are special tokens.

    Returns:
        The number of the first token that shares a character with the word; None where there is none.
    """
    found: list[int | None] = [None] * len(words)
    at = 0
    for number, (start, end) in enumerate(tokens):
        if end <= start:
            continue
        while at < len(words) and words[at][1] <= start:
            at += 1
        # A token may cover several words, as where a tokenizer knows a phrase.
        reached = at
        while reached < len(words) and words[reached][0] < end:
            if found[reached] is None:
                found[reached] = number
            reached += 1
    return found


def join_words(tokens: Sequence[str]) -> tuple[str, list[Place]]:
    """A text of tokens, and where each stands in it.

    Args:
        tokens: as a corpus has them.

    Returns:
        The tokens joined by single spaces, but by nothing where a Chinese or Japanese character meets the
        next token; and their places.

    Raises:
        BadInput: a token is no string, or blank.
    """
    text, places = "", list[Place]()
    for number, token in enumerate(tokens, start=1):
        if not isinstance(token, str) or not token.strip():
            raise BadInput(f"token {number} is {token!r}; each must be a string that is not blank")
        if text and not is_unspaced(text[-1]) and not is_unspaced(token[0]):
            text += " "
        places.append((len(text), len(text) + len(token)))
        text += token
    return text, places
