"""One turn of the wheel: what users said becomes rows, rows a challenger, and the better one serves.

A turn that is interrupted leaves proposed rows and perhaps a version that no alias means; the next call
goes on from there.
"""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import func, insert, select

from millwright.data.dataset import Dataset
from millwright.data.prepare import prepare
from millwright.errors import BadInput
from millwright.experiment.forgetting import slices_of
from millwright.experiment.verdict import judge
from millwright.feedback import propose_rows
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import Interval, Row, TurnRecord
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    alias,
    find_made,
    point,
)
from millwright.reports.charts import turns_chart
from millwright.reports.pages import turns_page
from millwright.review.annotations import apply_reviews
from millwright.serve.runtimes import choose_runtime
from millwright.steps import train, turn_json
from millwright.store.database import now
from millwright.store.files import write_text
from millwright.store.tables import proposed_rows, turns
from millwright.train.classifier import Classifier


def list_turns(project: Project) -> list[TurnRecord]:
    """Every finished turn, oldest first."""
    with project.database.connect() as connection:
        found = connection.scalars(select(turns.c.record).order_by(turns.c.number)).all()
    return [
        TurnRecord(
            **{
                **tree,
                "before": Interval(**tree["before"]) if tree["before"] else None,
                "after": Interval(**tree["after"]),
            }
        )
        for tree in found
    ]


def turn(project: Project, *, progress: Progress = quiet) -> TurnRecord:
    """Turn the wheel once.

    Args:
        project: a project that has a champion.
        progress: called with a stage's name and the fraction done.

    Returns:
        What happened, as it stands in the table of turns.

    Raises:
        BadInput: no champion yet, too few new rows, or no held-out rows to compare on; nothing is
            trained then, and no opinion is lost.
        Busy: another turn runs on this project.
    """
    with project.lock("turn"):
        champion = alias(project, CHAMPION)
        if champion is None:
            raise BadInput("there is no champion to challenge; run `millwright train` first")
        with project.database.connect() as connection:
            number = (connection.scalar(select(func.max(turns.c.number))) or 0) + 1
        apply_reviews(project, project.settings.review.annotators)
        propose_rows(project, number)
        dataset = prepare(project, progress=progress)
        new_rows = _check_enough(project, dataset, number)
        held_out = dataset.split("test")
        # The champion answers first: that it is damaged should be known before hours of training.
        before_N = _right(load_classifier(project, champion), held_out)
        # An interrupted turn may have trained it already, and never compared it.
        challenger = find_made(project, dataset.id, project.settings, but={champion}) or train(
            project, progress=progress, dataset=dataset
        )
        after_N = _right(load_classifier(project, challenger.name), held_out)
        verdict = judge(before_N, after_N, slices_of(held_out), project.settings.turn)
        choose_runtime(project, challenger.name, progress)
        record = TurnRecord(
            number=number,
            dataset=dataset.id,
            rows=len(dataset.split("train", "validation")),
            new_rows=new_rows,
            champion=champion,
            challenger=challenger.name,
            before=verdict.comparison.before,
            after=verdict.comparison.after,
            held_out=len(held_out),
            p_value=verdict.comparison.p_value,
            promoted=verdict.promotes,
            reason=verdict.reason,
            created_at=now(),
        )
        _draw(project, [*list_turns(project), record])
        with project.database.begin() as connection:  # the table and the aliases agree, whatever happens
            point(project, connection, challenger.name, f"challenger of turn {number}", CHALLENGER)
            if verdict.promotes:
                point(project, connection, challenger.name, record.reason)
            connection.execute(insert(turns).values(number=number, record=turn_json(record)))
        return record


def _draw(project: Project, records: Sequence[TurnRecord]) -> None:
    """Draw the chart of turns and its page anew."""
    write_text(project.reports / "turns.svg", turns_chart(records))
    write_text(project.reports / "turns.html", turns_page(records))


def _check_enough(project: Project, dataset: Dataset, number: int) -> int:
    known = {record.dataset for record in list_turns(project)}
    said = [row for row in dataset.rows if row.source.startswith("feedback:")]
    new_rows = len({row.source.removeprefix("feedback:") for row in said} & _taken_by(project, number))
    needed = project.settings.turn.min_rows
    if dataset.id in known or new_rows < needed:
        raise BadInput(
            f"users labelled {max(0, new_rows)} new rows since the last turn, turn.min_rows asks for "
            f"{needed}; collect more feedback or lower turn.min_rows"
        )
    if not dataset.split("test"):
        raise BadInput(
            "there is no held-out row to compare on; raise data.test_share or name data.test_files"
        )
    return new_rows


def _taken_by(project: Project, number: int) -> set[str]:
    """The predictions whose labels are new in this turn."""
    with project.database.connect() as connection:
        chosen = select(proposed_rows.c.prediction).where(proposed_rows.c.turn >= number)
        return set(connection.scalars(chosen))


def _right(classifier: Classifier, rows: tuple[Row, ...]) -> np.ndarray:
    best_N = classifier.probabilities([row.text for row in rows]).argmax(1)
    return np.array([classifier.labels[best] == row.label for best, row in zip(best_N, rows, strict=True)])
