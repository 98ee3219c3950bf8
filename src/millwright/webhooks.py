"""Tells other systems what was decided and found: signed messages that are kept until they arrive.

A message is kept within the transaction that it tells of, so none is lost, and none tells of what did not
happen; it may arrive twice, under the same id. Signed as Standard Webhooks says
(https://github.com/standard-webhooks/standard-webhooks, version 1): the header `webhook-signature` is "v1,"
and the base64 of HMAC-SHA256 over "ID.TIMESTAMP.BODY". No message holds what a person wrote, or who it was.
"""

import base64
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx
from sqlalchemy import Connection, delete, insert, select, update

from millwright.errors import BadInput, NotFound
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import hour_of, now
from millwright.store.files import read_secret, write_secret
from millwright.store.tables import outbox

TURN, DECISION, DRIFT, PING = "turn.finished", "experiment.decided", "drift.found", "ping"
WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # after each failed attempt
TIMEOUT_S = 10.0
STATUS = "status "  # begins what is kept of a receiver that answered
GONE = 410  # a receiver that says so wants no more
KEPT_DAYS = 30
SECRET_BYTES = 24
PREFIX = "whsec_"


@dataclass(frozen=True)
class OutboxMessage:
    """A message on its way to one receiver; `next_at` is None once it arrived or was given up."""

    id: str
    url: str
    kind: str
    created_at: str
    attempts: int
    next_at: str | None
    delivered_at: str | None
    error: str | None


@dataclass(frozen=True)
class Delivered:
    """What one round did: messages that arrived, that wait for another attempt, that were given up."""

    arrived: int
    waiting: int
    given_up: int


def announce(project: Project, connection: Connection, kind: str, data: JsonObject) -> None:
    """Keep a message for each receiver of `webhooks.urls`, within a transaction.

    Args:
        project: an open project.
        connection: to its database, in the transaction that the message tells of.
        kind: "turn.finished", "experiment.decided", "drift.found" or "ping".
        data: names and figures; nothing that a person wrote.
    """
    hour = now()
    body = json.dumps({"type": kind, "timestamp": hour, "data": data}, ensure_ascii=False)
    for url in project.settings.webhooks.urls:
        about = {"id": f"msg_{secrets.token_hex(16)}", "url": url, "kind": kind, "body": body}
        connection.execute(insert(outbox).values(**about, created_at=hour, attempts=0, next_at=hour))


def deliver(project: Project, at: str | None = None) -> Delivered:
    """Send what is due; what is refused waits 5 s, 5 min, half an hour, and so on up to a day.

    Args:
        project: an open project.
        at: the hour, as `store.database.now` writes it; now when not given.

    Returns:
        What happened.

    Raises:
        Busy: another process delivers.
        NotFound: the variable that `webhooks.secret` names is not set.
        BadInput: the secret is none.
    """
    at = at or now()
    with project.lock("webhooks"):
        with project.database.connect() as connection:
            due = connection.execute(
                select(outbox).where(outbox.c.next_at <= at).order_by(outbox.c.created_at, outbox.c.id)
            ).all()
        secret = webhook_secret(project) if due else b""
        silent = set[str]()
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
            for row in due:
                if row.url in silent:
                    continue  # it stays due: one that never answers holds up no other for longer than once
                error = _send(client, row.url, signed_headers(secret, row.id, at, row.body), row.body)
                if error is not None and not error.startswith(STATUS):
                    silent.add(row.url)
                with project.database.begin() as connection:
                    changes = _after(row.attempts + 1, error, at)
                    connection.execute(update(outbox).where(outbox.c.id == row.id).values(changes))
        return _swept(project, [row.id for row in due], at)


def signed_headers(secret: bytes, message: str, at: str, body: str) -> dict[str, str]:
    """The headers of a message.

    Args:
        secret: what both sides know.
        message: the message's id.
        at: the hour of this attempt.
        body: what is sent.

    Returns:
        Headers by name.
    """
    stamp = str(int(datetime.fromisoformat(at).timestamp()))
    mac = hmac.new(secret, f"{message}.{stamp}.{body}".encode(), sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def list_messages(project: Project) -> list[OutboxMessage]:
    """Every message that is known still, the newest first."""
    shown = [outbox.c[name] for name in OutboxMessage.__dataclass_fields__]
    with project.database.connect() as connection:
        rows = connection.execute(select(*shown).order_by(outbox.c.created_at.desc(), outbox.c.id)).all()
    return [OutboxMessage(**row._mapping) for row in rows]


def webhook_secret(project: Project) -> bytes:
    """The secret that `webhooks.secret` names; its file is made at first use, for its owner alone.

    Args:
        project: an open project.

    Returns:
        The bytes behind "whsec_".

    Raises:
        NotFound: the variable is not set.
        BadInput: the setting or the secret has another form.
    """
    spec = project.settings.webhooks.secret
    kind, _, rest = spec.partition(":")
    if kind == "env" and rest:
        if rest not in os.environ:
            raise NotFound(f"no variable {rest}; set it to the secret of the webhooks")
        text = os.environ[rest]
    elif kind == "file" and rest:
        text = _secret_file(project.folder / Path(rest).expanduser())
    else:
        raise BadInput(
            f'webhooks.secret = {spec!r} names no secret; write "file:PATH" or "env:NAME"', "webhooks.secret"
        )
    try:
        secret = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except ValueError:
        secret = b""
    if len(secret) < SECRET_BYTES:
        raise BadInput(
            f"the secret of the webhooks must be {PREFIX} and base64 of at least {SECRET_BYTES} bytes; make "
            "one with `millwright webhooks secret`",
            "webhooks.secret",
        )
    return secret


def shown_secret(project: Project) -> str:
    """The secret in the form that receivers' libraries take."""
    return PREFIX + base64.b64encode(webhook_secret(project)).decode()


def _secret_file(path: Path) -> str:
    if not path.exists():
        write_secret(path, PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())
    return read_secret(path)[0].decode(errors="replace")


def _send(client: httpx.Client, url: str, headers: Mapping[str, str], body: str) -> str | None:
    """Why a message did not arrive, None if it did. What the receiver says but its status is not read."""
    try:
        with client.stream("POST", url, content=body.encode(), headers=headers) as answer:
            return None if answer.is_success else f"{STATUS}{answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__


def _after(attempts: int, error: str | None, at: str) -> JsonObject:
    """What an attempt changes in a message's row."""
    if error is None:
        return {"attempts": attempts, "next_at": None, "delivered_at": at, "error": None}
    is_last = attempts > len(WAITS_S) or error == f"{STATUS}{GONE}"
    wait = None if is_last else timedelta(seconds=WAITS_S[attempts - 1])
    next_at = None if wait is None else hour_of(datetime.fromisoformat(at) + wait)
    return {"attempts": attempts, "next_at": next_at, "error": error}


def _swept(project: Project, tried: list[str], at: str) -> Delivered:
    """Count what a round did, and forget what ended long ago."""
    with project.database.begin() as connection:
        rows = connection.execute(select(outbox).where(outbox.c.id.in_(tried))).all()
        since = hour_of(datetime.fromisoformat(at) - timedelta(days=KEPT_DAYS))
        connection.execute(delete(outbox).where(outbox.c.next_at.is_(None), outbox.c.created_at < since))
    arrived = sum(row.delivered_at is not None for row in rows)
    waiting = sum(row.next_at is not None for row in rows)
    return Delivered(arrived, waiting, len(rows) - arrived - waiting)
