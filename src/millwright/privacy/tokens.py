"""Tokens of a text, English and Chinese, and what the tagger knows of each by itself.

A token is one Chinese character, one word of letters, one number, one sign or a line break.
"""

import re
from functools import cache
from pathlib import Path
from zlib import crc32

LISTS = Path(__file__).parent / "lists"
TOKEN = re.compile(
    r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\d_\u3400-\u9fff\uf900-\ufaff]+(?:['’]"
    r"(?!s\b)[^\W\d_\u3400-\u9fff\uf900-\ufaff]+)*"
    r"|\d+|\n|[^\w\s]|_"
)
FACTS = 6  # of a token: itself, its class, its shape, its first and its last letters
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


@cache
def word_list(name: str) -> frozenset[str]:
    """The entries of a list of the package, by the name of its file."""
    text = (LISTS / f"{name}.txt").read_text(encoding="utf-8")
    entries = text.replace("\n", ",").split(",") if name == "places" else text.split()
    return frozenset(entry.strip() for entry in entries if entry.strip())


@cache
def _signs(name: str) -> frozenset[str]:
    """The characters of a Chinese list."""
    return frozenset("".join(word_list(name)))


@cache
def _classes() -> dict[str, str]:
    """The class of each English word that a list or a habit of writing gives one."""
    found: dict[str, str] = {}
    for place in word_list("places"):
        for word in place.split():
            found.setdefault(word.lower(), "place")
    for word in word_list("surnames"):
        found[word.lower()] = "surname"
    for word in word_list("given"):
        key = word.lower()
        found[key] = "both" if found.get(key) == "surname" else "given"
    for kind, words in _HABITS.items():
        found.update(dict.fromkeys(words.split(), kind))
    return found


_HABITS = {
    "title": "mr mrs ms miss dr prof professor sir lady madam captain father sister mister",
    "firm": "inc ltd llc corp corporation company co plc group "
    "holdings partners associates gmbh ag sa spa bv oy ab "
    "aps bank university institute foundation college hospital association council committee ministry agency",
    "street": "street st avenue ave road rd boulevard blvd lane drive court square terrace way highway "
    "parkway "
    "crescent row circle trail rue rua calle via viale piazza corso avenida ulica strasse straße quinta",
    "unit": "apt apartment suite unit flat floor room box psc apo fpo",
    "month": "january february march april may june july august september october november december",
    "day": "monday tuesday wednesday thursday friday saturday sunday",
    "link": "and or of the for de la da di du del van von der den el al y e & do dos das",
    "i": "i i'm i'll i've i'd ok ok. pin atm app usd eur gbp",
}


def _shape(token: str) -> str:
    if token.isdecimal():
        return f"9{min(len(token), 6)}"
    if not token[0].isalpha():
        return token
    if token.isupper():
        return "X" if len(token) == 1 else "XX" if len(token) < 4 else "XXX"
    foreign = "" if token.isascii() else "é"
    if token.islower():
        return "x" + foreign
    return ("Xx" if token[0].isupper() and token[1:].islower() else "xX") + foreign


def _chinese_class(sign: str) -> str:
    marks = (
        "s" if sign in _signs("chinese_surnames") else "",
        "g" if sign in _signs("chinese_given") else "",
        "p" if sign in _signs("chinese_places") else "",
        "e" if sign in "省市区县镇乡村路街号国州岛山河湖港" else "",
        "o" if sign in "司团行校院局部会社所厂店队馆" else "",
        "n" if sign in "一二三四五六七八九十百千万亿两" else "",
    )
    return "zh" + "".join(marks)


def _hash(place: int, fact: str) -> int:
    return crc32(f"{place}{fact}".encode())


COMMON_CLASSES = tuple(
    _hash(1, f"{kind}|{shape}")
    for kind in ("word", "i", "month", "day", "title", "link")
    for shape in ("X", "XX", "XXX", "Xx", "xX")
)
PLAIN_SHAPES = tuple(_hash(2, shape) for shape in ("zh", "x", "xé"))  # Chinese, and words in small letters


def token_facts(token: str) -> tuple[int, ...]:
    """FACTS hashes of a token, 32 bits each."""
    if _CHINESE.match(token):
        kind = _chinese_class(token)
        facts = (token, kind, "zh", kind, "zh", "zh")
    else:
        low, shape = token.lower().replace("’", "'"), _shape(token)
        is_word = low in word_list("common")
        kind = "word" if is_word and low == token else _classes().get(low, "word" if is_word else "-")
        if token.isdecimal():
            low = low if len(low) < 3 else shape
        facts = (low, f"{kind}|{shape}", shape, low[:3], low[-3:], low[-2:])
    return tuple(_hash(place, fact) for place, fact in enumerate(facts))
