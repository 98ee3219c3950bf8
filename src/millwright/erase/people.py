"""Some people by pseudonym, and which names in files and rows are theirs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from millwright.privacy.keys import KeyStore
from millwright.records import Row


@dataclass
class People:
    """Pseudonyms, and which of them a name stands for: each name is hashed once, however many people."""

    keys: KeyStore
    pseudonyms: tuple[str, ...]
    _known: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._own = frozenset(self.pseudonyms)

    def owner(self, name: str | None) -> str | None:
        """The pseudonym of a name in a file or a row, None if it is nobody's of these people."""
        if not name:
            return None
        if name not in self._known:
            pseudonym = self.keys.pseudonym(name)
            self._known[name] = pseudonym if pseudonym in self._own else None
        return self._known[name]

    def is_one(self, name: str | None) -> bool:
        """True if a name is that of one of these people."""
        return self.owner(name) is not None

    def rows_of(self, rows: Iterable[Row]) -> dict[str, list[Row]]:
        """The rows of those people who have some, by pseudonym."""
        found = dict[str, list[Row]]()
        for row in rows:
            if (owner := self.owner(row.subject)) is not None:
                found.setdefault(owner, []).append(row)
        return found
