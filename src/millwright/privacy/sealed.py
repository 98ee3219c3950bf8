"""Writes and reads the sealed tables: predictions, opinions, proposed rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select

from millwright.privacy.vault import Place, Vault
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.store.tables import opinions, predictions, proposed_rows


def take_write_lock(connection: Connection, vault: Vault) -> None:
    """Begin a transaction that seals: now no other process deletes rows, and no destroyed key is used."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    vault.refresh()


def store_predictions(connection: Connection, vault: Vault, records: Sequence[Prediction]) -> None:
    """Seal predictions, each with the key of the person whose data it is."""
    pseudonyms = [vault.pseudonym(record.subject) for record in records]
    vault.keys.make_keys(subject for subject in pseudonyms if subject is not None)
    values = []
    for record, subject in zip(records, pseudonyms, strict=True):
        content = {
            "text": record.text,
            "label": record.label,
            "probability": record.probability,
            "subject": record.subject,
        }
        values.append(
            {
                "id": record.id,
                "version": record.version,
                "subject": subject,
                "ask": record.ask,
                "created_at": record.created_at,
                "sealed": vault.seal(Place("predictions", record.id, subject), content),
            }
        )
    if values:
        connection.execute(insert(predictions), values)


def store_opinions(connection: Connection, vault: Vault, records: Sequence[Opinion]) -> None:
    """Seal opinions with the keys of the people on whose predictions they are."""
    named = [record.prediction for record in records]
    chosen = select(predictions.c.id, predictions.c.subject).where(predictions.c.id.in_(named))
    owners = {row.id: row.subject for row in connection.execute(chosen)} if named else {}
    values = []
    for record in records:
        subject = owners.get(record.prediction)
        content = {"label": record.label, "rating": record.rating, "comment": record.comment}
        values.append(
            {
                "id": record.id,
                "prediction": record.prediction,
                "created_at": record.created_at,
                "subject": subject,
                "has_label": record.label is not None,
                "sealed": vault.seal(Place("opinions", record.id, subject), content),
            }
        )
    if values:
        connection.execute(insert(opinions), values)


def store_proposed(connection: Connection, vault: Vault, record: ProposedRow) -> None:
    """Seal a proposed row in place of an older one of the same prediction."""
    subject = vault.pseudonym(record.subject)
    content = {"text": record.text, "label": record.label, "subject": record.subject}
    connection.execute(delete(proposed_rows).where(proposed_rows.c.prediction == record.prediction))
    connection.execute(
        insert(proposed_rows).values(
            prediction=record.prediction,
            opinion=record.opinion,
            subject=subject,
            split=record.split,
            turn=record.turn,
            sealed=vault.seal(Place("proposed_rows", record.prediction, subject), content),
        )
    )


def open_prediction(vault: Vault, row: Row[Any]) -> Prediction:
    """The prediction that a row of the table holds."""
    content = vault.unseal(Place("predictions", row.id, row.subject), row.sealed)
    return Prediction(id=row.id, version=row.version, ask=row.ask, created_at=row.created_at, **content)


def open_opinion(vault: Vault, row: Row[Any]) -> Opinion:
    """The opinion that a row of the table holds."""
    content = vault.unseal(Place("opinions", row.id, row.subject), row.sealed)
    return Opinion(id=row.id, prediction=row.prediction, created_at=row.created_at, **content)


def open_proposed(vault: Vault, row: Row[Any]) -> ProposedRow:
    """The proposed row that a row of the table holds."""
    content = vault.unseal(Place("proposed_rows", row.prediction, row.subject), row.sealed)
    return ProposedRow(
        prediction=row.prediction, opinion=row.opinion, split=row.split, turn=row.turn, **content
    )


def read_predictions(vault: Vault, subject: str | None = None) -> list[Prediction]:
    """Predictions in the order they were given, of one pseudonym if it is named."""
    return [open_prediction(vault, row) for row in _rows(vault, _of(predictions, subject, "created_at"))]


def read_opinions(vault: Vault, subject: str | None = None) -> list[Opinion]:
    """Opinions in the order they were given, of one pseudonym if it is named."""
    return [open_opinion(vault, row) for row in _rows(vault, _of(opinions, subject, "created_at"))]


def read_proposed(vault: Vault, subject: str | None = None) -> list[ProposedRow]:
    """Proposed rows by prediction, of one pseudonym if it is named."""
    return [open_proposed(vault, row) for row in _rows(vault, _of(proposed_rows, subject, "prediction"))]


def _of(table: Any, subject: str | None, order: str) -> Select[Any]:
    chosen = select(table).where(table.c.sealed.is_not(None)).order_by(table.c[order])
    return chosen if subject is None else chosen.where(table.c.subject == subject)


def _rows(vault: Vault, chosen: Select[Any]) -> Sequence[Row[Any]]:
    _ = vault.keys  # before anything is read: it seals what an older Millwright left
    with vault.project.database.connect() as connection:
        return connection.execute(chosen).all()
