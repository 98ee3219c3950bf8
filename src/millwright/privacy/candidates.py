"""Whether a text may hold a name at all: a quick look that spares the tagger most texts.

A text may where it has a Chinese character beside another, a capitalised word that is not among common ones,
a given name in lower case, or words by which people say their names or addresses.
"""

import re
from functools import cache

from millwright.privacy.tokens import word_list

_CAPITAL = re.compile(r"[^\W\d_a-z\u3400-\u9fff]\w*(?:['’]\w+)?")
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
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


def is_common(word: str) -> bool:
    """True for a word in small letters that is a common one or the code of a currency, and no name."""
    return word in word_list("codes") or (word in word_list("common") and word not in _names())


def may_hold_a_name(text: str) -> bool:
    """True unless the tagger surely finds nothing that matters."""
    return (
        not _common().issuperset(_CAPITAL.findall(text))
        or _SAID.search(text) is not None
        or _CHINESE.search(text) is not None
        or not _given().isdisjoint(text.lower().split())
    )
