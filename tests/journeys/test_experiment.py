"""An experiment end to end: the real service, simulated users over HTTP, the decision, what serves then."""

import asyncio
import random
from collections.abc import Sequence

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from millwright.errors import Corrupt
from millwright.experiment.rollout import review
from millwright.privacy.sealed import open_shadow
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.registry.traffic import current_traffic
from millwright.registry.versions import CHAMPION, alias
from millwright.store.tables import predictions, shadows
from millwright.surfaces.service import Load
from millwright.surfaces.web import create_app
from tests.conftest import csv_of, desk_rows, read_predictions
from tests.experiment.logs import begun, hour, with_versions
from tests.serve.tiny import Tiny

USERS = 220


class Learned(Tiny):
    """Knows besides that a code is a pin."""

    def features(self, texts: Sequence[str]):
        return super().features([text.replace("code", "pin") for text in texts])


@pytest.fixture
def project(make_project) -> Project:
    return with_versions(make_project(csv_of(desk_rows(30))))


def learned_is(better: str) -> Load:
    return lambda name: Learned() if name == better else Tiny()


async def live(client: httpx.AsyncClient, users: range) -> dict[str, set[str]]:
    """Each user asks twice, half of them of a code, and says what was right. Returns the versions of each."""
    rng, seen = random.Random(0), {}
    for user in users:
        text, right = rng.choice([("code", "pin"), ("card", "card")])
        for _ in range(2):
            asked = {"inputs": [f"{text} {user}"], "subject": f"user-{user}"}
            answer = (await client.post("/v1/predictions", json=asked)).json()["predictions"][0]
            seen.setdefault(f"user-{user}", set()).add(answer["version"])
        said = await client.post("/v1/feedback", json={"prediction": answer["id"], "label": right})
        assert said.status_code == 201
    return seen


def served(project: Project, load: Load, users: int = USERS) -> tuple[dict[str, set[str]], dict, str]:
    """Users meet the service, a review follows. Returns versions seen, the status, who serves then."""
    found = []

    async def whole() -> None:
        app: FastAPI = create_app(project, load)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                seen = await live(client, range(users))
                await asyncio.to_thread(review, project, hour(24))
                (shown,) = (await client.get("/v1/experiments")).json()["experiments"]
                await app.state.service.refresh()
                asked = {"inputs": ["code"], "subject": "somebody new"}
                after = (await client.post("/v1/predictions", json=asked)).json()["predictions"][0]["version"]
                found.append((seen, shown, after))

    asyncio.run(asyncio.wait_for(whole(), 120))
    return found[0]


def test_a_better_challenger_is_shipped(project):
    begun(project, margin=0.2, guardrails=("errors", "complaints"))
    seen, shown, after = served(project, learned_is("v2"))
    assert all(len(versions) == 1 for versions in seen.values())  # each user keeps one
    counts = [sum(versions == {name} for versions in seen.values()) for name in ("v1", "v2")]
    assert min(counts) > 0.3 * USERS
    assert shown["state"] == "shipped"
    assert shown["decisions"][-1]["kind"] == "ship"
    assert "v2 is better: accepted" in shown["decisions"][-1]["reason"]
    assert (alias(project, CHAMPION), after) == ("v2", "v2")
    with project.database.connect() as connection:
        rows = connection.execute(select(predictions).where(predictions.c.traffic.is_not(None))).all()
    assert len(rows) == 2 * USERS
    assert {(row.arm, row.version, row.propensity) for row in rows} == {
        ("champion", "v1", 0.5),
        ("v2", "v2", 0.5),
    }
    assert all(row.seconds > 0 and row.unit is None for row in rows)


def test_a_harmful_challenger_is_rolled_back(project):
    begun(project)
    _, shown, after = served(project, learned_is("v1"))
    assert shown["state"] == "rolled back"
    assert "v2 is worse: accepted" in shown["decisions"][-1]["reason"]
    assert (alias(project, CHAMPION), after, current_traffic(project)) == ("v1", "v1", None)


def test_a_broken_assignment_raises_the_alarm(project):
    begun(project)

    def load(name: str) -> Tiny:
        if name == "v2":
            raise Corrupt("v2 was edited")
        return Tiny()

    _, shown, after = served(project, load)
    assert shown["state"] == "alarmed"
    assert "do not fit their shares" in shown["decisions"][-1]["reason"]
    assert after == "v1"


def test_a_shadow_answers_unseen_and_its_agreement_is_told(project):
    begun(project, steps=(0.0, 0.5), step_units=10_000)
    seen, shown, after = served(project, learned_is("v2"), 20)
    assert set.union(*seen.values()) == {"v1"}
    assert after == "v1"
    (shadow,) = shown["shadows"]
    assert (shadow["version"], shadow["failures"]) == ("v2", 0)
    vault = open_vault(project)
    seen_by = {one.id: one for one in read_predictions(vault)}
    with project.database.connect() as connection:
        unseen = connection.execute(select(shadows)).all()
    rows = [(seen_by[row.prediction], open_shadow(vault, row)["label"]) for row in unseen]
    of_users = [(given, label) for given, label in rows if given.text != "code"]  # asked after the status
    agreed = sum(label == given.label for given, label in of_users)
    assert shadow["answers"] == len(of_users) == 40
    assert shadow["agreement"] == pytest.approx(agreed / 40)
    assert 0 < agreed < 40
    assert {label for given, label in rows if given.text.startswith("code")} == {"pin"}


def test_requests_without_a_subject_are_drawn_one_by_one(project):
    begun(project)
    versions = []

    async def whole() -> None:
        app = create_app(project, learned_is("v2"))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                for _ in range(40):
                    answer = await client.post("/v1/predictions", json={"inputs": ["code", "card"]})
                    versions.append({one["version"] for one in answer.json()["predictions"]})
                pinned = await client.post("/v1/predictions", json={"inputs": ["code"], "version": "v1"})
                assert pinned.json()["predictions"][0]["version"] == "v1"

    asyncio.run(whole())
    assert all(len(one) == 1 for one in versions)
    assert set.union(*versions) == {"v1", "v2"}
    with project.database.connect() as connection:
        rows = connection.execute(select(predictions)).all()
    assert len({row.unit for row in rows if row.traffic}) == 40
    assert sum(row.traffic is None for row in rows) == 1
