"""Puts the values of reversible tokens back into texts, and notes in the audit log who had whose."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from millwright.errors import NotFound
from millwright.modalities.text import TOKEN_CHARACTERS, TOKEN_SIGNS
from millwright.privacy.audit import record
from millwright.privacy.entities import ENTITIES
from millwright.privacy.spent_tokens import ERASED, EXPIRED, reasons_of
from millwright.privacy.vault import Vault
from millwright.privacy.vault_tokens import Value, open_token
from millwright.store.database import in_parts
from millwright.store.tables import vault_tokens

PLACED = re.compile(rf"<({'|'.join(ENTITIES)}):([{TOKEN_SIGNS}]{{{TOKEN_CHARACTERS}}})>")
NAMED_IN_LOG = 1_000  # pseudonyms a line


@dataclass(frozen=True)
class Unmasked:
    """Texts with their values, how many were put back, and which tokens stayed as they were.

    `erased` belong to people who were erased, `expired` were over their time, `unknown` are of no value that
    this project ever had: another project's, or made up.
    """

    texts: tuple[str, ...] = field(repr=False)
    restored: int
    erased: tuple[str, ...]
    expired: tuple[str, ...]
    unknown: tuple[str, ...]


def tokens_in(text: str) -> set[str]:
    """The tokens that a text holds, without their kinds."""
    return {match[2] for match in PLACED.finditer(text)} if "<" in text else set()


def unmask(vault: Vault, texts: Sequence[str], *, by: str) -> Unmasked:
    """Put values back in place of tokens; that it was done is in the audit log before this returns.

    Args:
        vault: the project's.
        texts: any texts.
        by: who asks, for the log: a key's id or a user of this machine.

    Returns:
        As many texts, in order. What a value itself says is not looked at again.

    Raises:
        CannotStore: the log cannot be written; then nothing is told.
        Corrupt: a value was changed, or moved from another token or person.
    """
    vault.refresh()  # a key that another process destroyed must not open anything from memory
    names = list(dict.fromkeys(match[2] for text in texts for match in PLACED.finditer(text)))
    values, spent = _values(vault, names)
    left: dict[str, dict[str, None]] = {ERASED: {}, EXPIRED: {}, "unknown": {}}
    used: list[Value] = []

    def put(match: re.Match[str]) -> str:
        """The value of a token; the token itself where there is none of its kind."""
        value = values.get(match[2])
        if value is not None and value.entity == match[1]:
            used.append(value)
            return value.value
        left[spent.get(match[2], "unknown")][match[0]] = None
        return match[0]

    restored = tuple(PLACED.sub(put, text) for text in texts)
    _note(vault, used, len(texts), {name: len(tokens) for name, tokens in left.items()}, by)
    named = (tuple(left[name]) for name in (ERASED, EXPIRED, "unknown"))
    return Unmasked(restored, len(used), *named)


def _values(vault: Vault, names: Sequence[str]) -> tuple[dict[str, Value], dict[str, str]]:
    """What tokens stand for, and why others stand for nothing any more."""
    values, spent = dict[str, Value](), dict[str, str]()
    with vault.project.database.connect() as connection:
        for part in in_parts(names):
            spent |= reasons_of(connection, part)
            for row in connection.execute(select(vault_tokens).where(vault_tokens.c.token.in_(part))):
                try:
                    values[row.token] = open_token(vault, row)
                except NotFound:  # an erasure destroyed the key and has not come to the row yet
                    spent[row.token] = ERASED
    return values, spent


def _note(vault: Vault, used: Sequence[Value], texts: int, left: Mapping[str, int], by: str) -> None:
    """One line, or one for each NAMED_IN_LOG people: a reader of the log must be able to bear it."""
    people = sorted({value.owner for value in used if value.owner is not None})
    for start in range(0, max(1, len(people)), NAMED_IN_LOG):
        part = people[start : start + NAMED_IN_LOG]
        details: dict[str, str | int | float | bool | None] = {"by": by, "texts": texts, "values": len(used)}
        details |= left
        details["subjects"] = " ".join(part)
        record(vault.project, "unmasked", subject=part[0] if len(people) == 1 else None, details=details)
