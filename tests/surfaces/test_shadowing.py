"""Versions that answer unseen: what they say is noted, and they cost nobody else anything."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from millwright.errors import Unavailable
from millwright.project import Project
from millwright.serve.engine import Answering
from millwright.surfaces.messages import PredictionRequest
from millwright.surfaces.service import Service
from tests.conftest import csv_of, desk_rows
from tests.experiment.logs import begun, with_versions
from tests.serve.tiny import Gated, Tiny

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
