"""Tokens whose value is gone: that they had one is remembered, whose it was is not."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, insert, literal, select

from millwright.store.tables import spent_tokens, vault_tokens

ERASED, EXPIRED = "erased", "expired"


def remember_spent(connection: Connection, which: ColumnElement[bool], reason: str) -> None:
    """Note tokens whose rows are about to be deleted.

    Args:
        connection: within the transaction that deletes them.
        which: the condition that their rows meet.
        reason: ERASED or EXPIRED.
    """
    going = select(vault_tokens.c.token, literal(reason)).where(which)
    columns = ["token", "reason"]
    connection.execute(insert(spent_tokens).prefix_with("OR IGNORE").from_select(columns, going))


def reasons_of(connection: Connection, tokens: Iterable[str]) -> dict[str, str]:
    """Why each of some tokens has no value any more; those that never had one are left out.

    Args:
        connection: to the project's database.
        tokens: as many as a statement may name.

    Returns:
        ERASED or EXPIRED by token.
    """
    chosen = select(spent_tokens).where(spent_tokens.c.token.in_(list(tokens)))
    return {row.token: row.reason for row in connection.execute(chosen)}
