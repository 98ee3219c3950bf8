"""Opinions become proposed rows: a label that a user gave is a labelled row with its provenance.

A rating or a comment alone is kept and counted, but makes no row.
"""

from sqlalchemy import Engine, func, insert, select, update

from millwright.data.prepare import group_name
from millwright.data.split import split_of
from millwright.errors import BadInput, NotFound, one_of
from millwright.project import Project
from millwright.records import Opinion
from millwright.settings import DataSection
from millwright.store.tables import opinions, predictions, proposed_rows

RATINGS = (1, 5)  # a thumb down is 1, a thumb up is 5
SCORES = {"csat": (1, 5), "nps": (0, 10)}
OUTCOMES = ("resolved", "escalated", "bought")
SAYS = ("label", "rating", "comment", "csat", "nps", "outcome")
MAX_KEY = 100
MAX_COMMENT = 2_000


def check_opinion(opinion: Opinion, labels: set[str]) -> None:
    """Raise BadInput naming the field if an opinion says nothing or something impossible."""
    if all(getattr(opinion, field) is None for field in SAYS):
        raise BadInput(f"feedback says nothing; give at least one of {', '.join(SAYS)}", field="label")
    if opinion.label is not None and opinion.label not in labels:
        try:
            one_of("label", opinion.label, sorted(labels))
        except NotFound as unknown:
            raise BadInput(str(unknown), field="label") from None
    low, high = RATINGS
    if opinion.rating is not None and not low <= opinion.rating <= high:
        raise BadInput(
            f"rating must be from {low} to {high}, got {opinion.rating}; a thumb up is 5, a thumb down 1",
            field="rating",
        )
    if opinion.comment is not None and len(opinion.comment) > MAX_COMMENT:
        raise BadInput(
            f"comment has {len(opinion.comment)} characters, the limit is {MAX_COMMENT}; shorten it",
            field="comment",
        )
    _check_scores(opinion)


def _check_scores(opinion: Opinion) -> None:
    for field, (low, high) in SCORES.items():
        score = getattr(opinion, field)
        if score is not None and not low <= score <= high:
            raise BadInput(f"{field} must be from {low} to {high}, got {score}; rescale it", field=field)
    if opinion.outcome is not None and opinion.outcome not in OUTCOMES:
        raise BadInput(
            f"outcome must be one of {', '.join(OUTCOMES)}, got {opinion.outcome!r}; pass one of these",
            field="outcome",
        )
    if opinion.key is not None and not 0 < len(opinion.key) <= MAX_KEY:
        raise BadInput(
            f"key must have 1 to {MAX_KEY} characters, got {len(opinion.key)}; send a shorter one",
            field="key",
        )


def check_prediction(database: Engine, prediction: str) -> None:
    """Raise NotFound if no prediction has this id."""
    with database.connect() as connection:
        if connection.scalar(select(predictions.c.id).where(predictions.c.id == prediction)) is None:
            raise NotFound(f"no prediction {prediction!r}; pass an id that POST /v1/predictions returned")


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
    data, changed = project.settings.data, 0
    said = (
        select(predictions, opinions.c.id.label("opinion"), opinions.c.label.label("said"))
        .join(opinions, opinions.c.prediction == predictions.c.id)
        .where(opinions.c.label.is_not(None))
        .order_by(predictions.c.id, opinions.c.created_at)
    )
    with project.database.begin() as connection:
        known = {row.prediction: row for row in connection.execute(select(proposed_rows))}
        newest = {row.id: row for row in connection.execute(said)}  # the last one wins
        for row in newest.values():
            before = known.get(row.id)
            if before is None:
                split = _split(data, row.text, row.subject) if row.ask else "train"
                values = {
                    "text": row.text,
                    "label": row.said,
                    "subject": row.subject,
                    "split": split,
                    "turn": turn,
                }
                connection.execute(
                    insert(proposed_rows).values(prediction=row.id, opinion=row.opinion, **values)
                )
                changed += 1
            elif before.label != row.said:
                changed_row = update(proposed_rows).where(proposed_rows.c.prediction == row.id)
                connection.execute(changed_row.values(opinion=row.opinion, label=row.said, turn=turn))
                changed += 1
    return changed


def count_waiting(project: Project) -> int:
    """How many predictions have a label from a user and no proposed row yet."""
    with project.database.connect() as connection:
        labelled = select(opinions.c.prediction).where(opinions.c.label.is_not(None)).distinct()
        waiting = labelled.where(opinions.c.prediction.not_in(select(proposed_rows.c.prediction))).subquery()
        return connection.scalar(select(func.count()).select_from(waiting)) or 0


def count_kinds(project: Project) -> dict[str, int]:
    """How many opinions have each field."""
    columns = [func.count(opinions.c[name]).label(name) for name in SAYS]
    with project.database.connect() as connection:
        row = connection.execute(select(*columns)).one()
    return {name: int(getattr(row, name)) for name in SAYS}


def is_asked(data: DataSection, text: str, subject: str | None) -> bool:
    """True for the users who are asked for the right label whatever the model said: the held-out ones."""
    return _split(data, text, subject) != "train"


def _split(data: DataSection, text: str, subject: str | None) -> str:
    test_share = 0.0 if data.test_files else data.test_share
    return split_of(group_name(data, text, None, subject), data.split_seed, data.validation_share, test_share)
