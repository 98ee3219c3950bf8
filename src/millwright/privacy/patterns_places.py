"""Where people live, English and Chinese: streets, post boxes, postcodes."""

import re
from functools import cache

from millwright.privacy.patterns import CONTEXT, LIKELY, STRONG, Pattern, words
from millwright.privacy.tokens import word_list

_STREETS = (
    "Street|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Terrace|Ter|"
    "Way|Highway|Hwy|Parkway|Pkwy|Close|Crescent|Cres|Row|Alley|Circle|Cir|Trail|Loop|Grove|Gardens|Walk"
    "|Mews|"
    "Quay|Hill|Heights|Broadway|Turnpike|Esplanade|Strand"
)
STREET_WORDS = frozenset(f"{_STREETS}|rue|via|calle|rua|avenida|chemin|viale|corso".lower().split("|"))
_WORD = r"(?:[A-ZÀ-ÞŠŽ][\w'’.\-]*|\d{1,3}(?:st|nd|rd|th))"
_UNIT = r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Fl|Box)\.? ?#?\d[\w\-]*|#\d+[A-Z]?"
_ABROAD = (
    r"(?:Rua|Avenida|Av\.|Calle|Via|Viale|Piazza|Corso|Rue|Avenue|Boulevard|Chemin|Plaza|Paseo|Carrer|ul\."
    r"|Ulica|"
    r"Largo|Travessa|Quinta|Strada|Vicolo)"
)
_ENDINGS = (
    r"(?:stra(?:ss|ß)e|strasse|str\.|weg|gasse|platz|allee|gata|gatan|vägen|vegen|vej|gade|katu|tie|kuja"
    r"|straat|"
    r"laan|weg|plein|utca|tér|vænget|allé|polku|väg|ufer|damm|ring|hof|dreef|singel|kade)"
)
_ZIP_WORDS = words(r"zip(?: ?code)?|post ?code|postal(?: ?code)?|cap|plz", "邮编|邮政编码")
_CITY = "[^\\W\\da-zA-Z我你您他她它在住到是的了寄送往于去从至和与或请把给向将家为叫、，。；]"
# No name of a unit holds a sign that ends one, so that a text can be cut into units in one way only.
_ADMIN = rf"(?:(?:(?![省市区县旗镇乡]){_CITY}){{1,8}}[省市区县旗镇乡])"
_ROOM = (
    r"(?:[A-Za-z]?\d{1,6}|[一二三四五六七八九十百零〇甲乙丙]{1,6}|[A-Z])(?:号楼|号院|号|栋|幢|座|单元|室|楼|层"
    r"|弄|户|院|组|排)"
)


@cache
def address_tail() -> re.Pattern[str]:
    """What follows a street and belongs to its address: a flat, a town, a state, a postcode or a country."""
    places = "|".join(sorted(map(re.escape, word_list("places")), key=len, reverse=True))
    gap = r"[ \t]*[,\n]?[ \t]*\n?[ \t]*"
    town = r"[A-ZÀ-ÞŠŽΑ-Ω][\w'’.\-]*(?: (?:[a-zà-þ]{1,3} )?[A-ZÀ-ÞŠŽΑ-Ω][\w'’.\-]*){0,3}"
    flat = rf"(?:{gap}(?:{_UNIT}))"
    code = r"(?:\d{5}(?:-\d{4})?|\d{4}(?: [A-Z]{2})?|\d{6}|\d{3} \d{2}|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2})"
    end = rf"(?:{gap}(?:{places})\b(?: {code})?|(?:{gap}[A-Z]{{1,3}})?{gap}{code})(?![\w-])"
    return re.compile(
        rf"{flat}{{0,2}}(?:(?:{gap}{town}|{gap}{code} {town}){end}|{end}|{gap}{code} {town})|{flat}{{1,3}}"
    )


PATTERNS = (
    Pattern(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.,\-])\d{{1,5}}[A-Za-z]?(?:[\-/]\d{{1,4}})?,? (?:{_WORD} ){{1,5}}"
            rf"(?:{_STREETS})\b\.?(?! of\b)"
            rf"(?:,? (?:{_UNIT}))?"
        ),
        STRONG,
        "digit",
    ),
    Pattern("ADDRESS", re.compile(rf"\b(?:{_UNIT})(?!\w)"), CONTEXT, "digit"),
    Pattern(
        "ADDRESS",
        re.compile(r"\bUS(?:NS|NV|S|CGC) [A-ZÀ-Þ][\w'’-]*\s+(?:APO|FPO|DPO)[, ]+A[AEP] \d{5}\b"),
        STRONG,
        "PO",
    ),
    Pattern(
        "ADDRESS",
        re.compile(
            r"\b(?:P\.? ?O\.? ?Box \d{1,6}|(?:PSC|CMR|Unit) \d{1,5},? Box \d{1,5}(?:\s+(?:APO|FPO"
            r"|DPO) A[AEP] \d{5})?)\b"
        ),
        STRONG,
        "digit",
    ),
    Pattern(
        "ADDRESS",
        re.compile(
            rf"\b{_ABROAD} (?:[a-z]{{1,4}} )*(?:{_WORD} ?){{1,4}},? ?(?:n[.º°] ?)?\d{{1,5}}[A-Za-z]?\b"
        ),
        STRONG,
        "digit",
    ),
    Pattern(
        "ADDRESS",
        re.compile(rf"\b(?:{_WORD} )?[A-ZÀ-ÞŠŽ][\w\-]*{_ENDINGS} ?\d{{1,4}}[A-Za-z]?\b"),
        STRONG,
        "digit",
    ),
    Pattern(
        "ADDRESS",
        re.compile(
            rf"{_ADMIN}{{0,5}}{_CITY}{{1,8}}?(?:路|街|大道|大街|巷|胡同|弄|道|村|里|苑|小区|花园|新村|公寓|大厦)"
            rf"(?:[东西南北中]?(?:段|侧))?{_ROOM}(?:[ ,，-]?{_ROOM}|\d{{1,6}}){{0,8}}"
        ),
        STRONG,
        "号",
    ),
    Pattern(
        "ADDRESS",
        re.compile(
            rf"{_ADMIN}{{0,5}}{_CITY}{{1,8}}?(?:路|街|大道|巷|胡同|弄|村|苑|小区|花园|新村|公寓|大厦|广场){_ROOM}"
            rf"(?:[ ,，-]?{_ROOM}|\d{{1,6}}){{0,8}}"
        ),
        LIKELY,
        "室",
    ),
    Pattern(
        "POSTCODE",
        re.compile(
            r"(?<![0-9A-Za-z_\-])(?:\d{5}-\d{4}|\d{2,4}[- ]\d{2,4}|\d{3,6}|\d{4} ?[A-Z]{2}|[A-Z]-?\d{4}"
            r"|[A-Z]\d[A-Z] ?\d[A-Z]\d)(?![0-9A-Za-z_\-])"
        ),
        CONTEXT,
        "digit",
        None,
        _ZIP_WORDS,
    ),
    Pattern(
        "POSTCODE",
        re.compile(
            r"(?<![0-9A-Za-z_\-])(?:[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}"
            r"|[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d)"
            r"(?![0-9A-Za-z_\-])"
        ),
        LIKELY,
        "digit",
    ),
    Pattern("POSTCODE", re.compile(r"(?<=\b[A-Z]{2} )\d{5}(?:-\d{4})?(?![0-9A-Za-z_\-])"), LIKELY, "digit"),
)
