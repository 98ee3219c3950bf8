"""What people said of rows in review: kept at once, undone until a turn takes it, checked on gold rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from millwright.data.load import read_table
from millwright.errors import BadInput, NotFound, one_of
from millwright.feedback import REVIEWED
from millwright.modalities.text import clean
from millwright.privacy.holdings import PREDICTION
from millwright.privacy.mask import masker
from millwright.privacy.sealed import hidden_key, open_opinion, store_opinions, take_write_lock
from millwright.privacy.vault import Place, Vault, open_vault
from millwright.project import Project
from millwright.proportions import wilson
from millwright.records import JsonObject, Opinion
from millwright.review.agreement import adjudicated, krippendorff_alpha, weight_of
from millwright.review.items import CHANCE, NO_QUEUE, Item, label_names, read_queue
from millwright.settings import refuse_spans
from millwright.store.database import now
from millwright.store.tables import annotations, gold, opinions, predictions, proposed_rows, review_items

GOLD = "gold:"  # begins the item of a row whose label is known
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
        needed: how many annotators a row should have; it is offered to more only where these differ.

    Returns:
        Rows; a gold row looks like any other.

    Raises:
        NotFound: no queue was built yet.
    """
    queue = read_queue(project)
    done = list_annotations(project)
    own = {one.item for one in done if one.annotator == annotator}
    decided = _verdicts(project, done, needed)
    open_ = [item for item in queue if item.id not in own and decided.get(item.id) is None]
    golden = [item for item in gold_items(project) if item.id not in own]
    return _with_gold(open_, golden, len(own))[:count]


def queue_with_gold(project: Project) -> list[Item]:
    """The queue with gold rows among it, every tenth as long as there are some.

    Args:
        project: a project whose queue was built.

    Returns:
        Rows in order.

    Raises:
        NotFound: no queue was built yet.
    """
    return _with_gold(read_queue(project), gold_items(project))


def _with_gold(rows: Sequence[Item], golden: Sequence[Item], seen: int = 0) -> list[Item]:
    """Rows, every tenth that an annotator sees a gold one while there are some; `seen` came before these."""
    left, found = list(golden), list[Item]()
    for item in rows:
        if left and (seen + len(found) + 1) % GOLD_EVERY == 0:
            found.append(left.pop(0))
        found.append(item)
    return found


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
        raise BadInput(
            f"annotator must have 1 to {MAX_NAME} characters, got {len(annotator)}; name whose label it is",
            "annotator",
        )
    reason = _reason(project, item)
    if label is not None:
        one_of("label", label, label_names(project))
    made = Annotation(item, annotator, label, reason, now())
    keep_all(project, [made])
    return made


def _reason(project: Project, item: str) -> str:
    """Why a row is in the queue, as its annotator is told; NotFound if it is not. No other row is opened."""
    with project.database.connect() as connection:
        reason: str | None = connection.scalar(
            select(review_items.c.reason).where(review_items.c.item == item)
        )
        if reason is not None:
            return reason
        queued = connection.scalars(select(review_items.c.item)).all()
        golden = connection.scalars(select(gold.c.item)).all()
    if not queued:
        raise NotFound(NO_QUEUE)
    one_of("row", item, [*queued, *golden])
    return CHANCE  # as `gold_items` says


def keep_all(project: Project, made: Sequence[Annotation]) -> None:
    """Keep annotations, sealed for whose row it is, each in place of the annotator's earlier one.

    Args:
        project: an open project.
        made: what to keep; nothing is checked but that the rows are there.

    Raises:
        NotFound: a row was erased meanwhile; then nothing is kept.
    """
    vault = open_vault(project)
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        owners: dict[str, str | None] = {
            row.item: row.subject
            for row in connection.execute(select(review_items.c.item, review_items.c.subject))
        }
        owners |= dict.fromkeys(connection.scalars(select(gold.c.item)))
        last = connection.scalar(select(func.max(annotations.c.id))) or 0
        for number, one in enumerate(made, start=last + 1):
            subject = owners[one_of("row", one.item, owners)]
            earlier = update(annotations).where(
                annotations.c.item == one.item, annotations.c.annotator == one.annotator
            )
            connection.execute(earlier.values(is_undone=True))
            told = {name: value for name, value in vars(one).items() if name != "label"}
            sealed = vault.seal(Place("annotations", str(number), subject), {"label": one.label})
            values = {**told, "id": number, "subject": subject, "is_undone": False, "sealed": sealed}
            connection.execute(insert(annotations).values(values))


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
            raise NotFound(f"{annotator!r} has labelled nothing that could be undone; name who did")
        connection.execute(update(annotations).where(annotations.c.id == last.id).values(is_undone=True))
    return _of_row(open_vault(project), last)


def list_annotations(project: Project) -> list[Annotation]:
    """All that stand, oldest first."""
    standing = select(annotations).where(annotations.c.is_undone.is_(False)).order_by(annotations.c.id)
    vault = open_vault(project)
    with project.database.connect() as connection:
        return [_of_row(vault, row) for row in connection.execute(standing).all()]


def add_gold(project: Project, path: Path) -> int:
    """Take rows whose label is known, their texts masked as data is, to be mixed among the others.

    Args:
        project: a project with a champion.
        path: a file with the columns text and label.

    Returns:
        How many there are now.

    Raises:
        NotFound: there is no such file, or the champion does not know a label.
        BadInput: a column is missing.
    """
    refuse_spans(project.settings, "`millwright review`")
    table, labels = read_table(path), label_names(project)
    if not {"text", "label"} <= set(table.columns):
        raise BadInput(
            f"{path.name} must have the columns text and label, got {', '.join(table.columns)}; name them so"
        )
    given = table.frame.select("text", "label").rows()
    texts = masker(project, reversible=True).mask_all(clean(text) for text, _ in given)
    rows = [(text, one_of("label", label, labels)) for text, (_, label) in zip(texts, given, strict=True)]
    vault = open_vault(project)
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        for text, label in rows:
            if text:
                item = f"{GOLD}{vault.pseudonym(text)}"
                sealed = vault.seal(Place("gold", item, None), {"text": text, "label": label})
                connection.execute(delete(gold).where(gold.c.item == item))
                connection.execute(insert(gold).values(item=item, created_at=now(), sealed=sealed))
        return connection.scalar(select(func.count()).select_from(gold)) or 0


def verdicts(project: Project, needed: int = 1) -> dict[str, str | None]:
    """For each row that has labels enough, the one that annotators agree on; None where they differ.

    Each counts by how well they do on gold rows.
    """
    return _verdicts(project, list_annotations(project), needed)


def _verdicts(project: Project, done: Sequence[Annotation], needed: int) -> dict[str, str | None]:
    enough = {
        item: given
        for item, given in _labels(done).items()
        if len(given) >= needed and not item.startswith(GOLD)
    }
    if not enough:
        return {}
    weights = {name: one["weight"] for name, one in _people(project, done).items()}
    return {item: adjudicated(given, needed, weights) for item, given in enough.items()}


def apply_reviews(project: Project, needed: int = 1) -> int:
    """Make opinions of what was agreed on about predictions, so that the next turn learns it.

    What is agreed on no more, as after a label was taken back, is no opinion any more, unless a turn took it.

    Args:
        project: an open project.
        needed: how many annotators a row should have.

    Returns:
        How many are new. Rows on which annotators differ wait; rows of files are never changed.
    """
    fresh, vault, found = 0, open_vault(project), verdicts(project, needed)
    _take_back(vault, found)
    for item, label in found.items():
        if not item.startswith(PREDICTION) or label is None:
            continue
        name = item.removeprefix(PREDICTION)
        with project.database.begin() as connection:
            take_write_lock(connection, vault)
            rows = _reviewed(connection, vault, name)
            if connection.scalar(select(predictions.c.id).where(predictions.c.id == name)) is None:
                continue  # erased meanwhile
            if not rows or rows[-1].sealed is None or open_opinion(vault, rows[-1]).label != label:
                key = f"{REVIEWED}{name}:{len(rows)}"
                opinion = Opinion(token_hex(16), name, label, None, None, now(), key=key)
                store_opinions(connection, vault, [opinion])
                fresh += 1
    return fresh


def _take_back(vault: Vault, found: Mapping[str, str | None]) -> None:
    """Delete what reviews said of predictions that have no verdict now, but for what a turn took."""
    begun = select(annotations.c.item).where(annotations.c.item.startswith(PREDICTION)).distinct()
    with vault.project.database.connect() as connection:
        open_ = [item for item in connection.scalars(begun).all() if found.get(item) is None]
        names = [item.removeprefix(PREDICTION) for item in open_]
        names = [name for name in names if _untaken(connection, vault, name)]
    for name in names:
        with vault.project.database.begin() as connection:
            take_write_lock(connection, vault)
            untaken = [row.id for row in _untaken(connection, vault, name)]
            connection.execute(delete(opinions).where(opinions.c.id.in_(untaken)))


def _untaken(connection: Connection, vault: Vault, prediction: str) -> list[Row[Any]]:
    """What reviews said of a prediction after the last of it that a turn took."""
    rows = _reviewed(connection, vault, prediction)
    taken = connection.scalar(select(proposed_rows.c.opinion).where(proposed_rows.c.prediction == prediction))
    ids = [row.id for row in rows]
    return rows[ids.index(taken) + 1 :] if taken in ids else rows


def _reviewed(connection: Connection, vault: Vault, prediction: str) -> list[Row[Any]]:
    """What reviews said of a prediction, oldest first."""
    rows: list[Row[Any]] = []
    while True:
        key = hidden_key(vault, f"{REVIEWED}{prediction}:{len(rows)}")
        row = connection.execute(select(opinions).where(opinions.c.key == key)).first()
        if row is None:
            return rows
        rows.append(row)


def review_status(project: Project, needed: int = 1) -> JsonObject:
    """How far the review is: rows done, agreement, each annotator on gold rows, what differs.

    `by_chance` tells how often the model is right on requests that nobody had labelled when the queue was
    built, by its rows that were drawn by chance; reviews of earlier queues took mostly close calls from among
    these. `accuracy` has Wilson's 95 % interval (doi:10.1080/01621459.1927.10502953). Rows on which people
    did not agree or that they passed over are mostly hard ones, so they are not left out: where there are
    `undecided` ones, there is no value, and the interval reaches from where the model is wrong on all of them
    to where it is right on all of them.
    """
    done, queue = list_annotations(project), read_queue(project)
    labels, found = _labels(done), _verdicts(project, done, needed)
    return {
        "rows": len(queue),
        "labelled": sum(item.id in labels for item in queue),
        "agreed": sum(label is not None for label in found.values()),
        "differ": [item for item, label in found.items() if label is None],
        "krippendorff_alpha": krippendorff_alpha(
            [list(given.values()) for item, given in labels.items() if not item.startswith(GOLD)]
        ),
        "annotators": _people(project, done),
        "by_chance": _by_chance(queue, Counter(one.item for one in done), found, needed),
    }


def _by_chance(
    queue: Sequence[Item], looks: Mapping[str, int], found: Mapping[str, str | None], needed: int
) -> JsonObject:
    """How often the model was right on rows that were drawn by chance: no other kind is a fair sample.

    Those count that enough people looked at, whether or not it came to a verdict.
    """
    drawn = [item for item in queue if item.reason == CHANCE and looks.get(item.id, 0) >= needed]
    right = sum(item.choices[0][0] == found.get(item.id) for item in drawn)
    undecided = sum(found.get(item.id) is None for item in drawn)
    told: JsonObject = {"rows": len(drawn), "right": right, "undecided": undecided, "accuracy": None}
    if drawn:
        low, high = wilson(right, len(drawn))[0], wilson(right + undecided, len(drawn))[1]
        value = None if undecided else right / len(drawn)
        told["accuracy"] = {"value": value, "low": low, "high": high}
    return told


def _labels(done: Sequence[Annotation]) -> dict[str, dict[str, str]]:
    """The labels of each row, by annotator."""
    found: dict[str, dict[str, str]] = {}
    for one in done:
        if one.label is not None:
            found.setdefault(one.item, {})[one.annotator] = one.label
    return found


def _people(project: Project, done: Sequence[Annotation]) -> dict[str, JsonObject]:
    """What each annotator did, how well on gold rows, and how much their labels weigh by that."""
    known = {item: content["label"] for item, content in _gold(open_vault(project)).items()}
    people: dict[str, JsonObject] = {}
    for one in done:
        about = people.setdefault(one.annotator, {"labelled": 0, "passed": 0, "gold": 0, "gold_right": 0})
        about["passed" if one.label is None else "labelled"] += 1
        if one.item in known and one.label is not None:
            about["gold"] += 1
            about["gold_right"] += int(one.label == known[one.item])
    count = len(label_names(project))
    for about in people.values():
        about["weight"] = weight_of(about["gold_right"], about["gold"], count)
    return people


def _gold(vault: Vault) -> dict[str, JsonObject]:
    """Text and label of each gold row by its item."""
    _ = vault.keys  # before anything is read
    with vault.project.database.connect() as connection:
        rows = connection.execute(select(gold).order_by(gold.c.item)).all()
    return {row.item: vault.unseal(Place("gold", row.item, None), row.sealed) for row in rows}


def gold_items(project: Project) -> list[Item]:
    """The rows whose label is known, as rows of a queue that were drawn by chance: only their ids tell."""
    known = _gold(open_vault(project))
    return [
        Item(item, content["text"], CHANCE, None, tuple(map(tuple, content.get("choices", ()))))
        for item, content in known.items()
    ]


def keep_guesses(project: Project, guesses: Mapping[str, Sequence[tuple[str, float]]]) -> None:
    """Keep what the model would say of gold rows, so that they are shown as all others are.

    Args:
        project: an open project.
        guesses: the likeliest labels with their probabilities, by the gold row's item.
    """
    vault = open_vault(project)
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        known = _gold(vault)  # not before: somebody may mend a label meanwhile
        for item, choices in guesses.items():
            sealed = vault.seal(Place("gold", item, None), {**known[item], "choices": choices})
            connection.execute(update(gold).where(gold.c.item == item).values(sealed=sealed))


def _of_row(vault: Vault, row: Row[Any]) -> Annotation:
    content = vault.unseal(Place("annotations", str(row.id), row.subject), row.sealed)
    return Annotation(row.item, row.annotator, content["label"], row.reason, row.created_at)
