"""Rows that taught nothing: without enough of them nobody can tell how well those that taught are found."""

from collections.abc import Collection, Sequence

from millwright.data.dataset import Dataset
from millwright.errors import BadInput
from millwright.records import Row

LEAST_OUTSIDERS = 100  # of whom one may be accused at 1 %
BEFORE_METHOD = ("train", "validation")  # what may teach, whichever method is chosen


def person_of(row: Row) -> str:
    """Whose row it is: the subject, or the row alone where there is none."""
    return f"row:{row.id}" if row.subject is None else f"subject:{row.subject}"


def members_and_outsiders(
    dataset: Dataset, labels: Collection[str] | None = None, taught: Sequence[str] = BEFORE_METHOD
) -> tuple[list[Row], list[Row]]:
    """Rows that teach a version, and test rows of other people.

    Args:
        dataset: what the version is made of.
        labels: those of the version; those of the rows that teach when not given.
        taught: the splits whose rows teach.

    Returns:
        Both without rows of labels that the version does not know.
    """
    known = {row.label for row in dataset.split(*taught)} if labels is None else labels
    members = [row for row in dataset.split(*taught) if row.label in known and not row.is_weak]
    teachers = {person_of(row) for row in members}
    others = [row for row in dataset.split("test") if row.label in known and person_of(row) not in teachers]
    return members, others


def check_outsiders(count: int) -> None:
    """Refuse too few rows that taught nothing; raise BadInput that says how many are needed."""
    if count < LEAST_OUTSIDERS:
        raise BadInput(
            f"an audit needs {LEAST_OUTSIDERS} test rows of people of whom no row taught, there are {count}; "
            "raise data.test_share, name data.test_files, let data.group keep people whole, or do without it"
        )
