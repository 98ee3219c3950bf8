"""Retention: what is over its time goes, a dry run only counts, a legal hold keeps, nothing stays behind."""

import pytest
from sqlalchemy import func, insert, select

from millwright.errors import NotFound
from millwright.feedback import propose_rows
from millwright.opinions.surveys import next_survey
from millwright.privacy.audit import read_audit
from millwright.privacy.consent import HELD, restrict
from millwright.privacy.retention import expire
from millwright.privacy.sealed import read_opinions, read_proposed
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Failure, Opinion, Prediction, ProposedRow, Shadow
from millwright.settings import change_settings
from millwright.store.tables import failures, opinions, predictions, shadows, survey_asks
from tests.conftest import csv_of, desk_rows, keep, read_predictions

NOW = "2026-06-30T00:00:00.000+00:00"


@pytest.fixture
def project(make_project) -> Project:
    """What ada and bob said on the first of each month, and rows made of it."""
    made = make_project(csv_of(desk_rows(30)))
    privacy = {"keep_service_days": 40, "keep_training_days": 100}
    made = Project(made.folder, change_settings(made.settings, "privacy", **privacy))
    for month in range(1, 7):
        for person in ("ada", "bob"):
            name, hour = f"{person}{month}", f"2026-{month:02}-01T00:00:00.000+00:00"
            keep(
                made,
                Prediction(name, "v1", f"text {name}", "pin", 0.5, person, False, hour),
                Opinion(name, name, "card", None, None, hour),
                Shadow(name, name, "v2", "pin", 0.5, 0.1, None, hour),
                Failure(name, 1, "v2", 0.5, None, person, "RuntimeError", hour),
                ProposedRow(name, name, f"text {name}", "card", person, "train", 2),
            )
    return made


def left(project: Project) -> tuple[list[str], list[str], list[str]]:
    vault = open_vault(project)
    return (
        sorted(row.id for row in read_predictions(vault)),
        sorted(row.id for row in read_opinions(vault)),
        sorted(row.prediction for row in read_proposed(vault)),
    )


def test_a_dry_run_counts_and_deletes_nothing(project):
    before = left(project)
    found = expire(project, dry_run=True, hour=NOW)
    # 40 days before 30 June is 21 May, 100 days before is 22 March
    assert (found.predictions, found.opinions, found.proposed_rows, found.held) == (10, 10, 6, 0)
    assert left(project) == before


def test_each_purpose_has_its_own_time(project):
    expire(project, hour=NOW)
    june = ["ada6", "bob6"]
    rows = [f"{person}{month}" for person in ("ada", "bob") for month in (4, 5, 6)]
    assert left(project) == (june, june, rows)
    with project.database.connect() as connection:  # emptied ones stand while a row hangs on them
        assert connection.scalar(select(func.count()).select_from(predictions)) == 6
        assert connection.scalar(select(func.count()).select_from(opinions)) == 6
        for table in (shadows, failures):
            assert sorted(connection.scalars(select(table.c.id))) == june
    assert expire(project, hour=NOW).predictions == 0


def test_failures_go_where_nothing_else_is_over_its_time_and_are_counted(make_project):
    made = make_project(csv_of(desk_rows(30)))
    made = Project(made.folder, change_settings(made.settings, "privacy", keep_service_days=40))
    for month, person in ((1, "ada"), (2, "bob"), (6, "ada")):
        hour = f"2026-{month:02}-01T00:00:00.000+00:00"
        keep(made, Failure(f"{person}{month}", 1, "v2", 0.5, None, person, "RuntimeError", hour))
    restrict(made, "bob", HELD)

    def there() -> list[str]:
        with made.database.connect() as connection:
            return sorted(connection.scalars(select(failures.c.id)))

    found = expire(made, dry_run=True, hour=NOW)
    assert (found.failures, found.held, there()) == (1, 1, ["ada1", "ada6", "bob2"])
    assert expire(made, hour=NOW).failures == 1
    assert there() == ["ada6", "bob2"]
    assert read_audit(made)[-1].details["failures"] == 1
    lines = len(read_audit(made))
    assert expire(made, hour=NOW).failures == 0
    assert len(read_audit(made)) == lines


def test_a_survey_of_a_prediction_whose_time_is_over_is_refused(project):
    expire(project, hour=NOW)
    with pytest.raises(NotFound, match="no prediction 'ada4'"):
        next_survey(project, "ada4", "csat")
    assert next_survey(project, "ada6", "csat").prediction == "ada6"


def test_what_came_to_an_emptied_prediction_goes_with_it(project):
    """An earlier release asked after such predictions, and then nothing expired any more."""
    expire(project, hour=NOW)
    with project.database.begin() as connection:
        late = {"survey": "csat", "probability": 0.2, "is_asked": True, "created_at": NOW}
        connection.execute(insert(survey_asks).values(id="a", prediction="ada4", **late))
    assert expire(project, hour="2026-07-30T00:00:00.000+00:00").proposed_rows == 2
    with project.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(survey_asks)) == 0
        assert "ada4" not in connection.scalars(select(predictions.c.id)).all()


def test_a_legal_hold_keeps_everything_of_a_person(project):
    restrict(project, "ada", HELD)
    found = expire(project, hour=NOW)
    assert (found.predictions, found.held) == (5, 18)
    kept, _, rows = left(project)
    assert [name for name in kept if name.startswith("ada")] == [f"ada{month}" for month in range(1, 7)]
    assert [name for name in rows if name.startswith("bob")] == ["bob4", "bob5", "bob6"]


def test_labels_that_are_over_their_time_make_no_rows_again(project):
    keep(
        project,
        Prediction("old", "v1", "old text", "pin", 0.5, None, False, "2020-01-01T00:00:00.000+00:00"),
        Opinion("old", "old", "card", None, None, "2020-01-01T00:00:00.000+00:00"),
    )
    assert propose_rows(project, 3) == 0
    unlimited = Project(project.folder, change_settings(project.settings, "privacy"))
    unlimited = Project(
        unlimited.folder,
        unlimited.settings.model_copy(
            update={"privacy": unlimited.settings.privacy.model_copy(update={"keep_training_days": None})}
        ),
    )
    assert propose_rows(unlimited, 3) == 1


def test_without_limits_nothing_expires(make_project):
    project = make_project(csv_of(desk_rows(30)))
    keep(project, Prediction("p", "v1", "text", "pin", 0.5, None, False, "1999-01-01T00:00:00.000+00:00"))
    assert expire(project).predictions == 0
    assert left(project)[0] == ["p"]
