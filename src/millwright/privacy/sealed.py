"""Writes and reads the sealed tables of what was said: predictions, shadows, opinions, proposed rows."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select

from millwright.privacy.vault import Place, Vault
from millwright.records import Failure, JsonObject, Opinion, Prediction, ProposedRow, Shadow
from millwright.store.database import in_parts
from millwright.store.tables import failures, opinions, predictions, proposed_rows, shadows

STREAMED_ROWS = 500
SAID = ("label", "rating", "comment", "csat", "nps", "outcome", "key")
SHOWN = ("traffic", "arm", "propensity", "unit", "seconds")  # of a prediction: they say nothing of a person
_shown = attrgetter(*SHOWN)
_PREDICTION = ("id", "version", "subject", "ask", "created_at", "sealed", *SHOWN)
# Each answer becomes such a row, and SQLAlchemy's own statement costs as much again as all the rest of it.
_INSERT_PREDICTION = (
    f"INSERT INTO predictions ({', '.join(_PREDICTION)}) VALUES ({', '.join('?' for _ in _PREDICTION)})"
)


def take_write_lock(connection: Connection, vault: Vault) -> None:
    """Begin a transaction that seals: now no other process deletes rows, and no destroyed key is used."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    vault.refresh()


def store_predictions(connection: Connection, vault: Vault, records: Sequence[Prediction]) -> None:
    """Seal predictions, each with the key of the person whose data it is."""
    pseudonyms = [vault.pseudonym(record.subject) for record in records]
    vault.keys.make_keys(subject for subject in pseudonyms if subject is not None)
    values = [
        (
            record.id,
            record.version,
            subject,
            record.ask,
            record.created_at,
            vault.seal(
                Place("predictions", record.id, subject),
                {
                    "text": record.text,
                    "label": record.label,
                    "probability": record.probability,
                    "subject": record.subject,
                },
            ),
            *_shown(record),
        )
        for record, subject in zip(records, pseudonyms, strict=True)
    ]
    if values:
        connection.exec_driver_sql(_INSERT_PREDICTION, values)


def store_opinions(connection: Connection, vault: Vault, records: Sequence[Opinion]) -> None:
    """Seal opinions with the keys of the people on whose predictions they are."""
    owners, values = _owners(connection, records), []
    for record in records:
        subject = owners.get(record.prediction)
        content = {name: getattr(record, name) for name in SAID if getattr(record, name) is not None}
        values.append(
            {
                "id": record.id,
                "prediction": record.prediction,
                "created_at": record.created_at,
                "subject": subject,
                "has_label": record.label is not None,
                "key": hidden_key(vault, record.key),
                "asked_with": record.asked_with,
                "sealed": vault.seal(Place("opinions", record.id, subject), content),
            }
        )
    if values:
        connection.execute(insert(opinions), values)


def hidden_key(vault: Vault, key: str | None) -> str | None:
    """The name by which the table of opinions knows a client's key, which may name a person."""
    return None if key is None else vault.pseudonym(f"key {key}")


def store_shadows(connection: Connection, vault: Vault, records: Sequence[Shadow]) -> None:
    """Seal what unseen versions answered with the keys of the people who asked."""
    owners, values = _owners(connection, records), []
    for record in records:
        subject, shown = owners.get(record.prediction), vars(record)
        content = {name: shown[name] for name in ("label", "probability")}
        values.append(
            {
                **{name: value for name, value in shown.items() if name not in content},
                "subject": subject,
                "sealed": vault.seal(Place("shadows", record.id, subject), content),
            }
        )
    if values:
        connection.execute(insert(shadows), values)


def store_failures(connection: Connection, vault: Vault, records: Sequence[Failure]) -> None:
    """Keep failures under pseudonyms; nothing in them is what a person wrote."""
    if records:
        values = [{**vars(record), "subject": vault.pseudonym(record.subject)} for record in records]
        connection.execute(insert(failures), values)


def _owners(connection: Connection, records: Sequence[Opinion | Shadow]) -> dict[str, str | None]:
    """The pseudonym behind each prediction that records are about."""
    if not records:
        return {}
    named = [record.prediction for record in records]
    chosen = select(predictions.c.id, predictions.c.subject).where(predictions.c.id.in_(named))
    return {row.id: row.subject for row in connection.execute(chosen)}


def owner_of(connection: Connection, prediction: str) -> str | None:
    """The pseudonym behind a prediction; None if it is nobody's, or is not there."""
    found: str | None = connection.scalar(select(predictions.c.subject).where(predictions.c.id == prediction))
    return found


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
    shown = {name: getattr(row, name) for name in SHOWN}
    return Prediction(
        id=row.id, version=row.version, ask=row.ask, created_at=row.created_at, **shown, **content
    )


def open_opinion(vault: Vault, row: Row[Any]) -> Opinion:
    """The opinion that a row of the table holds."""
    content = vault.unseal(Place("opinions", row.id, row.subject), row.sealed)
    said = {**dict.fromkeys(SAID), **content}
    return Opinion(
        id=row.id, prediction=row.prediction, created_at=row.created_at, asked_with=row.asked_with, **said
    )


def open_shadow(vault: Vault, row: Row[Any]) -> JsonObject:
    """The label and the probability that a row of the table of shadows holds."""
    return vault.unseal(Place("shadows", row.id, row.subject), row.sealed)


def open_proposed(vault: Vault, row: Row[Any]) -> ProposedRow:
    """The proposed row that a row of the table holds."""
    content = vault.unseal(Place("proposed_rows", row.prediction, row.subject), row.sealed)
    return ProposedRow(
        prediction=row.prediction, opinion=row.opinion, split=row.split, turn=row.turn, **content
    )


def read_opinions(vault: Vault, subject: str | None = None) -> list[Opinion]:
    """Opinions in the order they were given, of one pseudonym if it is named."""
    return [open_opinion(vault, row) for row in _rows(vault, _of(opinions, subject, "created_at"))]


def read_proposed(vault: Vault, subject: str | None = None) -> list[ProposedRow]:
    """Proposed rows by prediction, of one pseudonym if it is named."""
    return [open_proposed(vault, row) for row in _rows(vault, _of(proposed_rows, subject, "prediction"))]


def stream_predictions(vault: Vault) -> Iterator[Prediction]:
    """Predictions one after the other, in no order; few are in memory at once."""
    return (open_prediction(vault, row) for row in _streamed(vault, predictions))


def stream_opinions(vault: Vault) -> Iterator[Opinion]:
    """Opinions one after the other, in no order; few are in memory at once."""
    return (open_opinion(vault, row) for row in _streamed(vault, opinions))


def stream_proposed(vault: Vault) -> Iterator[ProposedRow]:
    """Proposed rows one after the other, in no order; few are in memory at once."""
    return (open_proposed(vault, row) for row in _streamed(vault, proposed_rows))


def stream_named(vault: Vault, names: Sequence[str]) -> Iterator[Prediction]:
    """Predictions by id, in this order and without those that are gone; few are in memory at once."""
    _ = vault.keys  # before anything is read
    for part in in_parts(names):
        with vault.project.database.connect() as connection:
            found = connection.execute(select(predictions).where(predictions.c.id.in_(part))).all()
        rows = {row.id: row for row in found if row.sealed is not None}
        yield from (open_prediction(vault, rows[name]) for name in part if name in rows)


def _streamed(vault: Vault, table: Any) -> Iterator[Row[Any]]:
    _ = vault.keys  # before anything is read: it seals what an older Millwright left
    chosen = select(table).where(table.c.sealed.is_not(None))
    with vault.project.database.connect() as connection:
        yield from connection.execute(chosen, execution_options={"yield_per": STREAMED_ROWS})


def _of(table: Any, subject: str | None, order: str) -> Select[Any]:
    chosen = select(table).where(table.c.sealed.is_not(None)).order_by(table.c[order])
    return chosen if subject is None else chosen.where(table.c.subject == subject)


def _rows(vault: Vault, chosen: Select[Any]) -> Sequence[Row[Any]]:
    _ = vault.keys  # before anything is read: it seals what an older Millwright left
    with vault.project.database.connect() as connection:
        return connection.execute(chosen).all()
