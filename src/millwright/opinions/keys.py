"""A client's own name for a message, under which it is kept once however often it is sent."""

from dataclasses import asdict

from sqlalchemy import Engine, select

from millwright.errors import BadInput
from millwright.records import Opinion
from millwright.store.tables import opinions

OF_OURS = ("id", "created_at", "asked_with")  # what the server adds to a message


def kept_under_key(database: Engine, opinion: Opinion) -> str | None:
    """The id of the opinion that is kept under this one's key, None if none is.

    Args:
        database: the project's database.
        opinion: what came; it need not have a key.

    Returns:
        The earlier id, where the same message came again.

    Raises:
        BadInput: another message was kept under the key.
    """
    if opinion.key is None:
        return None
    with database.connect() as connection:
        row = connection.execute(select(opinions).where(opinions.c.key == opinion.key)).first()
    if row is None:
        return None
    for field, value in asdict(opinion).items():
        if field not in OF_OURS and row._mapping[field] != value:
            raise BadInput(
                f"another message was sent under this key, its {field} differs; send this one with a new key",
                field="key",
            )
    kept: str = row.id
    return kept
