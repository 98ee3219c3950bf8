"""Check digits of identity, card and account numbers. Each takes the bare characters, without separators."""

from datetime import date

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_CODE_SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_REGIONS = frozenset(
    map(str, (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66)))
) | {"71", "81", "82", "83"}
# ISO 13616 registry: characters of an IBAN, by country.
_IBAN_LENGTHS = dict(
    pair.split(":")
    for pair in [
        "AD:24",
        "AE:23",
        "AL:28",
        "AT:20",
        "AZ:28",
        "BA:20",
        "BE:16",
        "BG:22",
        "BH:22",
        "BI:27",
        "BR:29",
        "BY:28",
        "CH:21",
        "CR:22",
        "CY:28",
        "CZ:24",
        "DE:22",
        "DJ:27",
        "DK:18",
        "DO:28",
        "EE:20",
        "EG:29",
        "ES:24",
        "FI:18",
        "FK:18",
        "FO:18",
        "FR:27",
        "GB:22",
        "GE:22",
        "GI:23",
        "GL:18",
        "GR:27",
        "GT:28",
        "HR:21",
        "HU:28",
        "IE:22",
        "IL:23",
        "IQ:23",
        "IS:26",
        "IT:27",
        "JO:30",
        "KW:30",
        "KZ:20",
        "LB:28",
        "LC:32",
        "LI:21",
        "LT:20",
        "LU:20",
        "LV:21",
        "LY:25",
        "MC:27",
        "MD:24",
        "ME:22",
        "MK:19",
        "MN:20",
        "MR:27",
        "MT:31",
        "MU:30",
        "NI:28",
        "NL:18",
        "NO:15",
        "OM:23",
        "PK:24",
        "PL:28",
        "PS:29",
        "PT:25",
        "QA:29",
        "RO:24",
        "RS:22",
        "RU:33",
        "SA:24",
        "SC:31",
        "SD:18",
        "SE:24",
        "SI:19",
        "SK:24",
        "SM:27",
        "SO:23",
        "ST:25",
        "SV:28",
        "TL:23",
        "TN:24",
        "TR:26",
        "UA:29",
        "VA:22",
        "VG:24",
        "XK:20",
        "YE:30",
    ]
)
_DIHEDRAL = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_PERMUTATION = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)


def plain(text: str) -> str:
    """Letters in upper case and digits of any script as ASCII; everything else is left out."""
    return "".join(str(int(sign)) if sign.isdecimal() else sign.upper() for sign in text if sign.isalnum())


def is_luhn(digits: str) -> bool:
    """Luhn's check of ISO/IEC 7812; a number of one digit repeated does not count."""
    if len(set(digits)) < 2:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def is_iban(code: str) -> bool:
    """ISO 13616: the length of its country, and remainder 1 by 97."""
    if str(len(code)) != _IBAN_LENGTHS.get(code[:2]):
        return False
    return int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def is_date(digits: str) -> bool:
    """True where YYYYMMDD is a day from 1880 to 2099."""
    try:
        return 1880 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).year <= 2099
    except ValueError:
        return False


def is_resident_id(code: str) -> bool:
    """GB 11643-1999: 18 signs, a province, a day of birth, and a check digit by ISO 7064 mod 11-2.

    15 digits, as issued before 1999, have no check digit: province and day alone must fit.
    """
    if code[:2] not in _REGIONS or not code[:-1].isdigit():
        return False
    if len(code) == 15:
        return code.isdigit() and is_date("19" + code[6:12])
    if len(code) != 18 or not is_date(code[6:14]):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, code, strict=False))
    return "10X98765432"[total % 11] == code[-1]


def is_social_credit_code(code: str) -> bool:
    """GB 32100-2015: 18 signs without I, O, S, V, Z, a province or 10 for the state; weights 3^i by 31."""
    if len(code) != 18 or any(sign not in _CREDIT_CODE_SIGNS for sign in code):
        return False
    if code[2:4] not in _REGIONS | {"10"}:
        return False
    total = sum(_CREDIT_CODE_SIGNS.index(sign) * pow(3, place, 31) for place, sign in enumerate(code[:17]))
    return _CREDIT_CODE_SIGNS[-total % 31] == code[17]


def is_social_security_number(digits: str) -> bool:
    """Nine digits that the US administration may issue: no 000, 666 or 9xx area, no zero group or serial."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and group != "00" and serial != "0000" and area < "900"


def is_verhoeff(digits: str) -> bool:
    """Verhoeff's check in the dihedral group D5, as of Aadhaar numbers."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = int(_DIHEDRAL[state][int(_PERMUTATION[place % 8][int(digit)])])
    return state == 0


def is_nhs_number(digits: str) -> bool:
    """Ten digits with weights 10 to 2 and a check digit by 11."""
    check = -sum(weight * int(digit) for weight, digit in zip(range(10, 1, -1), digits, strict=False)) % 11
    return len(set(digits)) > 1 and check == int(digits[9])


def is_spanish_id(code: str) -> bool:
    """DNI and NIE: eight digits (X, Y, Z stand for 0, 1, 2) and a letter by 23."""
    number = int(code[:-1].translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == code[-1]


def is_french_id(digits: str) -> bool:
    """NIR: thirteen digits and 97 less their remainder by 97."""
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def is_brazilian_id(digits: str) -> bool:
    """CPF: nine digits and two check digits by 11."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum((length + 1 - place) * int(digit) for place, digit in enumerate(digits[:length]))
        if (total * 10 % 11) % 10 != int(digits[length]):
            return False
    return True


def is_italian_code(code: str) -> bool:
    """Codice fiscale: sixteen signs; those in odd places count by a table, the last is the sum by 26."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [int(sign) if sign.isdigit() else ord(sign) - 65 for sign in code[:15]]
    total = sum(value if place % 2 else odd[value] for place, value in enumerate(values))
    return chr(65 + total % 26) == code[15]
