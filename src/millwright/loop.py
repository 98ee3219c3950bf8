"""One turn of the wheel: what users said becomes rows, rows a challenger, and the better one serves.

A turn that is interrupted leaves proposed rows and perhaps a version that no alias means; the next call
goes on from there.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import select

from millwright.data.dataset import Dataset
from millwright.errors import BadInput
from millwright.experiment.forgetting import slices_of
from millwright.experiment.gates import Changes
from millwright.experiment.verdict import Decider, judge
from millwright.feedback import propose_rows
from millwright.membership import audit_membership
from millwright.privacy.gate import open_gate
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import Row, TurnRecord
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
from millwright.serve.available import check_runtime
from millwright.serve.runtimes import choose_runtime
from millwright.settings import refuse_spans
from millwright.steps import prepare_timed, train
from millwright.store.database import now
from millwright.store.files import write_text
from millwright.store.tables import proposed_rows
from millwright.train.answers import answers
from millwright.train.cost import Clock
from millwright.train.ensemble import Trained
from millwright.train.metrics import calibration_error
from millwright.train.outsiders import check_outsiders, members_and_outsiders
from millwright.turns import list_turns, next_number, store_turn
from millwright.webhooks import TURN, announce

TIMED_ROWS, TIMED_ROUNDS, TIMED_S = 64, 3, 0.5  # the machine may have others to serve meanwhile


def turn(
    project: Project,
    *,
    decide_by: Decider = "rows",
    max_membership: float | None = None,
    progress: Progress = quiet,
) -> TurnRecord:
    """Turn the wheel once.

    Args:
        project: a project that has a champion.
        decide_by: "rows" promotes a challenger that is better on held-out rows and passes the gates; "users"
            leaves one that passes the gates to an experiment.
        max_membership: audits the challenger and keeps the champion if an attack finds a greater share of the
            rows that taught it at 1 % false accusations; None audits nothing.
        progress: called with a stage's name and the fraction done.

    Returns:
        What happened, as it stands in the table of turns.

    Raises:
        BadInput: spans are to be found, no champion yet, too few new rows, or no held-out rows to compare
            on; nothing is trained then, and no opinion is lost.
        MissingExtra: `serve.runtime` names a runtime whose packages are missing; nothing was done then.
        Busy: another turn, or an erasure, runs on this project.
    """
    refuse_spans(project.settings, "`millwright turn`")
    check_runtime(project.settings)
    with project.lock("turn"):
        champion = alias(project, CHAMPION)
        if champion is None:
            raise BadInput("there is no champion to challenge; run `millwright train` first")
        number = next_number(project)
        apply_reviews(project, project.settings.review.annotators)
        propose_rows(project, number)
        clock = Clock()
        dataset = prepare_timed(project, clock, progress)
        new_rows = _check_enough(project, dataset, number)
        held_out = dataset.split("test")
        if max_membership is not None:
            check_outsiders(len(members_and_outsiders(dataset)[1]))
        # The champion answers first: that it is damaged should be known before hours of training.
        before = _Answers.of(project, champion, held_out)
        # An interrupted turn may have trained it already, and never compared it.
        challenger = find_made(project, dataset.id, project.settings, but={champion}) or train(
            project, progress=progress, dataset=dataset, clock=clock
        )
        after = _Answers.of(project, challenger.name, held_out)
        choose_runtime(project, challenger.name, progress, after.classifier)
        changes = Changes(
            calibration_before=calibration_error(before.confidence_N, before.right_N),
            calibration_after=calibration_error(after.confidence_N, after.right_N),
            slowdown=_slowdown(
                before.classifier, after.classifier, [row.text for row in held_out[:TIMED_ROWS]]
            ),
            growth=_size_bytes(project, challenger.name) / _size_bytes(project, champion),
            barred_rows=open_gate(project).count_barred(dataset.split("train", "validation")),
            members_found=_members_found(project, challenger.name, max_membership, progress),
            most_found=1.0 if max_membership is None else max_membership,
        )
        verdict = judge(
            before.right_N,
            after.right_N,
            slices_of(held_out),
            project.settings.turn,
            changes=changes,
            decide_by=decide_by,
        )
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
            decided_by=decide_by,
            blocked=verdict.blocked,
        )
        _draw(project, [*list_turns(project), record])
        return _settle(project, record)


def _settle(project: Project, record: TurnRecord) -> TurnRecord:
    """Store a turn and do what it decided, unless another version became champion while it ran."""
    with project.database.begin() as connection:  # the table and the aliases agree, whatever happens
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # from here on nobody promotes
        if (serving := alias(project, CHAMPION)) != record.champion:
            record = replace(record, promoted=False, reason=_overtaken(record, serving))
            _draw(project, [*list_turns(project), record])
        if record.challenger != serving:
            point(project, connection, record.challenger, f"challenger of turn {record.number}", CHALLENGER)
        if record.promoted:
            point(project, connection, record.challenger, record.reason)
        announce(project, connection, TURN, store_turn(connection, record))
    return record


def _overtaken(record: TurnRecord, serving: str | None) -> str:
    stays = "promoted nothing: no version is" if serving is None else f"kept the champion: {serving} became"
    return (
        f"{stays} champion since this turn began, and {record.challenger} was compared with {record.champion}"
    )


def _members_found(project: Project, version: str, most: float | None, progress: Progress) -> float | None:
    if most is None:
        return None
    return audit_membership(project, version=version, progress=progress)[0].worst.true_positives.value


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
            f"users labelled {new_rows} new rows since the last turn, turn.min_rows asks for "
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


@dataclass(frozen=True)
class _Answers:
    """What a version says of the held-out rows: whether it was right and how sure it was, a row each."""

    classifier: Trained
    right_N: np.ndarray
    confidence_N: np.ndarray

    @classmethod
    def of(cls, project: Project, version: str, rows: tuple[Row, ...]) -> "_Answers":
        """Let a version answer the rows."""
        classifier = load_classifier(project, version)
        probability_NC = answers(classifier, rows, project.kept, project.settings.train.cache_bytes)
        best_N = probability_NC.argmax(1)
        right = [classifier.labels[best] == row.label for best, row in zip(best_N, rows, strict=True)]
        return cls(classifier, np.array(right), probability_NC.max(1))


def _slowdown(before: Trained, after: Trained, texts: Sequence[str]) -> float:
    """The processor's seconds of the challenger over the champion's, the best of some rounds in turn each."""
    best, begun, rounds = [float("inf"), float("inf")], time.perf_counter(), 0
    while rounds < TIMED_ROUNDS or time.perf_counter() - begun < TIMED_S:
        for place, classifier in enumerate((before, after)):
            start = time.process_time()  # of the processor: others may have it in between
            classifier.probabilities(texts)
            best[place] = min(best[place], time.process_time() - start)
        rounds += 1
    return best[1] / best[0]


def _size_bytes(project: Project, version: str) -> int:
    return sum(path.stat().st_size for path in (project.kept / "versions" / version).iterdir())
