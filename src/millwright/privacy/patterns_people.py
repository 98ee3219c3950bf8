"""What is said of people: dates of birth and other dates, ages, forms of address, nationalities."""

import re

from millwright.privacy.patterns import CONTEXT, LIKELY, STRONG, Pattern, words

_MONTHS = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct"
    "(?:ober)?|"
    "Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:1[89]|20)\d{2}"
_DATE = (
    rf"(?<![\d.\-/])(?=[\dJFMASOND])(?:{_YEAR}[-/.年] ?{_MONTH}[-/.月] ?{_DAY}[日号]?(?:[ T]\d\d?:\d\d"
    rf"(?::\d\d)?)?|{_DAY}[-/.]{_MONTH}[-/.](?:{_YEAR}|\d\d)|"
    rf"{_MONTH}[-/.]{_DAY}[-/.](?:{_YEAR}|\d\d)|{_MONTHS}\.? {_DAY}(?:st|nd|rd|th)?(?:,? {_YEAR})?|"
    rf"{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTHS}\.?(?:,? {_YEAR})?|{_MONTHS}\.? {_YEAR})(?![\d]|[\-/.]\d"
    rf"|[A-Za-z])"
)
_BIRTH = words(r"born(?: on)?|d\.?o\.?b|date of birth|birth ?date|birthday|birth", "出生|生日|生于|诞辰")
_PEOPLES = (
    "American|British|English|Scottish|Welsh|Irish|French|German|Italian|Spanish|Portuguese|Dutch|Belgian"
    "|Swiss|"
    "Austrian|Swedish|Norwegian|Danish|Finnish|Icelandic|Polish|Czech|Slovak|Slovenian|Croatian|Serbian"
    "|Bosnian|"
    "Hungarian|Romanian|Bulgarian|Greek|Turkish|Russian|Ukrainian|Belarusian|Estonian|Latvian|Lithuanian"
    "|Chechen|"
    "Georgian|Armenian|Kazakh|Uzbek|Chinese|Taiwanese|Japanese|Korean|Vietnamese|Thai|Cambodian|Filipino|"
    "Indonesian|Malaysian|Singaporean|Indian|Pakistani|Bangladeshi|Nepalese|Tibetan|Mongolian|Australian|"
    "Canadian|Mexican|Cuban|Brazilian|Argentin(?:e|ian)|Chilean|Peruvian|Colombian|Venezuelan|Ecuadore?an|"
    "Belizean|Belizian|Bolivian|Haitian|Jamaican|Egyptian|Moroccan|Algerian|Tunisian|Libyan|Sudanese"
    "|Ethiopian|"
    "Kenyan|Nigerian|Ghanaian|Somali|Israeli|Palestinian|Lebanese|Syrian|Jordanian|Iraqi|Iranian|Persian"
    "|Saudi|"
    "Kuwaiti|Qatari|Yemeni|Afghan|Kurd(?:ish)?|Arab(?:ic)?|African|European|Asian|Christian|Catholic"
    "|Protestant|"
    "Orthodox|Muslim|Islamic|Sunni|Shi[i']?a?i?|Jew(?:ish)?|Hindu|Buddhist|Sikh|Mormon|Atheist"
)

PATTERNS = (
    Pattern("DATE_OF_BIRTH", re.compile(_DATE, re.IGNORECASE), STRONG, "digit", None, _BIRTH),
    Pattern(
        "DATE_OF_BIRTH", re.compile(rf"(?<!\d){_YEAR}年{_MONTH}月(?:{_DAY}[日号]?)?(?=出?生)"), STRONG, "年"
    ),
    Pattern("DATE", re.compile(_DATE, re.IGNORECASE), LIKELY, "digit"),
    Pattern(
        "DATE",
        re.compile(
            rf"(?<![\w\-/.,$€£¥#+]){_YEAR}(?![\w\-/:%]|[.,]\d)|(?<!\d){_YEAR}年(?:{_MONTH}月"
            rf"(?:{_DAY}[日号])?)?(?!\d)"
        ),
        CONTEXT - 0.1,
        "digit",
    ),
    Pattern("DATE", re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"), CONTEXT, "day"),
    Pattern(
        "AGE",
        re.compile(
            r"(?<![\d.\-])(?P<span>\d{1,3})(?=[ \-]?(?:years?|yrs?|months?|y/o|y\.o\.|yo\b)[ \-]?(?:old)?\b)"
            r"(?=[^.]{0,14}\bold\b|[ \-]?(?:y/o|y\.o\.|yo\b))"
        ),
        LIKELY,
        "digit",
    ),
    Pattern("AGE", re.compile(r"(?<![\d.])\d{1,3}(?=周?岁)"), LIKELY, "岁"),
    Pattern(
        "AGE",
        re.compile(
            r"(?i:\b(?:aged?|age is|age:|turn(?:s|ed|ing)?|age of)\b):? (?P<span>\d{1,3})(?![\w\-:/%]|[.,]\d)"
        ),
        LIKELY,
        "digit",
    ),
    Pattern(
        "TITLE",
        re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|Mx|Rev|Hon)\b\.?(?= [A-ZÀ-ÞŠŽ])"),
        LIKELY,
        "",
    ),
    Pattern("NATIONALITY", re.compile(rf"(?<![\w\-])(?:{_PEOPLES})s?(?![\w])", re.IGNORECASE), LIKELY, ""),
)
