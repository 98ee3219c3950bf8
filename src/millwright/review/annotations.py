"""What people said of rows in review: kept at once, undone until a turn takes it, checked on gold rows."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, Row, insert, select, update

from millwright.data.load import read_table
from millwright.errors import BadInput, NotFound, one_of
from millwright.modalities.text import clean
from millwright.project import Project
from millwright.records import JsonObject, Opinion
from millwright.review.agreement import adjudicated, krippendorff_alpha
from millwright.review.items import Item, label_names, read_queue
from millwright.store.database import now
from millwright.store.tables import annotations, gold, opinions

GOLD_EVERY = 10  # rows; then one whose label is known, if there are any
MAX_NAME = 100


@dataclass(frozen=True)
class Annotation:
    """An annotator's label of a row; None is that it was passed over."""

    item: str
    annotator: str
    label: str | None
    reason: str
    created_at: str


def next_items(project: Project, annotator: str, count: int = 1, needed: int = 1) -> list[Item]:
    """The next rows for an annotator, in the queue's order, gold rows among them.

    Args:
        project: a project whose queue was built.
        annotator: who asks; rows that they labelled or passed over do not come again.
        count: how many at most.
        needed: how many annotators a row should have; it is offered to no more.

    Returns:
        Rows; a gold row looks like any other.

    Raises:
        NotFound: no queue was built yet.
    """
    queue = read_queue(project)
    done = list_annotations(project)
    own = {one.item for one in done if one.annotator == annotator}
    labels_of: dict[str, int] = {}
    for one in done:
        labels_of[one.item] = labels_of.get(one.item, 0) + (one.label is not None)
    open_ = [item for item in queue if item.id not in own and labels_of.get(item.id, 0) < needed]
    golden = [item for item in _gold_items(project) if item.id not in own]
    found: list[Item] = []
    for item in open_:
        if golden and (len(own) + len(found) + 1) % GOLD_EVERY == 0:
            found.append(golden.pop(0))
        found.append(item)
    return found[:count]


def annotate(project: Project, item: str, annotator: str, label: str | None) -> Annotation:
    """Keep an annotator's label of a row, in place of an earlier one of theirs.

    Args:
        project: an open project.
        item: the row's id in the queue.
        annotator: who says so.
        label: one of the champion's labels; None passes the row over.

    Returns:
        What is kept.

    Raises:
        NotFound: no such row in the queue, or no such label.
        BadInput: the annotator's name cannot be used.
    """
    if not 0 < len(annotator) <= MAX_NAME:
        raise BadInput(f"annotator must have 1 to {MAX_NAME} characters, got {len(annotator)}", "annotator")
    known = {one.id: one.reason for one in [*read_queue(project), *_gold_items(project)]}
    one_of("row", item, known)
    if label is not None:
        one_of("label", label, label_names(project))
    made = Annotation(item, annotator, label, known[item], now())
    with project.database.begin() as connection:
        _keep(connection, [made])
    return made


def keep_all(project: Project, made: Sequence[Annotation]) -> None:
    """Keep annotations that were made elsewhere, each in place of the annotator's earlier one."""
    with project.database.begin() as connection:
        _keep(connection, made)


def undo(project: Project, annotator: str) -> Annotation:
    """Take back an annotator's last label; the row comes again.

    Args:
        project: an open project.
        annotator: whose.

    Returns:
        What was taken back.

    Raises:
        NotFound: there is nothing to take back.
    """
    mine = select(annotations).where(annotations.c.annotator == annotator, annotations.c.is_undone.is_(False))
    with project.database.begin() as connection:
        last = connection.execute(mine.order_by(annotations.c.id.desc()).limit(1)).first()
        if last is None:
            raise NotFound(f"{annotator!r} has labelled nothing that could be undone")
        connection.execute(update(annotations).where(annotations.c.id == last.id).values(is_undone=True))
    return _of_row(last)


def list_annotations(project: Project) -> list[Annotation]:
    """All that stand, oldest first."""
    standing = select(annotations).where(annotations.c.is_undone.is_(False)).order_by(annotations.c.id)
    with project.database.connect() as connection:
        return [_of_row(row) for row in connection.execute(standing)]


def add_gold(project: Project, path: Path) -> int:
    """Take rows whose label is known, to be mixed among the others.

    Args:
        project: a project with a champion.
        path: a file with the columns text and label.

    Returns:
        How many there are now.

    Raises:
        NotFound: there is no such file, or the champion does not know a label.
        BadInput: a column is missing.
    """
    table, labels = read_table(path), label_names(project)
    if not {"text", "label"} <= set(table.columns):
        raise BadInput(f"{path.name} must have the columns text and label, got {', '.join(table.columns)}")
    given = table.frame.select("text", "label").iter_rows()
    rows = [(clean(text), one_of("label", label, labels)) for text, label in given]
    with project.database.begin() as connection:
        known = set(connection.scalars(select(gold.c.item)))
        fresh = {f"gold:{_digest(text)}": (text, label) for text, label in rows if text}
        for item, (text, label) in fresh.items():
            if item in known:
                connection.execute(update(gold).where(gold.c.item == item).values(label=label))
            else:
                connection.execute(insert(gold).values(item=item, text=text, label=label, created_at=now()))
    return len(known | set(fresh))


def verdicts(project: Project, needed: int = 1) -> dict[str, str | None]:
    """For each row that has labels enough, the one that most annotators gave; None where they differ."""
    return {
        item: adjudicated(labels, needed)
        for item, labels in _labels(project).items()
        if len(labels) >= needed and not item.startswith("gold:")
    }


def apply_reviews(project: Project, needed: int = 1) -> int:
    """Make opinions of what was agreed on about predictions, so that the next turn learns it.

    Args:
        project: an open project.
        needed: how many annotators a row should have.

    Returns:
        How many are new. Rows on which annotators differ wait; rows of files are never changed.
    """
    fresh = 0
    for item, label in verdicts(project, needed).items():
        kind, _, name = item.partition(":")
        if kind != "prediction" or label is None:
            continue
        ours = opinions.c.key.startswith(f"review:{name}:", autoescape=True)
        with project.database.begin() as connection:
            earlier = select(opinions.c.label).where(ours).order_by(opinions.c.created_at, opinions.c.key)
            said = list(connection.scalars(earlier))
            if said[-1:] != [label]:
                key = f"review:{name}:{len(said)}"
                opinion = Opinion(_digest(key), name, label, None, None, now(), key=key)
                connection.execute(insert(opinions).values(**asdict(opinion)))
                fresh += 1
    return fresh


def review_status(project: Project, needed: int = 1) -> JsonObject:
    """How far the review is: rows done, agreement, each annotator on gold rows, what differs."""
    labels, found = _labels(project), verdicts(project, needed)
    with project.database.connect() as connection:
        known = {row.item: row.label for row in connection.execute(select(gold))}
    people: dict[str, JsonObject] = {}
    for one in list_annotations(project):
        about = people.setdefault(one.annotator, {"labelled": 0, "passed": 0, "gold": 0, "gold_right": 0})
        about["passed" if one.label is None else "labelled"] += 1
        if one.item in known and one.label is not None:
            about["gold"] += 1
            about["gold_right"] += int(one.label == known[one.item])
    queue = read_queue(project)
    return {
        "rows": len(queue),
        "labelled": sum(item.id in labels for item in queue),
        "agreed": sum(label is not None for label in found.values()),
        "differ": [item for item, label in found.items() if label is None],
        "krippendorff_alpha": krippendorff_alpha(
            [given for item, given in labels.items() if not item.startswith("gold:")]
        ),
        "annotators": people,
    }


def _labels(project: Project) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in list_annotations(project):
        if one.label is not None:
            found.setdefault(one.item, []).append(one.label)
    return found


def _keep(connection: Connection, made: Iterable[Annotation]) -> None:
    for one in made:
        earlier = update(annotations).where(
            annotations.c.item == one.item, annotations.c.annotator == one.annotator
        )
        connection.execute(earlier.values(is_undone=True))
        connection.execute(insert(annotations).values(**asdict(one), is_undone=False))


def _gold_items(project: Project) -> list[Item]:
    with project.database.connect() as connection:
        rows = connection.execute(select(gold).order_by(gold.c.item)).all()
    return [Item(row.item, row.text, "gold", None, ()) for row in rows]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _of_row(row: Row[tuple[object, ...]]) -> Annotation:
    return Annotation(row.item, row.annotator, row.label, row.reason, row.created_at)
