"""Messages under a key are kept once; surveys ask a hashed share and weigh what comes."""

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from millwright.errors import BadInput, NotFound
from millwright.opinions.keys import kept_under_key
from millwright.opinions.surveys import asked_with, next_survey, survey_figures
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion
from millwright.store.tables import opinions, survey_asks
from tests.conftest import csv_of, desk_rows, keep
from tests.test_feedback import add_prediction, prediction, say

HOUR = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture
def project(make_project) -> Project:
    return make_project(csv_of(desk_rows(30)))


def message(**said: object) -> Opinion:
    return Opinion(**{"id": "new", "prediction": "p", "label": None, "rating": None, "comment": None,
                      "created_at": HOUR, **said})  # type: ignore[arg-type]  # fmt: skip


def under_key(project: Project, opinion: Opinion) -> str | None:
    with project.database.connect() as connection:
        return kept_under_key(connection, open_vault(project), opinion)


def probability(project: Project, opinion: Opinion) -> float | None:
    with project.database.connect() as connection:
        return asked_with(connection, opinion)


def test_a_message_that_comes_again_is_known_and_another_under_its_key_is_refused(project):
    add_prediction(project, "p", "card")
    first = say(project, "p", 1, csat=4, key="k1")
    assert under_key(project, message(csat=4, key="k1")) == first
    assert under_key(project, message(csat=4, key="k2")) is None
    assert under_key(project, message(csat=4)) is None
    with pytest.raises(BadInput, match="its csat differs; send this one with a new key"):
        under_key(project, message(csat=5, key="k1"))


def test_a_survey_asks_its_share_and_says_the_same_again(project):
    keep(project, *(prediction(f"p{n}", "card") for n in range(300)))
    asks = [next_survey(project, f"p{n}", "csat") for n in range(300)]
    share = project.settings.feedback.survey_share
    assert {ask.probability for ask in asks} == {share}
    asked = sum(ask.is_asked for ask in asks) / 300
    assert asked == pytest.approx(share, abs=4 * (share * (1 - share) / 300) ** 0.5)
    assert [next_survey(project, f"p{n}", "csat") for n in range(300)] == asks
    with project.database.connect() as connection:
        assert len(connection.execute(select(survey_asks)).all()) == 300


def test_nobody_is_asked_again_within_the_days_that_are_set(project):
    keep(project, *(prediction(f"p{n}", "card", "ada") for n in range(200)))
    for n in range(200):
        next_survey(project, f"p{n}", "nps")
    with project.database.connect() as connection:
        rows = connection.execute(select(survey_asks).order_by(survey_asks.c.created_at)).all()
    assert sum(row.is_asked for row in rows) == 1
    assert {row.probability for row in rows} == {0.0, 0.2}
    with project.database.begin() as connection:
        connection.execute(update(survey_asks).values(created_at="2020-01-01T00:00:00.000+00:00"))
    assert next_survey(project, add_prediction(project, "later", "card", "ada"), "nps").probability == 0.2


def test_only_what_was_asked_for_has_a_probability_and_counts_in_the_score(project):
    names = [f"p{n}" for n in range(60)]
    keep(project, *(prediction(name, "card") for name in names))
    asked = [name for name in names if next_survey(project, name, "csat").is_asked]
    quiet = next(name for name in names if name not in asked)
    assert probability(project, message(prediction=asked[0], csat=5)) == 0.2
    assert probability(project, message(prediction=asked[0], label="pin")) is None
    assert probability(project, message(prediction=asked[0], nps=5)) is None
    assert probability(project, message(prediction=quiet, csat=5)) is None
    say(project, quiet, 1, csat=1)
    scores = [5, 4, 2]
    for place, score in enumerate(scores):
        say(project, asked[place], 1, csat=1, asked_with=(0.2, 0.5, 1.0)[place])
        say(project, asked[place], 2, csat=score, asked_with=(0.2, 0.5, 1.0)[place])  # the last one counts
    found = survey_figures(project)["csat"]
    assert (found["asked"], found["answered"], found["volunteered"]) == (len(asked), 3, 1)
    assert found["score"] == pytest.approx((5 + 2 + 0) / (5 + 2 + 1))
    assert survey_figures(project)["nps"]["score"] is None


def test_nps_is_promoters_less_detractors(project):
    for place, score in enumerate([10, 9, 8, 6, 0]):
        add_prediction(project, f"p{place}", "card")
        say(project, f"p{place}", 1, nps=score, asked_with=0.5)
    assert survey_figures(project)["nps"]["score"] == pytest.approx((2 - 2) / 5)


def test_a_survey_of_an_unknown_prediction_is_refused(project):
    with pytest.raises(NotFound, match="no prediction 'nope'"):
        next_survey(project, "nope", "csat")


def test_the_database_itself_keeps_a_key_once(project):
    add_prediction(project, "p", "card")
    say(project, "p", 1, csat=4, key="k1")
    with pytest.raises(IntegrityError, match="UNIQUE"):
        say(project, "p", 2, csat=4, key="k1")


def test_a_key_may_name_a_person_and_so_stands_nowhere_in_the_clear(project):
    add_prediction(project, "p", "card")
    say(project, "p", 1, csat=4, key="ticket of hildegard")
    with project.database.connect() as connection:
        (row,) = connection.execute(select(opinions)).all()
    assert "hildegard" not in repr(row)
    assert under_key(project, message(csat=4, key="ticket of hildegard")) == row.id


def test_answers_that_are_all_alike_do_not_tell_how_far_others_would_spread(project):
    for place, score in enumerate([5, 4]):
        add_prediction(project, f"p{place}", "card")
        say(project, f"p{place}", 1, csat=score, asked_with=0.5)
    found = survey_figures(project)["csat"]
    assert (found["score"], found["error"]) == (1.0, None)
    add_prediction(project, "p2", "card")
    say(project, "p2", 1, csat=1, asked_with=0.5)
    assert survey_figures(project)["csat"]["error"] > 0
