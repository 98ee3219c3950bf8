"""Whether a text may hold a name at all: a quick look that spares the tagger most texts.

A text may where it has a Chinese character beside another, a capitalised word that is not among common ones,
a given name in lower case, or words by which people say their names or addresses.
"""

import re
from functools import cache

from millwright.privacy.patterns_places import STREET_WORDS
from millwright.privacy.tokens import word_list

_CAPITAL = re.compile(r"[^\W\d_a-z\u3400-\u9fff]\w*(?:['’]\w+)?")
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
# A house's number before a name, or after one; neither within an amount.
_HOUSE = re.compile(
    r"(?<![\w.,£$€])\d{1,5}[A-Za-z]?(?:[\-/]\d{1,4})?,? (?:[a-z]{2,4} )?[A-ZÀ-ÞŠŽ][^\W\d_]{2,}"
    r"|[A-ZÀ-ÞŠŽ][^\W\d_]*[a-zà-þ]{4,}\.?,? \d{1,4}[A-Za-z]?(?![\w.,]*\d)"
)
# A town and its postcode.
_TOWN = re.compile(
    r"(?<![\w.,£$€])([A-ZÀ-ÞŠŽ][^\W\d_]{3,})(?: [A-Z][\w.\-]*)* \d{3}(?: ?\d{2}|\d{1,2})(?![\w.,]*\d)"
    r"|(?<![\w.,£$€])\d{4} [A-Z]{2}(?!\w)"
)
_NAME = re.compile(r"\W*[A-ZÀ-ÞŠŽ][a-zà-þ'’]+-?(?: [A-ZÀ-ÞŠŽ][a-zà-þ'’\-]+){1,3}\W*")
_SAID = re.compile(
    r"(?i:\bname\b|\baddress\b|\blive|\bi am\b|\bi'm\b|\bthis is\b|\bcalled\b|\bsigned\b|\bregards\b)"
)


@cache
def _common() -> frozenset[str]:
    """Words that say nothing when they are capitalised: with a capital, and all in capitals."""
    words = word_list("common") - {name.lower() for name in word_list("surnames")}
    forms = {form for word in words | word_list("codes") for form in (word.capitalize(), word.upper())} | {
        "I"
    }
    return frozenset(forms | {form.replace("'", "’") for form in forms} | {f"{form}'s" for form in forms})


@cache
def _given() -> frozenset[str]:
    return frozenset(name.lower() for name in word_list("given")) - word_list("common")


@cache
def _names() -> frozenset[str]:
    places = {word for place in word_list("places") for word in place.split()}
    return frozenset(name.lower() for name in word_list("given") | word_list("surnames") | places)


@cache
def _places() -> frozenset[str]:
    return frozenset(place.lower() for place in word_list("places")) - word_list("common")


def is_common(word: str) -> bool:
    """True for a word in small letters that is a common one or the code of a currency, and no name."""
    return word in word_list("codes") or (word in word_list("common") and word not in _names())


def plausible_kind(value: str, entity: str) -> str | None:
    """What the tagger marked, as a second look at its words sees it.

    An address has the word of a street, a house's number beside a name, or a town with its postcode; without
    any it is a place where it names one, and a person's name where it is written as one. A name has a word
    that is neither common nor of those by which letters begin and end.

    Args:
        value: the characters that the tagger marked.
        entity: as which of NAMED.

    Returns:
        The kind to take it for; None for nothing.
    """
    low = value.lower().replace("’", "'")
    words = re.findall(r"[^\W\d_]+", low)
    if entity == "ADDRESS":
        if _is_address(value, low):
            return entity
        if not _places().isdisjoint(re.split(r"\s*[\n,]\s*", low.strip())):
            return "LOCATION"
        return "PERSON" if _NAME.fullmatch(value) and not all(map(is_common, words)) else None
    if word_list("letters").issuperset(words):
        return None
    common = (entity == "PERSON" or " " not in low) and all(is_common(word) for word in low.split())
    return None if common else entity


def _is_address(value: str, low: str) -> bool:
    words = re.findall(r"[\w']+", low)
    street = not STREET_WORDS.isdisjoint(words) and not all(map(is_common, words[:-1]))
    town = _TOWN.search(value)
    is_town = town is not None and not is_common((town[1] or "").lower())
    is_small = value == low and len(re.findall(r"\d+", low)) > 1  # without capitals: numbers about a name
    numbered = is_small and any(len(word) > 3 and word.isalpha() and not is_common(word) for word in words)
    shaped = _HOUSE.search(value) is not None or _CHINESE.search(value) is not None
    return street or is_town or numbered or shaped


def may_hold_a_name(text: str) -> bool:
    """True unless the tagger surely finds nothing that matters."""
    return (
        not _common().issuperset(_CAPITAL.findall(text))
        or _SAID.search(text) is not None
        or _CHINESE.search(text) is not None
        or not _given().isdisjoint(text.lower().split())
    )
