"""Deletes what erased people said until they were erased, also where a backup brought it back."""

from collections.abc import Mapping

from sqlalchemy import Engine, delete, func, select

from millwright.store.tables import opinions, predictions, proposed_rows

AT_ONCE = 500  # SQLite bounds how many values a statement may have


def delete_said(database: Engine, subject: str, until: str) -> int:
    """Delete a person's predictions that were given until an hour, with all that hangs on them.

    Args:
        database: the project's database.
        subject: the person's pseudonym.
        until: the hour, as `now` writes it.

    Returns:
        How many predictions were deleted.
    """
    own = select(predictions.c.id).where(predictions.c.subject == subject, predictions.c.created_at <= until)
    with database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for table in (proposed_rows, opinions):
            connection.execute(delete(table).where(table.c.prediction.in_(own)))
        return connection.execute(delete(predictions).where(predictions.c.id.in_(own))).rowcount


def replay_tombstones(database: Engine, tombstones: Mapping[str, str]) -> dict[str, int]:
    """Delete what erased people said until they were erased.

    Args:
        database: the project's database.
        tombstones: when each pseudonym was erased.

    Returns:
        How many predictions were deleted, by pseudonym; empty where nothing had come back.
    """
    names, found = sorted(tombstones), dict[str, int]()
    with database.connect() as connection:
        back = [
            row.subject
            for start in range(0, len(names), AT_ONCE)
            for row in connection.execute(
                select(predictions.c.subject, func.min(predictions.c.created_at).label("first"))
                .where(predictions.c.subject.in_(names[start : start + AT_ONCE]))
                .group_by(predictions.c.subject)
            )
            if row.first <= tombstones[row.subject]
        ]
    for subject in back:
        found[subject] = delete_said(database, subject, tombstones[subject])
    return found
