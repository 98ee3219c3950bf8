"""Whom a survey asks: a hashed share of users, seldom the same one, the probability logged with the draw.

So the answers can be weighed by how likely each was to be asked, and no client can choose who is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Literal

import numpy as np
from sqlalchemy import Connection, insert, select

from millwright.data.split import unit_of
from millwright.feedback import no_prediction
from millwright.privacy.sealed import read_opinions
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import JsonObject, Opinion
from millwright.store.database import hour_of, now
from millwright.store.tables import predictions, survey_asks

Survey = Literal["csat", "nps"]
RANGES = {"csat": (1, 5), "nps": (0, 10)}


@dataclass(frozen=True)
class Ask:
    """Whether to ask after a prediction, and the probability with which that was drawn."""

    survey: str
    prediction: str
    is_asked: bool
    probability: float


def next_survey(project: Project, prediction: str, survey: Survey) -> Ask:
    """Decide whether to ask the user of a prediction, and keep the draw; asked again it is the same.

    Args:
        project: an open project.
        prediction: the id of a prediction.
        survey: "csat" or "nps".

    Returns:
        The draw. The probability is 0 for who was asked within `feedback.survey_days`.

    Raises:
        NotFound: no prediction has this id, or its time is over.
    """
    with project.database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # two that ask at once get one draw
        about = connection.execute(select(predictions).where(predictions.c.id == prediction)).first()
        if about is None or about.sealed is None:
            raise no_prediction(prediction)
        kept = connection.execute(
            select(survey_asks).where(survey_asks.c.prediction == prediction, survey_asks.c.survey == survey)
        ).first()
        if kept is not None:
            return Ask(survey, prediction, kept.is_asked, kept.probability)
        share = project.settings.feedback.survey_share
        if about.subject is not None and _asked_lately(
            connection, about.subject, survey, project.settings.feedback.survey_days
        ):
            share = 0.0
        ask = Ask(survey, prediction, unit_of(prediction, f"survey {survey}") < share, share)
        connection.execute(insert(survey_asks).values(id=token_hex(16), created_at=now(), **vars(ask)))
    return ask


def asked_with(connection: Connection, opinion: Opinion) -> float | None:
    """The probability with which the user was asked for this score; None if nobody asked."""
    given = [name for name in RANGES if getattr(opinion, name) is not None]
    if not given:
        return None
    wanted = select(survey_asks.c.probability).where(
        survey_asks.c.prediction == opinion.prediction,
        survey_asks.c.survey.in_(given),
        survey_asks.c.is_asked,
    )
    probability: float | None = connection.scalar(wanted)
    return probability


def survey_figures(project: Project) -> JsonObject:
    """What surveys found: how many were asked and answered, and the score of each, by who was asked.

    CSAT is the share of scores of 4 and 5, NPS the share of 9 and 10 less that of 0 to 6. Answers count
    with one over the probability of being asked; those that nobody asked for are counted apart, and not
    in the score. `error` is the standard error; None for fewer than two answers, and for answers that are all
    alike, which do not tell how far they would spread.
    """
    with project.database.connect() as connection:
        asks = connection.execute(select(survey_asks).where(survey_asks.c.is_asked)).all()
    said = read_opinions(open_vault(project))
    found: JsonObject = {}
    for survey in RANGES:
        mine = [row for row in said if getattr(row, survey) is not None]
        newest = {row.prediction: row for row in mine}  # the last one wins
        asked = [row for row in newest.values() if row.asked_with is not None]
        score_N = np.array([_scored(survey, getattr(row, survey)) for row in asked])
        weight_N = np.array([1 / row.asked_with for row in asked if row.asked_with is not None])
        value = float(np.average(score_N, weights=weight_N)) if len(asked) else None
        found[survey] = {
            "asked": sum(row.survey == survey for row in asks),
            "answered": len(asked),
            "volunteered": len(newest) - len(asked),
            "score": value,
            "error": None if value is None or len(set(score_N)) < 2 else _error(score_N, weight_N, value),
        }
    return found


def _scored(survey: str, score: int) -> float:
    if survey == "csat":
        return float(score >= 4)
    return 1.0 if score >= 9 else -1.0 if score <= 6 else 0.0


def _error(score_N: np.ndarray, weight_N: np.ndarray, mean: float) -> float:
    share_N = weight_N / weight_N.sum()
    return float(np.sqrt((share_N**2 * (score_N - mean) ** 2).sum() * len(score_N) / (len(score_N) - 1)))


def _asked_lately(connection: Connection, subject: str, survey: str, days: int) -> bool:
    since = hour_of(datetime.fromisoformat(now()) - timedelta(days=days))
    wanted = (
        select(survey_asks.c.id)
        .join(predictions, predictions.c.id == survey_asks.c.prediction)
        .where(
            predictions.c.subject == subject,
            survey_asks.c.survey == survey,
            survey_asks.c.is_asked,
            survey_asks.c.created_at >= since,
        )
    )
    return connection.scalar(wanted) is not None
