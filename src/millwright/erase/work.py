"""What the steps of one erasure share."""

from dataclasses import dataclass

from sqlalchemy import Connection, update

from millwright.erase.found import Person
from millwright.privacy.vault import Vault
from millwright.progress import Progress
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.tables import erasures


@dataclass
class Work:
    """An erasure under way. `record` is kept in the database after each step, so that a kill loses nothing.

    `withdraw_only` takes versions that tuned a body out of service instead of training successors of them.
    """

    id: str
    project: Project
    vault: Vault
    person: Person
    record: JsonObject
    withdraw_only: bool
    progress: Progress

    def keep(self, connection: Connection) -> None:
        """Write the record within a transaction of the project's database."""
        connection.execute(update(erasures).where(erasures.c.id == self.id).values(record=self.record))
