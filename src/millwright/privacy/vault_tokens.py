"""Reversible tokens: what stands in a text in place of a value that rests sealed in the vault.

A token is random, so nothing of the value can be told from it. The same characters of the same person (or of
nobody) always get the same one. Its value is sealed with that person's key, and is on disk no later than any
text that holds the token.
"""

import hmac
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlalchemy import Connection, Row, insert, select, update

from millwright.modalities.text import TOKEN_CHARACTERS
from millwright.privacy.sealed import take_write_lock
from millwright.privacy.vault import Place, Vault
from millwright.store.database import in_parts, now
from millwright.store.tables import vault_tokens

PURPOSE = "reversible tokens"  # of the key that is derived from the pepper
LOOKUP_DIGITS = 32
MOST_REMEMBERED = 20_000
_LETTERS = bytes(ord("a") + byte % 26 for byte in range(256))


@dataclass(frozen=True)
class Value:
    """Characters that a text held: whose (a pseudonym, None for nobody's), and of which kind."""

    owner: str | None
    entity: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class VaultToken:
    """A token with what it stands for; `lookup` is a keyed hash of that."""

    token: str
    lookup: str
    value: Value
    created_at: str


class TokenBook:
    """Gives values their tokens. Invariant: a value has one token on disk, whoever else makes one."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._lock = threading.Lock()
        self._recent: dict[str, str] = {}  # by lookup: tokens that may be on their way to the disk
        self._generation = ""

    def pseudonyms(self, people: Iterable[str | None]) -> list[str | None]:
        """The pseudonym of each person, None for nobody."""
        known: dict[str | None, str | None] = {}
        people = list(people)
        for person in people:
            if person not in known:
                known[person] = self._vault.pseudonym(person or None)
        return [known[person] for person in people]

    def kept(self, values: Iterable[Value]) -> dict[Value, str]:
        """The token of each value, all of them on disk when this returns, in at most one commit.

        Args:
            values: what texts held that files or datasets keep: retention does not delete it.

        Returns:
            Tokens by value.
        """
        lookups = {value: self._lookup(value) for value in dict.fromkeys(values)}
        if not lookups:
            return {}
        with self._vault.project.database.connect() as connection:
            found = _rows_by_lookup(connection, lookups.values())
        if len(found) < len(lookups) or any(row.used_at is not None for row in found.values()):
            with self._vault.project.database.begin() as connection:
                take_write_lock(connection, self._vault)
                found = _rows_by_lookup(connection, lookups.values())  # others may have made some meanwhile
                tokens = [
                    _vault_token(value, lookup, found[lookup].token if lookup in found else None)
                    for value, lookup in lookups.items()
                ]
                store_tokens(connection, self._vault, tokens, of_service=False)
            return {token.value: token.token for token in tokens}
        return {value: found[lookup].token for value, lookup in lookups.items()}

    def taken(self, values: Iterable[Value]) -> dict[Value, VaultToken]:
        """The token of each value, not written: who stores the text stores them first, by `store_tokens`.

        Another process may give a value its token before that: then `store_tokens` says what to put instead.

        Args:
            values: what a text of the service held.

        Returns:
            Tokens by value; the same ones again for values whose tokens are not on disk yet.
        """
        lookups = {value: self._lookup(value) for value in dict.fromkeys(values)}
        if not lookups:
            return {}
        self._vault.refresh()  # what an erased person says again must not open old texts
        with self._lock:
            self._forget_where_keys_changed(len(lookups))
            unknown = [lookup for lookup in lookups.values() if lookup not in self._recent]
            if unknown:
                with self._vault.project.database.connect() as connection:
                    there = _rows_by_lookup(connection, unknown)
                for lookup in unknown:
                    self._recent[lookup] = there[lookup].token if lookup in there else _random_token()
            return {
                value: _vault_token(value, lookup, self._recent[lookup]) for value, lookup in lookups.items()
            }

    def hold(self, tokens: Collection[str]) -> None:
        """Note that files hold tokens, which may be the service's: then retention does not delete them.

        Args:
            tokens: those that stand in rows of files; of values of other projects, too.
        """
        bound = [
            vault_tokens.c.token.in_(part) & vault_tokens.c.used_at.is_not(None) for part in in_parts(tokens)
        ]
        with self._vault.project.database.connect() as connection:
            bound = [which for which in bound if connection.scalar(select(vault_tokens.c.token).where(which))]
        if bound:
            with self._vault.project.database.begin() as connection:
                for which in bound:
                    connection.execute(update(vault_tokens).where(which).values(used_at=None))

    def _forget_where_keys_changed(self, count: int) -> None:
        """After an erasure, and when there are many, tokens are looked up anew."""
        generation = self._vault.keys.generation
        if generation != self._generation or len(self._recent) + count > MOST_REMEMBERED:
            self._recent.clear()
            self._generation = generation

    @cached_property
    def _key(self) -> bytes:
        return self._vault.keys.derived_key(PURPOSE)

    def _lookup(self, value: Value) -> str:
        said = "\0".join((value.owner or "", value.entity, value.value))
        return hmac.digest(self._key, said.encode(), "sha256").hex()[:LOOKUP_DIGITS]


def store_tokens(
    connection: Connection, vault: Vault, tokens: Sequence[VaultToken], *, of_service: bool
) -> dict[str, str]:
    """Seal the values of tokens that are not there yet; note that the others are in use.

    Args:
        connection: within a transaction that holds the write lock; see `take_write_lock`.
        vault: seals them.
        tokens: some may come twice.
        of_service: whether what holds them is bound by `privacy.keep_service_days`.

    Returns:
        By token, the one that another process gave the same value in the meantime: texts must be stored with
        that, see `settled`.
    """
    if not tokens:
        return {}
    there_first = _rows_by_lookup(connection, dict.fromkeys(token.lookup for token in tokens))
    standing = {lookup: row.token for lookup, row in there_first.items()}
    instead = {
        token.token: first
        for token in tokens
        if (first := standing.setdefault(token.lookup, token.token)) != token.token
    }
    own = {standing[token.lookup]: replace(token, token=standing[token.lookup]) for token in tokens}
    there = set[str]()
    for part in in_parts(own):
        chosen = vault_tokens.c.token.in_(part)
        there |= set(connection.scalars(select(vault_tokens.c.token).where(chosen)))
        if not of_service:
            bound = chosen & vault_tokens.c.used_at.is_not(None)
            connection.execute(update(vault_tokens).where(bound).values(used_at=None))
    used = [token for token in own.values() if token.token in there and of_service]
    for hour in {token.created_at for token in used}:
        names = [token.token for token in used if token.created_at == hour]
        for part in in_parts(names):
            older = vault_tokens.c.token.in_(part) & (vault_tokens.c.used_at < hour)
            connection.execute(update(vault_tokens).where(older).values(used_at=hour))
    new = [token for token in own.values() if token.token not in there]
    vault.keys.make_keys(token.value.owner for token in new if token.value.owner is not None)
    if new:
        connection.execute(insert(vault_tokens), [_sealed(vault, token, of_service) for token in new])
    return instead


def settled(text: str, instead: Mapping[str, str]) -> str:
    """A text with the tokens that `store_tokens` says."""
    for token, first in instead.items():
        text = text.replace(token, first)  # 24 random letters stand nowhere else
    return text


def open_token(vault: Vault, row: Row[tuple[object, ...]]) -> Value:
    """What a row of the table stands for; NotFound if its person's key was destroyed."""
    content = vault.unseal(Place("vault_tokens", row.token, row.subject), row.sealed)
    return Value(row.subject, content["entity"], content["value"])


def _sealed(vault: Vault, token: VaultToken, of_service: bool) -> dict[str, object]:
    value = token.value
    content = {"entity": value.entity, "value": value.value}
    return {
        "token": token.token,
        "lookup": token.lookup,
        "subject": value.owner,
        "created_at": token.created_at,
        "used_at": token.created_at if of_service else None,
        "sealed": vault.seal(Place("vault_tokens", token.token, value.owner), content),
    }


def _rows_by_lookup(connection: Connection, lookups: Iterable[str]) -> dict[str, Row[tuple[object, ...]]]:
    """The oldest token of each lookup that has one."""
    columns = vault_tokens.c.lookup, vault_tokens.c.token, vault_tokens.c.used_at
    newest_first = vault_tokens.c.created_at.desc(), vault_tokens.c.token
    found = dict[str, Row[tuple[object, ...]]]()
    for part in in_parts(lookups):
        chosen = select(*columns).where(vault_tokens.c.lookup.in_(part)).order_by(*newest_first)
        found |= {row.lookup: row for row in connection.execute(chosen)}
    return found


def _vault_token(value: Value, lookup: str, token: str | None) -> VaultToken:
    return VaultToken(token or _random_token(), lookup, value, now())


def _random_token() -> str:
    """TOKEN_CHARACTERS random letters, 112 bits; no digits, since patterns look for those first."""
    return secrets.token_bytes(TOKEN_CHARACTERS).translate(_LETTERS).decode()
