"""A pattern: a regular expression with a check on what it found and words that must stand near."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from millwright.privacy.checksums import plain
from millwright.privacy.entities import Span

BEFORE, AFTER = 48, 24  # characters around a match in which a context word counts
CERTAIN, STRONG, LIKELY, CONTEXT = 1.0, 0.9, 0.7, 0.6  # a check digit; a shape; a loose shape; words near


@dataclass(frozen=True)
class Pattern:
    """How one kind of personal data looks.

    `needs` is a sign without which the expression cannot match: "digit", "digits" (six of them near each
    other), or a literal string. `check` is given the match, `bare` of separators. Where `near` is set, it
    must match before or after. The span is group "span" where the expression has one.
    """

    entity: str
    expression: re.Pattern[str]
    score: float
    needs: str
    check: Callable[[str], bool] | None = None
    near: re.Pattern[str] | None = None
    bare: bool = True

    def find(self, text: str) -> Iterator[Span]:
        """Every place of `text` that fits."""
        group = "span" if "span" in self.expression.groupindex else 0
        for match in self.expression.finditer(text):
            start, end = match.span(group)
            if start < 0:
                continue
            if self.check and not self.check(plain(match[group]) if self.bare else match[group]):
                continue
            if self.near and not self._is_near(text, start, end):
                continue
            yield Span(start, end, self.entity, self.score)

    def _is_near(self, text: str, start: int, end: int) -> bool:
        assert self.near is not None
        return bool(
            self.near.search(text, max(0, start - BEFORE), start) or self.near.search(text, end, end + AFTER)
        )


def words(english: str, chinese: str = "") -> re.Pattern[str]:
    """A context: any of the English words, whole and in any case, or of the Chinese ones."""
    parts = [rf"\b(?:{english})\b"] + ([chinese] if chinese else [])
    return re.compile("|".join(parts), re.IGNORECASE)


def number(body: str) -> str:
    """An expression for a number that is no part of a longer one, nor of a word."""
    return rf"(?<![\dA-Za-z_])(?<!\d[.,\-/])(?:{body})(?![\dA-Za-z_]|[.,\-/]\d)"
