"""Opinions become proposed rows: a label that a user gave is a labelled row with its provenance.

A rating or a comment alone is kept and counted, but makes no row.
"""

from typing import Any

from sqlalchemy import Connection, Select, func, select

from millwright.data.prepare import group_name
from millwright.data.split import split_of
from millwright.errors import BadInput, NotFound, choice
from millwright.privacy.retention import training_since
from millwright.privacy.sealed import (
    open_opinion,
    open_prediction,
    read_opinions,
    read_proposed,
    store_proposed,
    take_write_lock,
)
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion, ProposedRow
from millwright.settings import DataSection
from millwright.store.tables import opinions, predictions, proposed_rows, turns

RATINGS = (1, 5)  # a thumb down is 1, a thumb up is 5
SCORES = {"csat": (1, 5), "nps": (0, 10)}
OUTCOMES = ("resolved", "escalated", "bought")
SAYS = ("label", "rating", "comment", "csat", "nps", "outcome")
MAX_KEY = 100
REVIEWED = "review:"  # begins the key of an opinion that reviewers made
MAX_COMMENT = 2_000


def check_opinion(opinion: Opinion, labels: set[str] | None) -> None:
    """Raise BadInput naming the field if an opinion says nothing or something impossible.

    Args:
        opinion: what a user said.
        labels: those that may be named; None where spans are to be found, for none is that of a text.
    """
    if all(getattr(opinion, field) is None for field in SAYS):
        raise BadInput(f"feedback says nothing; give at least one of {', '.join(SAYS)}", field="label")
    if opinion.label is not None and labels is None:
        raise BadInput(
            f"label is {opinion.label!r}, and spans are found here, which feedback cannot correct yet; send "
            "rating, comment or outcome, and correct the spans in the files of data.files",
            field="label",
        )
    if opinion.label is not None and labels is not None and opinion.label not in labels:
        choice("label", opinion.label, sorted(labels), field="label")
    low, high = RATINGS
    if opinion.rating is not None and not low <= opinion.rating <= high:
        raise BadInput(
            f"rating must be from {low} to {high}, got {opinion.rating}; a thumb up is 5, a thumb down 1",
            field="rating",
            value=opinion.rating,
        )
    if opinion.comment is not None and len(opinion.comment) > MAX_COMMENT:
        raise BadInput(
            f"comment has {len(opinion.comment)} characters, the limit is {MAX_COMMENT}; shorten it",
            field="comment",
            value=f"{len(opinion.comment)} characters",
        )
    _check_scores(opinion)


def _check_scores(opinion: Opinion) -> None:
    for field, (low, high) in SCORES.items():
        score = getattr(opinion, field)
        if score is not None and not low <= score <= high:
            raise BadInput(
                f"{field} must be from {low} to {high}, got {score}; rescale it", field=field, value=score
            )
    if opinion.outcome is not None and opinion.outcome not in OUTCOMES:
        raise BadInput(
            f"outcome must be one of {', '.join(OUTCOMES)}, got {opinion.outcome!r}; pass one of these",
            field="outcome",
            value=opinion.outcome,
        )
    if opinion.key is not None and not 0 < len(opinion.key) <= MAX_KEY:
        raise BadInput(
            f"key must have 1 to {MAX_KEY} characters, got {len(opinion.key)}; send a shorter one",
            field="key",
            value=f"{len(opinion.key)} characters",
        )


def is_reviewed(opinion: Opinion) -> bool:
    """True if reviewers said it, and not a user."""
    return (opinion.key or "").startswith(REVIEWED)


def check_prediction(connection: Connection, prediction: str) -> None:
    """Raise NotFound if no prediction has this id."""
    if connection.scalar(select(predictions.c.id).where(predictions.c.id == prediction)) is None:
        raise no_prediction(prediction)


def no_prediction(prediction: str) -> NotFound:
    """What to raise where no prediction has this id."""
    told = f"no prediction {prediction!r}; pass an id that POST /v1/predictions returned"
    return NotFound(told, field="prediction", value=prediction)


def propose_rows(project: Project, turn: int) -> int:
    """Make a proposed row of the newest labelled opinion on each prediction.

    Rows of users who are always asked keep the split of their hash; what others volunteer is training
    data only, since people volunteer corrections more often than confirmations.

    Args:
        project: an open project.
        turn: the number of the turn that takes them.

    Returns:
        How many rows are new or have another label now.
    """
    data, changed, vault = project.settings.data, 0, open_vault(project)
    known = {row.prediction: row for row in read_proposed(vault)}
    labelled = _may_teach(project)
    said_of = predictions.c.id.in_(labelled.with_only_columns(opinions.c.prediction))
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        newest = {
            row.prediction: row for row in connection.execute(labelled.order_by(opinions.c.created_at))
        }  # the last one wins
        chosen = select(predictions).where(said_of, predictions.c.sealed.is_not(None))
        for row in connection.execute(chosen.order_by(predictions.c.id)).all():
            said, before = newest[row.id], known.get(row.id)
            if before is not None and before.opinion == said.id:
                continue
            label, given = open_opinion(vault, said).label, open_prediction(vault, row)
            assert label is not None, said.id
            if before is not None and before.label == label:
                continue
            if before is not None:
                split = before.split
            else:
                split = _split(data, given.text, given.subject) if given.ask else "train"
            proposed = ProposedRow(row.id, said.id, given.text, label, given.subject, split, turn)
            store_proposed(connection, vault, proposed)
            changed += 1
    return changed


def count_waiting(project: Project) -> int:
    """How many predictions have a label from a user that may teach and that no finished turn took.

    What a turn took that was cut off or failed waits still: the next one goes on with it.
    """
    finished = select(func.max(turns.c.number)).scalar_subquery()
    taken = select(proposed_rows.c.prediction).where(proposed_rows.c.turn <= finished)
    labelled = _may_teach(project).with_only_columns(opinions.c.prediction)
    waiting = labelled.where(opinions.c.prediction.not_in(taken)).distinct().subquery()
    with project.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(waiting)) or 0


def _may_teach(project: Project) -> Select[Any]:
    """Opinions with a label that are not forgotten and not too old to teach."""
    is_there = opinions.c.has_label & opinions.c.sealed.is_not(None)
    return select(opinions).where(is_there, opinions.c.created_at >= training_since(project))


def count_kinds(project: Project) -> dict[str, int]:
    """How many opinions have each field."""
    said = read_opinions(open_vault(project))
    return {name: sum(getattr(one, name) is not None for one in said) for name in SAYS}


def is_asked(data: DataSection, text: str, subject: str | None) -> bool:
    """True for the users who are asked for the right label whatever the model said: the held-out ones."""
    return _split(data, text, subject) != "train"


def is_measuring(data: DataSection, text: str, subject: str | None) -> bool:
    """True for the users whose rows never teach."""
    return _split(data, text, subject) == "test"


def _split(data: DataSection, text: str, subject: str | None) -> str:
    test_share = 0.0 if data.test_files else data.test_share
    return split_of(group_name(data, text, None, subject), data.split_seed, data.validation_share, test_share)
