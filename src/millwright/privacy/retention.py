"""Deletes what people said when the time is up that the settings give it, but for those under a legal hold.

Two purposes: "service" (predictions, opinions and all else about them, by `privacy.keep_service_days`) and
"training" (the rows that users' labels made, by `privacy.keep_training_days`). What such a row hangs on keeps
its id, emptied, as long as the row stands. Datasets that exist are not rewritten: the next one is built
without the rows.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, false, func, or_, select, update

from millwright.privacy.audit import record
from millwright.privacy.consent import HELD
from millwright.privacy.holdings import hanging_on
from millwright.privacy.sealed import open_proposed
from millwright.privacy.spent_tokens import EXPIRED, remember_spent
from millwright.privacy.unmask import tokens_in
from millwright.privacy.vault import Vault, open_vault
from millwright.project import Project
from millwright.store.database import hour_of, now, scrub
from millwright.store.tables import failures, opinions, predictions, proposed_rows, restrictions, vault_tokens


@dataclass(frozen=True)
class Expired:
    """How many rows are over their time, by table, and how many of those a legal hold keeps."""

    predictions: int
    opinions: int
    proposed_rows: int
    failures: int
    tokens: int
    held: int
    is_dry_run: bool


def expire(project: Project, *, dry_run: bool = False, hour: str | None = None) -> Expired:
    """Delete what is over its time.

    Args:
        project: an open project.
        dry_run: only count.
        hour: as `now` writes it; now if None.

    Returns:
        What was deleted, or would be.
    """
    settings, hour = project.settings.privacy, hour or now()
    service = _before(hour, settings.keep_service_days)
    training = _before(hour, settings.keep_training_days)
    vault = _vault_of_tokens(project)
    with project.database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        old_tokens = _old_tokens(connection, vault, service, training)
        old_rows = _old_rows(training)
        old_opinions = (opinions.c.created_at < service) & opinions.c.sealed.is_not(None)
        old_predictions = (predictions.c.created_at < service) & predictions.c.sealed.is_not(None)
        old_failures = failures.c.created_at < service
        found = Expired(
            predictions=_count(connection, old_predictions & _free(predictions.c.subject)),
            opinions=_count(connection, old_opinions & _free(opinions.c.subject)),
            proposed_rows=_count(connection, old_rows & _free(proposed_rows.c.subject)),
            failures=_count(connection, old_failures & _free(failures.c.subject)),
            tokens=_count(connection, old_tokens),
            held=sum(
                _count(connection, old & ~_free(subject))
                for old, subject in (
                    (old_predictions, predictions.c.subject),
                    (old_opinions, opinions.c.subject),
                    (old_rows, proposed_rows.c.subject),
                    (old_failures, failures.c.subject),
                )
            ),
            is_dry_run=dry_run,
        )
        going = (found.predictions, found.opinions, found.proposed_rows, found.failures, found.tokens)
        if dry_run or not any(going):
            return found
        remember_spent(connection, old_tokens, EXPIRED)
        connection.execute(delete(vault_tokens).where(old_tokens))
        connection.execute(delete(proposed_rows).where(old_rows, _free(proposed_rows.c.subject)))
        connection.execute(
            update(opinions).where(old_opinions, _free(opinions.c.subject)).values(sealed=None)
        )
        expired = old_predictions & _free(predictions.c.subject)
        _delete_about(connection, expired)
        connection.execute(delete(failures).where(old_failures, _free(failures.c.subject)))
        connection.execute(update(predictions).where(expired).values(sealed=None))
        _drop_empty(connection)
        counts = {name: value for name, value in vars(found).items() if name != "is_dry_run"}
        record(project, "expired", details=counts)
    scrub(project.database)
    return found


def training_since(project: Project) -> str:
    """Labels given before this hour make no rows any more; an hour before all others if they always do."""
    return _before(now(), project.settings.privacy.keep_training_days)


def _before(hour: str, days: int | None) -> str:
    if days is None:
        return ""
    return hour_of(datetime.fromisoformat(hour).astimezone(UTC) - timedelta(days=days))


def _old_rows(training: str) -> ColumnElement[bool]:
    said = select(opinions.c.id).where(opinions.c.created_at < training)
    return proposed_rows.c.opinion.in_(said)


def _vault_of_tokens(project: Project) -> Vault | None:
    """The vault, opened before the transaction that needs it; None where no token waits for its end."""
    with project.database.connect() as connection:
        if not _count(connection, vault_tokens.c.used_at.is_not(None)):
            return None
    vault = open_vault(project)
    _ = vault.keys
    return vault


def _old_tokens(
    connection: Connection, vault: Vault | None, service: str, training: str
) -> ColumnElement[bool]:
    """Tokens that the service used last before an hour, and that no row holds which may stay."""
    if vault is None:
        return false()
    old = (vault_tokens.c.used_at < service) & _free(vault_tokens.c.subject)
    if not _count(connection, old):
        return old
    going = _old_rows(training) & _free(proposed_rows.c.subject)
    staying = select(proposed_rows).where(~going, proposed_rows.c.sealed.is_not(None))
    held = set[str]()
    for row in connection.execute(staying):
        held |= tokens_in(open_proposed(vault, row).text)
    listed = func.json_each(json.dumps(sorted(held))).table_valued("value")  # one parameter, however many
    return old & vault_tokens.c.token.not_in(select(listed.c.value))


def _free(subject: ColumnElement[str | None]) -> ColumnElement[bool]:
    """Rows of nobody, and of people who are under no legal hold."""
    kept = select(restrictions.c.subject).where(restrictions.c.kind == HELD)
    return or_(subject.is_(None), subject.not_in(kept))


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).where(which)) or 0


def _drop_empty(connection: Connection) -> None:
    """Emptied opinions and predictions go as soon as nothing hangs on them."""
    rows_of = select(proposed_rows.c.opinion)
    connection.execute(delete(opinions).where(opinions.c.sealed.is_(None), opinions.c.id.not_in(rows_of)))
    hanging = select(opinions.c.prediction).union(select(proposed_rows.c.prediction))
    empty = predictions.c.sealed.is_(None) & predictions.c.id.not_in(hanging)
    _delete_about(connection, empty)  # what was asked or answered after it was emptied
    connection.execute(delete(predictions).where(empty))


def _delete_about(connection: Connection, which: ColumnElement[bool]) -> None:
    """Delete what is about predictions, but for opinions and proposed rows, which have times of their own."""
    for table, about in hanging_on(select(predictions.c.id).where(which)):
        if table not in (opinions, proposed_rows):
            connection.execute(delete(table).where(about))
