"""Which rows of which tables are a person's: what an erasure deletes and an expiry takes along."""

from sqlalchemy import ColumnElement, Select, Table, literal, or_, select

from millwright.store.tables import (
    annotations,
    failures,
    opinions,
    predictions,
    proposed_rows,
    review_items,
    shadows,
    survey_asks,
    vault_tokens,
)

Rows = list[tuple[Table, ColumnElement[bool]]]
PREDICTION = "prediction:"  # begins the item of a review that is about a prediction


def rows_of(subject: str, until: str | None = None) -> Rows:
    """A person's rows, in an order in which they can be deleted.

    Args:
        subject: the person's pseudonym.
        until: leave out what is about predictions after this hour.

    Returns:
        Each table with the condition that its rows of the person meet.
    """
    own = select(predictions.c.id).where(_own(predictions, subject, until))
    hanging = dict(hanging_on(own))
    for table in (annotations, review_items):  # also about rows of files
        hanging[table] = or_(hanging[table], _own(table, subject, until))
    return [
        *hanging.items(),
        (failures, _own(failures, subject, until)),
        (vault_tokens, _own(vault_tokens, subject, until)),
        (predictions, predictions.c.id.in_(own)),
    ]


def hanging_on(own: Select[tuple[str]]) -> Rows:
    """What is about predictions, each table with its condition, in an order in which it can be deleted."""
    items = own.with_only_columns(literal(PREDICTION) + predictions.c.id)
    about: Rows = [(table, table.c.item.in_(items)) for table in (annotations, review_items)]
    return [
        *about,
        *((table, table.c.prediction.in_(own)) for table in (shadows, survey_asks, proposed_rows, opinions)),
    ]


def _own(table: Table, subject: str, until: str | None) -> ColumnElement[bool]:
    mine: ColumnElement[bool] = table.c.subject == subject
    return mine if until is None else mine & (table.c.created_at <= until)
