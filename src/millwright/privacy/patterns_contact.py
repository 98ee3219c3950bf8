"""How people are reached: e-mail, telephone, web and network addresses."""

import re
from ipaddress import ip_address

from millwright.privacy.patterns import CERTAIN, CONTEXT, LIKELY, STRONG, Pattern, words

_PHONE_WORDS = words(
    r"phones?|tel|telephone|call(?:ing|ed)?|mobile|cell|fax|dial|whatsapp|sms|texts?|ring|contact|reach|"
    r"hotline|messages? to|answering",
    "电话|手机|联系|致电|拨打|座机|传真|热线|微信|来电|号码",
)
_TOP = (
    "com|org|net|edu|gov|mil|info|biz|io|ai|app|dev|me|tv|co|eu|uk|de|fr|it|es|nl|be|ch|at|se|no|dk|fi|pl|"
    "cz|hu|pt|gr|ie|ru|ua|cn|hk|tw|jp|kr|in|au|nz|ca|us|br|mx|ar|za|sg|cc|xyz|online|shop|site|tech|top|vip"
)


def _is_phone(digits: str) -> bool:
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1


def is_network_address(text: str) -> bool:
    """True for an address of IPv4 or IPv6, whole."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _network(body: str, needs: str) -> Pattern:
    return Pattern("IP_ADDRESS", re.compile(body), STRONG, needs, is_network_address, bare=False)


def _phone(body: str, score: float, *, needs: str = "digits", near: bool = False) -> Pattern:
    return Pattern("PHONE_NUMBER", re.compile(body), score, needs, _is_phone, _PHONE_WORDS if near else None)


_EXTENSION = r"(?:(?: ?(?:x|ext\.?|转|分机) ?|[-－])\d{1,6})?"
_EDGE, _STOP = r"(?<![\d.,])(?<!\d[-–/])(?<![A-Za-z_])", r"(?![\d])(?![.,\-–/]\d)"

PATTERNS = (
    Pattern(
        "EMAIL_ADDRESS",
        re.compile(
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9_%+\-](?:[A-Za-z0-9._%+\-]{0,62}[A-Za-z0-9_%+\-])?[@＠]"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
        ),
        CERTAIN,
        "@",
    ),
    Pattern(
        "URL",
        re.compile(
            r"(?:https?|ftp)://[^\s<>\"'，。；、（）《》【】“”]*[^\s<>\"'，。；、（）《》【】“”.,;:!?)\]}|]"
        ),
        STRONG,
        "://",
    ),
    Pattern(
        "URL",
        re.compile(
            r"(?<![A-Za-z0-9@._\-])www\.[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*"
            r"(?:/[A-Za-z0-9_\-./?%&=#~]*[A-Za-z0-9/])?"
        ),
        STRONG,
        "www.",
    ),
    Pattern(
        "URL",
        re.compile(
            rf"(?<![A-Za-z0-9@._\-])(?:[a-z0-9](?:[a-z0-9\-]{{0,40}}[a-z0-9])?\.){{1,4}}(?:{_TOP})"
            r"(?![A-Za-z0-9@_\-]|\.[A-Za-z0-9])(?:/[A-Za-z0-9_\-./?%&=#~]*[A-Za-z0-9/])?"
        ),
        LIKELY,
        ".",
    ),
    _network(r"(?<![\d.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\d|\.\d)", "digit"),
    _network(
        r"(?<![0-9A-Za-z:.])(?=[A-Fa-f:]*[0-9])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?:\.[0-9.]{5,11}[0-9])?"
        r"(?![0-9A-Za-z:])",
        ":",
    ),
    Pattern(
        "IP_ADDRESS",
        re.compile(r"(?<![0-9A-Za-z:\-])(?:[0-9A-Fa-f]{2}[:\-]){5}[0-9A-Fa-f]{2}(?![0-9A-Za-z:\-])"),
        STRONG,
        "digit",
    ),
    # Chinese mobiles and landlines.
    _phone(rf"(?<!\d)(?<!\d[.\-])(?:(?:\+|00)?86[- ]?)?1[3-9]\d[- ]?\d{{4}}[- ]?\d{{4}}{_STOP}", STRONG),
    _phone(rf"{_EDGE}(?:[（(]0\d{{2,3}}[)）] ?|0\d{{2,3}}[-－ ])[2-9]\d{{6,7}}{_EXTENSION}{_STOP}", STRONG),
    _phone(rf"{_EDGE}(?:400|800)[- ]?\d{{3,4}}[- ]?\d{{3,4}}{_STOP}", LIKELY),
    # International, then North American.
    _phone(
        rf"(?<![\d+])\+ ?\d{{1,3}}[ .\-/]?(?:\(\d{{1,4}}\)[ .\-/]?)?\d"
        rf"(?:[ .\-/]?\d){{5,13}}{_EXTENSION}{_STOP}",
        STRONG,
    ),
    _phone(
        rf"{_EDGE}(?:\+?1[-. ]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])\d{{3}}[-. ]\d{{4}}{_EXTENSION}{_STOP}",
        STRONG,
    ),
    _phone(rf"{_EDGE}001[-. ]\d{{3}}[-. ]\d{{3}}[-. ]\d{{4}}{_EXTENSION}{_STOP}", STRONG),
    # Groups of digits as they are written elsewhere; a date has another shape.
    _phone(
        rf"{_EDGE}(?!(?:19|20)\d\d[-/. ][01]?\d[-/. ][0-3]?\d\b)(?!\d\d?[-/.]\d\d?[-/.]\d{{2,4}}{_STOP})"
        rf"(?:\(\d{{2,5}}\) ?|0\d{{1,4}}[ .\-/])\d{{2,4}}(?:[ .\-/]?\d{{2,4}}){{1,4}}{_STOP}",
        LIKELY,
    ),
    _phone(
        rf"{_EDGE}(?!(?:19|20)\d\d[-/. ][01]?\d[-/. ][0-3]?\d\b)\d{{2,3}}(?:[ .\-]\d{{2,3}}){{2,4}}{_STOP}",
        CONTEXT - 0.1,
    ),
    _phone(rf"{_EDGE}\d{{2,4}}(?:[ .\-/]?\d{{2,8}}){{1,4}}{_EXTENSION}{_STOP}", CONTEXT, near=True),
)
