"""Versions that answer unseen: what they say is noted, and they cost nobody else anything."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from millwright.errors import Unavailable
from millwright.privacy.sealed import open_shadow
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.serve.engine import Answering
from millwright.settings import change_settings
from millwright.store.tables import failures, predictions, shadows
from millwright.surfaces.messages import PredictionRequest
from millwright.surfaces.service import Service
from tests.conftest import csv_of, desk_rows
from tests.experiment.logs import begun, with_versions
from tests.serve.tiny import LABELS, Gated, Headed, Tiny

Scenario = Callable[[Service], Awaitable[None]]


@pytest.fixture
def project(make_project) -> Project:
    """A project whose v1 answers users, and v2 unseen."""
    made = with_versions(make_project(csv_of(desk_rows(30))))
    begun(made, steps=(0.0, 0.5))
    return made


def run(project: Project, scenario: Scenario, **served: Answering) -> Service:
    """Run a scenario with a started service and stop the service; return it."""
    service = Service(project, served.__getitem__)

    async def whole() -> None:
        await service.start()
        try:
            await scenario(service)
        finally:
            await service.stop()

    asyncio.run(asyncio.wait_for(whole(), 60))
    return service


def noted(project: Project) -> dict[str, tuple]:
    """Label, probability, failure and seconds of each shadow, by its prediction."""
    vault = open_vault(project)
    with project.database.connect() as connection:
        rows = connection.execute(select(shadows)).all()
    said = {row.prediction: open_shadow(vault, row) for row in rows}
    assert len(said) == len(rows)
    return {
        row.prediction: (*map(said[row.prediction].get, ("label", "probability")), row.failure, row.seconds)
        for row in rows
    }


def test_a_shadow_of_the_same_body_answers_as_it_would_by_itself_and_the_body_sees_a_text_once(project):
    body, answers = Tiny(), []

    async def scenario(service: Service) -> None:
        for version in ("champion", "v2"):
            request = PredictionRequest(inputs=["card", "transfer"], version=version)
            answers.append((await service.predict(request)).predictions)

    run(project, scenario, v1=Headed(body, LABELS), v2=Headed(body, ("transfer", "card")))
    assert [sorted(batch) for batch in body.batches] == [["card", "transfer"]] * 2  # a request each
    with project.database.connect() as connection:
        seconds = dict(connection.execute(select(predictions.c.id, predictions.c.seconds)).all())
    assert noted(project) == {
        given.id: (own.label, own.probability, None, seconds[given.id])
        for given, own in zip(*answers, strict=True)
    }


def test_a_shadow_of_another_body_answers_after_the_answer(project):
    shadow = Gated()

    async def scenario(service: Service) -> None:
        await service.predict(PredictionRequest(inputs=["pin"]))
        assert shadow.batches == []
        shadow.gate.set()

    run(project, scenario, v1=Tiny(), v2=shadow)
    ((label, probability, failure, seconds),) = noted(project).values()
    assert (label, probability, failure) == ("pin", pytest.approx(0.8), None)
    assert seconds > 0


def test_a_shadow_that_fails_is_noted_and_its_user_answered(project):
    body, answers = Tiny(), []

    async def scenario(service: Service) -> None:
        answers.extend((await service.predict(PredictionRequest(inputs=["pin"]))).predictions)

    run(project, scenario, v1=Headed(body, LABELS), v2=Headed(body, ("no label of the body",)))
    assert [one.label for one in answers] == ["pin"]
    assert noted(project) == {answers[0].id: (None, None, "ValueError", None)}


def test_who_hangs_up_counts_as_failed_by_the_version_that_was_at_it(project):
    version = Gated()

    async def scenario(service: Service) -> None:
        asked = asyncio.create_task(service.predict(PredictionRequest(inputs=["pin"], subject="ada")))
        await asyncio.to_thread(version.entered.wait, 30)
        asked.cancel()  # as the door does where a client went
        await asyncio.wait([asked])
        version.gate.set()

    run(project, scenario, v1=version, v2=Tiny())
    with project.database.connect() as connection:
        ((arm, kind),) = connection.execute(select(failures.c.arm, failures.c.kind)).all()
        assert connection.execute(select(predictions)).all() == []
    assert (arm, kind) == ("champion", "HungUp")


def test_a_shadow_is_left_out_while_users_wait(project):
    crowded = Project(project.folder, change_settings(project.settings, "serve", queue_size=4))
    body, ids = Gated(), []

    async def scenario(service: Service) -> None:
        first = asyncio.create_task(service.predict(PredictionRequest(inputs=["card", "pin"])))
        await asyncio.to_thread(body.entered.wait, 30)
        second = asyncio.create_task(service.predict(PredictionRequest(inputs=["transfer"])))
        while service.engine.waiting_inputs < 3:
            await asyncio.sleep(0)
        body.gate.set()
        ids.extend(one.id for one in (await first).predictions)
        await second

    run(crowded, scenario, v1=Headed(body, LABELS), v2=Headed(body, LABELS))
    assert sorted(noted(project)) == sorted(ids)


def test_a_service_stops_whole_also_where_its_journal_ended_before_a_shadow(project):
    shadow = Gated()

    async def scenario(service: Service) -> None:
        await service.predict(PredictionRequest(inputs=["card"]))
        await asyncio.to_thread(shadow.entered.wait, 30)
        service._journal.close()
        shadow.gate.set()

    service = run(project, scenario, v1=Tiny(), v2=shadow)
    with pytest.raises(Unavailable, match="stopping"):
        asyncio.run(service.engine.answer(Tiny(), ["card"]))
