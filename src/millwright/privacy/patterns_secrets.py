"""What opens doors: passwords, keys, tokens. Shapes are those that their issuers publish."""

import re
from collections import Counter
from math import log2

from millwright.privacy.patterns import CERTAIN, LIKELY, STRONG, Pattern

_START, _END = r"(?<![A-Za-z0-9_\-])", r"(?![A-Za-z0-9_\-])"
_SHAPES = (
    (r"(?:AKIA|ASIA)[0-9A-Z]{16}", "A"),
    (r"gh[pousr]_[A-Za-z0-9]{36,}", "gh"),
    (r"github_pat_[A-Za-z0-9_]{22,}", "github_pat_"),
    (r"glpat-[A-Za-z0-9_\-]{20,}", "glpat-"),
    (r"xox[abeoprs]-[A-Za-z0-9\-]{10,}", "xox"),
    (r"AIza[A-Za-z0-9_\-]{35}", "AIza"),
    (r"sk-(?:[a-z]{2,10}-)*[A-Za-z0-9_\-]{20,}", "sk-"),
    (r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}", "k_"),
    (r"(?:hf|npm)_[A-Za-z0-9]{30,}", "_"),
    (r"pypi-[A-Za-z0-9_\-]{50,}", "pypi-"),
    (r"LTAI[A-Za-z0-9]{12,20}", "LTAI"),
    (r"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*", "eyJ"),
)


def is_random(text: str) -> bool:
    """True for 16 signs and more with letters and digits that look drawn by lot: over 3 bits a sign."""
    counts = Counter(text)
    bits = -sum(count / len(text) * log2(count / len(text)) for count in counts.values())
    return len(text) >= 16 and bits > 3 and any(map(str.isdigit, text)) and any(map(str.isalpha, text))


PATTERNS = (
    Pattern(
        "SECRET",
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}(?:PRIVATE KEY|CERTIFICATE)-----"
            r"(?:[\s\S]{0,16000}?-----END [A-Z ]{0,40}-----|[A-Za-z0-9+/=\s]{0,16000})"
        ),
        CERTAIN,
        "-----BEGIN",
    ),
    *(Pattern("SECRET", re.compile(_START + shape + _END), CERTAIN, sign) for shape, sign in _SHAPES),
    Pattern(
        "SECRET",
        re.compile(
            r"(?i:\b(?:password|passwd|passcode|pwd|pin code)\b|密码|口令)(?:[ \t]*(?:is|was|[:：=])[ \t]*"
            r"|[ \t]*[是为][ \t]*[:：]?[ \t]*)"
            r"[\"'“]?(?P<span>(?=[^\s]*[0-9!@#$%^&*_])[!-~]{4,64}?)(?=[\"'”]?(?:[\s，。；,;]|[.!?](?:\s|$)|$"
            r"|[\u4e00-\u9fff]))"
        ),
        LIKELY,
        "",
    ),
    Pattern(
        "SECRET",
        re.compile(r"(?<![A-Za-z0-9_+/\-])[A-Za-z0-9_+/\-]{16,200}={0,2}(?![A-Za-z0-9_+/=\-])"),
        STRONG,
        "digit",
        is_random,
        re.compile(
            r"(?i:api|secret|token|access|bearer|auth|private)[ _\-]?(?i:key)?|\bkey\b|密钥|令牌|口令"
        ),
        bare=False,
    ),
)
