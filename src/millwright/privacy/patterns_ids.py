"""Numbers that a state gives to people and their cars."""

import re
from collections.abc import Callable

from millwright.privacy import checksums
from millwright.privacy.patterns import CERTAIN, CONTEXT, LIKELY, STRONG, Pattern, number, words

_RESIDENT_WORDS = words(r"id(?:entity)?(?: card| number| no)?|resident", "身份证|证件|证号")
_PASSPORT_WORDS = words(r"passports?(?: number| no)?", "护照|通行证")
_LICENCE_WORDS = words(
    r"driv(?:er'?s?|ing) licen[cs]e|licen[cs]e (?:number|no)|dl(?: number| no)?", "驾驶证|驾照"
)
_PLATE_WORDS = words(
    r"(?:number |licen[cs]e )?plates?|registration|vehicle|reg(?: no| number)?", "车牌|牌照|车辆"
)
_SSN_WORDS = words(r"ssn|social security|social", "社会保障号|社保号")
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"


def _national(body: str, check: Callable[[str], bool], near: re.Pattern[str] | None = None) -> Pattern:
    return Pattern("NATIONAL_ID", re.compile(number(body)), STRONG, "digits", check, near)


PATTERNS = (
    Pattern(
        "CN_RESIDENT_ID",
        re.compile(r"(?<![\dA-Za-z])\d{6}[ \-]?(?:18|19|20)\d{6}[ \-]?\d{3}[\dXxＸ](?![\dA-Za-z])"),
        CERTAIN,
        "digits",
        lambda code: checksums.is_resident_id(code.replace("Ｘ", "X")),
    ),
    Pattern(
        "CN_RESIDENT_ID",
        re.compile(r"(?<![\dA-Za-z])\d{15}(?![\dA-Za-z])"),
        STRONG,
        "digits",
        checksums.is_resident_id,
        _RESIDENT_WORDS,
    ),
    Pattern(
        "US_SSN",
        re.compile(number(r"\d{3}-\d{2}-\d{4}")),
        STRONG,
        "digits",
        checksums.is_social_security_number,
    ),
    Pattern(
        "US_SSN",
        re.compile(number(r"\d{3}[- ]?\d{2}[- ]?\d{4}")),
        STRONG,
        "digits",
        lambda digits: digits[:3] != "000",
        _SSN_WORDS,
    ),
    _national(r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", checksums.is_verhoeff, words("aadhaar|aadhar|uidai|uid")),
    _national(r"\d{3}[ -]?\d{3}[ -]?\d{4}", checksums.is_nhs_number, words("nhs|health service")),
    _national(r"(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z]", checksums.is_spanish_id),
    _national(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", checksums.is_italian_code),
    _national(r"[12] ?\d{2} ?\d{2} ?\d{2} ?\d{3} ?\d{3} ?\d{2}", checksums.is_french_id),
    _national(r"\d{3}\.\d{3}\.\d{3}-\d{2}", checksums.is_brazilian_id),
    Pattern(
        "NATIONAL_ID",
        re.compile(
            r"(?<![0-9A-Za-z])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![0-9A-Za-z])"
        ),
        STRONG,
        "digits",
        lambda code: code[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"),
    ),
    Pattern("PASSPORT", re.compile(r"(?<![0-9A-Za-z])E[A-HJ-NP-Z]\d{7}(?![0-9A-Za-z])"), LIKELY, "digits"),
    Pattern(
        "PASSPORT",
        re.compile(r"(?<![0-9A-Za-z])(?:[A-Za-z]{1,2}\d{6,8}|\d{8,9})(?![0-9A-Za-z])"),
        LIKELY,
        "digits",
        None,
        _PASSPORT_WORDS,
    ),
    Pattern(
        "DRIVER_LICENSE",
        re.compile(
            number(r"[A-Z]\d{7,14}|\d{4}-\d{2}-\d{4}|\d{7,12}|[A-Z]{2}\d{6,7}[A-Z]?|[A-Z]{5}\d{6}[A-Z0-9]{5}")
        ),
        LIKELY,
        "digits",
        None,
        _LICENCE_WORDS,
    ),
    Pattern(
        "LICENSE_PLATE",
        re.compile(
            rf"[{_PROVINCES}][A-HJ-NP-Z][·•・ ]?(?=[A-HJ-NP-Z]{{0,4}}\d)[A-HJ-NP-Z0-9]{{5,6}}(?![0-9A-Za-z])"
        ),
        STRONG,
        "digit",
    ),
    Pattern(
        "LICENSE_PLATE",
        re.compile(
            r"(?<![0-9A-Za-z])(?:[A-Z]{2}\d{2} ?[A-Z]{3}|[A-Z]{1,3}[- ][A-Z]{1,2} \d{1,4}"
            r"|\d?[A-Z]{3}[- ]?\d{3,4}|"
            r"[A-Z]{2}[- ]\d{3}[- ][A-Z]{2})(?![0-9A-Za-z])"
        ),
        CONTEXT,
        "digit",
        None,
        _PLATE_WORDS,
    ),
)
