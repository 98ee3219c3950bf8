"""The table of turns, as it is kept. Reading it loads no network."""

from dataclasses import asdict

from sqlalchemy import Connection, func, insert, select

from millwright.project import Project
from millwright.records import Interval, JsonObject, TurnRecord
from millwright.store.tables import turns as table


def list_turns(project: Project) -> list[TurnRecord]:
    """Every finished turn, oldest first."""
    with project.database.connect() as connection:
        found = connection.scalars(select(table.c.record).order_by(table.c.number)).all()
    return [
        TurnRecord(
            **{
                **tree,
                "before": Interval(**tree["before"]) if tree["before"] else None,
                "after": Interval(**tree["after"]),
                "blocked": tuple(tree.get("blocked", ())),
            }
        )
        for tree in found
    ]


def next_number(project: Project) -> int:
    """The number that the next turn has."""
    with project.database.connect() as connection:
        return (connection.scalar(select(func.max(table.c.number))) or 0) + 1


def store_turn(connection: Connection, record: TurnRecord) -> JsonObject:
    """Add a turn to the table within a transaction; what is returned is how it stands there."""
    tree = asdict(record)
    connection.execute(insert(table).values(number=record.number, record=tree))
    return tree
