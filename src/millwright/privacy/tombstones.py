"""Deletes what erased people said until they were erased, also where a backup brought it back."""

from collections.abc import Mapping

from sqlalchemy import Engine, delete, func, select

from millwright.privacy.holdings import rows_of
from millwright.privacy.spent_tokens import ERASED, remember_spent
from millwright.store.database import in_parts
from millwright.store.tables import annotations, failures, predictions, review_items, vault_tokens


def delete_said(database: Engine, subject: str, until: str) -> int:
    """Delete a person's predictions that were given until an hour, with all that hangs on them.

    Args:
        database: the project's database.
        subject: the person's pseudonym.
        until: the hour, as `now` writes it.

    Returns:
        How many predictions were deleted.
    """
    with database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        remember_spent(connection, dict(rows_of(subject, until))[vault_tokens], ERASED)
        deleted = [connection.execute(delete(table).where(which)) for table, which in rows_of(subject, until)]
    return deleted[-1].rowcount  # predictions go last


def replay_tombstones(database: Engine, tombstones: Mapping[str, str]) -> dict[str, int]:
    """Delete what erased people said until they were erased.

    Args:
        database: the project's database.
        tombstones: when each pseudonym was erased.

    Returns:
        How many predictions were deleted, by pseudonym; empty where nothing had come back.
    """
    found = dict[str, int]()
    with database.connect() as connection:
        back = {
            row.subject
            for table in (predictions, failures, annotations, review_items, vault_tokens)
            for part in in_parts(tombstones)
            for row in connection.execute(
                select(table.c.subject, func.min(table.c.created_at).label("first"))
                .where(table.c.subject.in_(part))
                .group_by(table.c.subject)
            )
            if row.first <= tombstones[row.subject]
        }
    for subject in sorted(back):
        found[subject] = delete_said(database, subject, tombstones[subject])
    return found
