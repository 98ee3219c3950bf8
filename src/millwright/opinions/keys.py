"""A client's own name for a message, under which it is kept once however often it is sent."""

from dataclasses import asdict

from sqlalchemy import Connection, select

from millwright.errors import BadInput
from millwright.modalities.text import bare
from millwright.privacy.sealed import hidden_key, open_opinion
from millwright.privacy.vault import Vault
from millwright.records import Opinion
from millwright.store.tables import opinions

OF_OURS = ("id", "created_at", "asked_with")  # what the server adds to a message
FROM_FILE = "file:"  # begins the key of a row that names none: a keyed hash of all that it says


def kept_under_key(connection: Connection, vault: Vault, opinion: Opinion) -> str | None:
    """The id of the opinion that is kept under this one's key, None if none is.

    Args:
        connection: to the project's database.
        vault: opens what is kept.
        opinion: what came; it need not have a key.

    Returns:
        The earlier id, where the same message came again.

    Raises:
        BadInput: another message was kept under the key.
    """
    if opinion.key is None:
        return None
    known = select(opinions).where(opinions.c.key == hidden_key(vault, opinion.key))
    row = connection.execute(known).first()
    if row is None:
        return None
    is_same = opinion.key.startswith(FROM_FILE) and row.id == opinion.id
    if row.sealed is not None and not is_same:  # else its time is over, and only that it came is known
        before = asdict(open_opinion(vault, row))
        for field, value in asdict(opinion).items():
            if field not in OF_OURS and _plain(before[field]) != _plain(value):
                raise BadInput(
                    f"another message was sent under this key, its {field} differs; send this one with a "
                    "new key",
                    field="key",
                )
    kept: str = row.id
    return kept


def _plain(value: object) -> object:
    """A comment as its placeholders alone tell it: the same words may have been masked by another policy."""
    return bare(value) if isinstance(value, str) else value
