"""The queue as it is kept, sealed: rows to look at, in order. Reading it loads no network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, insert, select

from millwright.errors import NotFound
from millwright.privacy.holdings import PREDICTION
from millwright.privacy.sealed import take_write_lock
from millwright.privacy.vault import Place, Vault, open_vault
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.versions import CHAMPION, resolve, version_manifest
from millwright.store.database import now
from millwright.store.tables import predictions, review_items

CHANCE = "chance"  # the reason of rows that nothing but chance chose
_labels: dict[tuple[Path, str], list[str]] = {}  # of the last version asked for: a version never changes
NO_QUEUE = "no rows wait for review; run `millwright review build`"


@dataclass(frozen=True)
class Item:
    """A row to look at. `id` is "prediction:ID" or "row:ID"; `given` the label that it has, if any.

    `reason` is coverage, margin, chance or new (nobody labelled it, and new is unlike all that taught),
    suspect (its label looks wrong) or disagreement (a user said another label than the model, which was
    sure). `choices` are the model's likeliest labels with their probabilities. `owner` is the
    pseudonym of the person whose row it is, where `read_queue` read it; None for nobody's.
    """

    id: str
    text: str
    reason: str
    given: str | None
    choices: tuple[tuple[str, float], ...]
    owner: str | None = field(default=None, compare=False, repr=False)

    def shown(self) -> JsonObject:
        """What reviewers get to see: all but whose row it is."""
        return {name: value for name, value in asdict(self).items() if name != "owner"}


def write_queue(project: Project, queue: Sequence[Item], owners: Mapping[str, str | None]) -> list[Item]:
    """Keep a queue in place of the one before; what was labelled stays.

    Args:
        project: an open project.
        queue: rows in order.
        owners: the pseudonym behind each row of a file, by the item's id; who is behind a prediction is
            looked up.

    Returns:
        The queue without rows whose prediction was deleted meanwhile.
    """
    vault, kept = open_vault(project), list[Item]()
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        connection.execute(delete(review_items))
        named = [item.id.removeprefix(PREDICTION) for item in queue]
        chosen = select(predictions.c.id, predictions.c.subject).where(predictions.c.id.in_(named))
        about = {PREDICTION + row.id: row.subject for row in connection.execute(chosen)}
        for place, item in enumerate(queue):
            if item.id.startswith(PREDICTION) and item.id not in about:
                continue
            subject = about[item.id] if item.id in about else owners.get(item.id)
            content = {"text": item.text, "given": item.given, "choices": item.choices}
            connection.execute(
                insert(review_items).values(
                    item=item.id,
                    place=place,
                    subject=subject,
                    reason=item.reason,
                    created_at=now(),
                    sealed=vault.seal(Place("review_items", item.id, subject), content),
                )
            )
            kept.append(item)
    return kept


def read_queue(project: Project) -> list[Item]:
    """The queue as it was built.

    Args:
        project: an open project.

    Returns:
        Its rows in order, but for those that were erased since.

    Raises:
        NotFound: none was built yet.
    """
    vault = open_vault(project)
    _ = vault.keys  # before anything is read
    with project.database.connect() as connection:
        rows = connection.execute(select(review_items).order_by(review_items.c.place)).all()
    if not rows:
        raise NotFound(NO_QUEUE)
    return [_item(vault, row) for row in rows]


def _item(vault: Vault, row: Row[Any]) -> Item:
    content = vault.unseal(Place("review_items", row.item, row.subject), row.sealed)
    choices = tuple((label, share) for label, share in content["choices"])
    return Item(row.item, content["text"], row.reason, content["given"], choices, row.subject)


def label_names(project: Project) -> list[str]:
    """The labels that may be given: the champion's, whose files are checked when it is first asked."""
    name = resolve(project, CHAMPION)
    found = _labels.get((project.kept, name))
    if found is None:
        found = list(version_manifest(project, name)["labels"])
        _labels.clear()
        _labels[project.kept, name] = found
    return list(found)
