from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert

from millwright.data.prepare import feedback_rows, group_name
from millwright.data.split import split_of
from millwright.errors import BadInput, NotFound
from millwright.feedback import check_opinion, check_prediction, count_waiting, is_asked, propose_rows
from millwright.privacy.sealed import read_proposed
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion, Prediction, ProposedRow
from millwright.store.tables import turns
from tests.conftest import csv_of, desk_rows, keep

LABELS = {"card", "pin", "transfer"}


@pytest.fixture
def project(make_project) -> Project:
    return make_project(csv_of(desk_rows(30)))


def opinion(label: str | None = None, rating: int | None = None, comment: str | None = None) -> Opinion:
    return Opinion("o", "p", label, rating, comment, "2026-01-01T00:00:00.000+00:00")


def prediction(name: str, text: str, subject: str | None = None, ask: bool = False) -> Prediction:
    return Prediction(name, "v1", text, "card", 0.9, subject, ask, "2026-01-01T00:00:00.000+00:00")


def add_prediction(
    project: Project, name: str, text: str, subject: str | None = None, ask: bool = False
) -> str:
    keep(project, prediction(name, text, subject, ask))
    return name


def said_of(name: str, second: int, **what: Any) -> Opinion:
    """An opinion on a prediction, given in a second of the first minute of the year."""
    made = f"o-{name}-{99 - second}"  # ids do not sort as the hours do
    hour = f"2026-01-01T00:00:{second:02d}.000+00:00"
    told = {"label": None, "rating": None, "comment": None, **what}
    return Opinion(made, name, created_at=hour, **told)


def say(project: Project, name: str, second: int, **what: Any) -> str:
    """Store such an opinion."""
    made = said_of(name, second, **what)
    keep(project, made)
    return made.id


def keep_pins(project: Project, count: int, ask: bool) -> None:
    """Store predictions on so many texts, each with the opinion that it is about a pin."""
    names = [f"p{number}" for number in range(count)]
    given = [prediction(name, f"text {name[1:]}", ask=ask) for name in names]
    keep(project, *given, *(said_of(name, 1, label="pin") for name in names))


def proposed(project: Project) -> Sequence[ProposedRow]:
    return read_proposed(open_vault(project))


@pytest.mark.parametrize(
    "good",
    [
        opinion(label="pin"),
        opinion(rating=1),
        opinion(rating=5),
        opinion(comment="x" * 2000),
        opinion("pin", 3, "hm"),
    ],
)
def test_accepts_any_of_label_rating_and_comment(good):
    check_opinion(good, LABELS)


@pytest.mark.parametrize(
    ("bad", "field", "message"),
    [
        (opinion(), "label", "at least one of label, rating, comment"),
        (opinion(label="crad"), "label", "Did you mean 'card'"),
        (opinion(label=""), "label", "no label named ''"),
        (opinion(rating=0), "rating", "from 1 to 5, got 0; a thumb up is 5, a thumb down 1"),
        (opinion(rating=6), "rating", "from 1 to 5, got 6"),
        (opinion(comment="x" * 2001), "comment", "2001 characters, the limit is 2000"),
        (opinion(label="pin", rating=9), "rating", "got 9"),
    ],
)
def test_refuses_an_opinion_and_names_the_field(bad, field, message):
    with pytest.raises(BadInput, match=message) as refused:
        check_opinion(bad, LABELS)
    assert refused.value.field == field


def test_an_opinion_on_nothing_is_not_found(project):
    add_prediction(project, "p", "card lost")
    with project.database.connect() as connection:
        check_prediction(connection, "p")
        with pytest.raises(NotFound, match="no prediction 'q'; pass an id that POST"):
            check_prediction(connection, "q")


def test_a_label_becomes_a_row_with_its_provenance(project):
    add_prediction(project, "p", "pin lost", subject="ada")
    said = say(project, "p", 1, label="pin", rating=1)
    assert propose_rows(project, turn=2) == 1
    (row,) = proposed(project)
    assert (row.prediction, row.opinion, row.text, row.label) == ("p", said, "pin lost", "pin")
    assert (row.subject, row.turn) == ("ada", 2)
    (kept,) = feedback_rows(project)
    assert (kept.text, kept.label, kept.source) == ("pin lost", "pin", "feedback:p")


def test_a_confirmation_is_a_row_too(project):
    add_prediction(project, "p", "card lost")
    say(project, "p", 1, label="card")
    assert propose_rows(project, turn=2) == 1


def test_a_thumb_or_a_comment_alone_is_no_row(project):
    add_prediction(project, "p", "card lost")
    say(project, "p", 1, rating=1)
    say(project, "p", 2, comment="wrong")
    assert count_waiting(project) == 0
    assert propose_rows(project, turn=2) == 0
    assert list(proposed(project)) == []


def test_the_latest_label_wins_and_later_ratings_do_not_undo_it(project):
    add_prediction(project, "p", "card lost")
    # stored out of order: what counts is when it was said
    newest = say(project, "p", 9, label="transfer")
    say(project, "p", 3, label="pin")
    say(project, "p", 12, rating=5)
    assert propose_rows(project, turn=2) == 1
    (row,) = proposed(project)
    assert (row.label, row.opinion) == ("transfer", newest)


def test_a_second_turn_takes_only_what_is_new(project):
    for name in ("p", "q"):
        add_prediction(project, name, f"card {name}")
    say(project, "p", 1, label="pin")
    assert (propose_rows(project, turn=2), propose_rows(project, turn=3)) == (1, 0)
    say(project, "q", 2, label="card")
    say(project, "p", 3, label="pin")  # says the same again
    assert propose_rows(project, turn=3) == 1
    assert [(row.prediction, row.turn) for row in proposed(project)] == [("p", 2), ("q", 3)]


def test_a_change_of_mind_replaces_the_row_and_keeps_its_split(project):
    add_prediction(project, "p", "card lost", ask=True)
    say(project, "p", 1, label="pin")
    propose_rows(project, turn=2)
    (before,) = proposed(project)
    later = say(project, "p", 2, label="transfer")
    assert propose_rows(project, turn=3) == 1
    (row,) = proposed(project)
    assert (row.label, row.opinion, row.turn, row.split) == ("transfer", later, 3, before.split)


def test_what_users_volunteer_always_trains(project):
    keep_pins(project, 60, ask=False)
    assert propose_rows(project, turn=2) == 60
    assert {row.split for row in proposed(project)} == {"train"}


def test_asked_rows_keep_the_split_of_their_hash(project):
    data = project.settings.data
    expected = {
        f"p{n}": split_of(group_name(data, f"text {n}", None, None), data.split_seed, 0.1, 0.15)
        for n in range(60)
    }
    keep_pins(project, 60, ask=True)
    propose_rows(project, turn=2)
    assert {row.prediction: row.split for row in proposed(project)} == expected
    assert set(expected.values()) == {"train", "validation", "test"}


def test_with_test_files_of_its_own_feedback_is_never_tested_on(make_project):
    project = make_project(csv_of(desk_rows(30)), test_files=["later.csv"], test_share=0.5)
    keep_pins(project, 60, ask=True)
    propose_rows(project, turn=2)
    assert {row.split for row in proposed(project)} == {"train", "validation"}


def test_those_are_asked_who_do_not_train(project):
    data = project.settings.data
    asked = [is_asked(data, f"text {number}", None) for number in range(400)]
    held = [
        split_of(group_name(data, f"text {number}", None, None), data.split_seed, 0.1, 0.15) != "train"
        for number in range(400)
    ]
    assert asked == held
    assert sum(asked) / 400 == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 400) ** 0.5)


def test_counts_predictions_whose_label_waits_for_a_turn(project):
    for name in ("p", "q", "r"):
        add_prediction(project, name, f"card {name}")
    say(project, "p", 1, label="pin")
    say(project, "p", 2, label="card")
    say(project, "q", 1, label="pin")
    say(project, "r", 1, rating=5)
    assert count_waiting(project) == 2
    propose_rows(project, turn=1)
    assert count_waiting(project) == 2  # until that turn ends
    with project.database.begin() as connection:
        connection.execute(insert(turns).values(number=1, record={}))
    assert count_waiting(project) == 0
    say(project, "r", 2, label="pin")
    assert count_waiting(project) == 1
