"""Stand-ins that look like what they replace and are nobody's: names, e-mail addresses, phone numbers.

A stand-in is recognised as one and stays as it is, so that a text that comes by twice does not change twice.
"""

import re

SURROGATED = frozenset({"PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER"})
_GIVEN = [
    "Alex",
    "Robin",
    "Sam",
    "Kim",
    "Jamie",
    "Taylor",
    "Jordan",
    "Casey",
    "Morgan",
    "Riley",
    "Quinn",
    "Avery",
    "Rowan",
    "Skyler",
    "Dana",
    "Jules",
    "Noel",
    "Sasha",
    "Charlie",
    "Frankie",
    "Jesse",
    "Kerry",
    "Lee",
    "Marlow",
    "Nico",
    "Ollie",
    "Pat",
    "Remy",
    "Shay",
    "Toni",
    "Val",
    "Winter",
]
# Made up: joined from two parts, so that none is likely to be somebody's.
_FIRST = [
    "Ash",
    "Brind",
    "Crow",
    "Dun",
    "Elder",
    "Fen",
    "Garn",
    "Haver",
    "Ivel",
    "Jarrow",
    "Kest",
    "Lor",
    "Mar",
    "Nether",
    "Orm",
    "Pel",
]
_LAST = [
    "quill",
    "wick",
    "more",
    "stone",
    "by",
    "thwaite",
    "worth",
    "mere",
    "holt",
    "den",
    "combe",
    "fell",
    "bourne",
    "leigh",
    "ston",
    "row",
]
_FAMILIES = [f"{first}{last}" for first in _FIRST for last in _LAST]
_CHINESE_FAMILIES = "甲乙丙丁戊己庚辛"
_IS_MADE_UP = re.compile(rf"\b(?:{'|'.join(_FIRST)})(?:{'|'.join(_LAST)})\b|[{_CHINESE_FAMILIES}]某[一-龥]")
_IS_CHINESE = re.compile(r"[\u3400-\u9fff]")


def holds_stand_in(text: str, start: int, end: int) -> bool:
    """Whether a name that was found at a place of a text is, holds or cuts a stand-in of a name."""
    return any(found.start() < end and start < found.end() for found in _IS_MADE_UP.finditer(text))


def surrogate(entity: str, value: str, key: bytes) -> str:
    """A stand-in for a value, the same for the same key.

    Args:
        entity: one of SURROGATED.
        value: what stands in the text.
        key: 32 bytes that follow from the value and a secret.

    Returns:
        The stand-in; `value` itself where that is one already (of names, `holds_stand_in` tells). E-mail
        addresses end in example.com, which is reserved (RFC 2606); telephone numbers begin with +999, which
        no country has.
    """
    number = int.from_bytes(key[:8], "big")
    if entity == "EMAIL_ADDRESS":
        return (
            value
            if re.fullmatch(r"user-[0-9a-f]{12}@example\.com", value)
            else f"user-{key[:6].hex()}@example.com"
        )
    if entity == "PHONE_NUMBER":
        if re.fullmatch(r"\+999 \d{4} \d{4}", value):
            return value
        return f"+999 {number % 10_000:04} {number // 10_000 % 10_000:04}"
    if _IS_CHINESE.search(value):
        sign = chr(0x4E00 + number // 8 % 4_000)
        return f"{_CHINESE_FAMILIES[number % 8]}某{sign}"
    family = _FAMILIES[number // 64 % len(_FAMILIES)]
    return f"{_GIVEN[number % len(_GIVEN)]} {family}" if " " in value.strip() else family
