"""What the steps of an erasure share: the people who are erased together, each with a record of their own."""

from dataclasses import dataclass

from sqlalchemy import Connection, update

from millwright.erase.people import People
from millwright.privacy.vault import Vault
from millwright.progress import Progress
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.tables import erasures


@dataclass(frozen=True)
class Case:
    """One person's part: what was found of the person and what was done, which the receipt will say.

    `record` says nothing of the others who are erased at the same time.
    """

    id: str
    pseudonym: str
    record: JsonObject

    def found(self, part: str) -> JsonObject:
        """What was found of the person: "files", "datasets" or "versions", by name."""
        there: JsonObject = self.record["found"][part]
        return there

    @property
    def successor_dataset(self) -> str | None:
        """The dataset in place of those that held the person; None if there is none, or not yet."""
        name: str | None = self.record.get("successor_dataset")
        return name

    def add(self, name: str, count: int) -> None:
        """Add to a count of the record."""
        self.record[name] = self.record.get(name, 0) + count

    def list_too(self, name: str, items: set[str]) -> None:
        """Add to a list of the record, which is sorted and names each thing once."""
        self.record[name] = sorted({*self.record.get(name, []), *items})


@dataclass(frozen=True)
class Work:
    """An erasure under way. Records are kept in the database after each step, so that a kill loses nothing.

    `withdraw_only` takes versions that tuned a body out of service instead of training successors of them.
    """

    project: Project
    vault: Vault
    people: People
    cases: tuple[Case, ...]
    withdraw_only: bool
    progress: Progress

    def names(self, part: str) -> dict[str, list[Case]]:
        """Every file, dataset or version that holds one of the people, with the cases of those."""
        found = dict[str, list[Case]]()
        for case in self.cases:
            for name in case.found(part):
                found.setdefault(name, []).append(case)
        return dict(sorted(found.items()))

    def keep(self, connection: Connection) -> None:
        """Write the records within a transaction of the project's database."""
        for case in self.cases:
            connection.execute(update(erasures).where(erasures.c.id == case.id).values(record=case.record))
