"""The gate before every dataset: whose rows may teach. Rows that may not are listed with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from sqlalchemy import select

from millwright.privacy.consent import HELD, OBJECTED, TRAINING
from millwright.privacy.vault import Vault, has_keys, open_vault
from millwright.project import Project
from millwright.records import Row
from millwright.store.tables import consents, erasures, restrictions

ERASED = "the person was erased"
WITHDRAWN, MISSING = "consent to training was withdrawn", "no consent to training"
YES = {"yes", "y", "true", "1", "granted", "all", TRAINING}


@dataclass(frozen=True)
class Gate:
    """What is known of people's wishes when a dataset is built.

    `barred` has the reason by pseudonym; `granted` are those who consented. `erased` are barred from
    files alone: what they said after they were erased is theirs to say. Until an erasure is finished its
    people are barred altogether.
    """

    mode: str
    vault: Vault
    barred: Mapping[str, str]
    erased: frozenset[str]
    granted: frozenset[str]

    @property
    def is_open(self) -> bool:
        """True if every row may pass."""
        return self.mode == "not-required" and not self.barred and not self.erased

    def reasons(self, subject: pl.Series, wish: pl.Series, *, from_file: bool) -> pl.Series:
        """Why each row may not teach.

        Args:
            subject: whose data each row is, null for nobody's.
            wish: what the consent column says, empty where it says nothing.
            from_file: whether the rows stand in files.

        Returns:
            The reason, null where a row may teach.
        """
        if self.is_open:
            return pl.Series("reason", [None] * len(subject), dtype=pl.String)
        names = self._pseudonyms(subject)
        found = [
            self._reason(names.get(person), said, from_file)
            for person, said in zip(subject.to_list(), wish.to_list(), strict=True)
        ]
        return pl.Series("reason", found, dtype=pl.String)

    def count_barred(self, rows: Sequence[Row]) -> int:
        """How many rows of a dataset are of people who may not teach any more."""
        if not (self.barred or self.erased):
            return 0
        people = {row.subject: self.vault.keys.pseudonym(row.subject) for row in rows if row.subject}
        return sum(
            people[row.subject] in self.barred
            or (not row.source.startswith("feedback:") and people[row.subject] in self.erased)
            for row in rows
            if row.subject
        )

    def _pseudonyms(self, subject: pl.Series) -> dict[str | None, str]:
        if not (self.barred or self.erased or self.granted):
            return {}
        people = subject.unique().drop_nulls().to_list()
        return {person: self.vault.keys.pseudonym(person) for person in people if person}

    def _reason(self, pseudonym: str | None, said: str | None, from_file: bool) -> str | None:
        if pseudonym is not None:
            if pseudonym in self.barred:
                return self.barred[pseudonym]
            if from_file and pseudonym in self.erased:
                return ERASED
        if self.mode == "not-required" or (pseudonym is not None and pseudonym in self.granted):
            return None
        wish = _wish(said)
        if wish is None:
            return MISSING if self.mode == "opt-in" else None
        return None if wish else MISSING


def open_gate(project: Project) -> Gate:
    """The gate as it stands now.

    Args:
        project: an open project; `privacy.consent` says whose rows may teach.

    Returns:
        The gate.
    """
    mode, vault = str(project.settings.privacy.consent), open_vault(project)
    if not has_keys(project):  # then nobody was ever named
        return Gate(mode, vault, {}, frozenset(), frozenset())
    erased = vault.keys.tombstones()
    barred: dict[str, str] = {}
    granted: dict[str, str] = {}
    with project.database.connect() as connection:
        for row in connection.execute(select(restrictions).where(restrictions.c.kind != HELD)):
            is_objection = row.kind == OBJECTED
            barred[row.subject] = (
                "the person objected" if is_objection else "the person restricted processing"
            )
        chosen = select(consents).where(consents.c.purpose == TRAINING).order_by(consents.c.id)
        newest = {row.subject: row for row in connection.execute(chosen)}
        leaving = connection.scalars(select(erasures.c.subject).where(erasures.c.finished_at.is_(None)))
        barred.update(dict.fromkeys(leaving, ERASED))
    for subject, row in newest.items():
        if row.withdrawn_at is None:
            granted[subject] = row.granted_at
        else:
            barred.setdefault(subject, WITHDRAWN)
    gone = {subject for subject, hour in erased.items() if granted.get(subject, "") <= hour}
    return Gate(mode, vault, barred, frozenset(gone), frozenset(granted))


def _wish(said: str | None) -> bool | None:
    """What a cell of the consent column means: yes, no, or nothing."""
    words = {word.strip().lower() for word in (said or "").replace(";", ",").split(",")} - {""}
    return bool(words & YES) if words else None
