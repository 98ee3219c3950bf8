"""Erasing people from a project where spans are to be found: datasets, cache, model, what they said."""

import asyncio
import json
import random

import httpx
import pytest

from millwright.erase.erasure import erase
from millwright.erase.found import all_datasets
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.registry.versions import CHAMPION, alias
from millwright.steps import train
from millwright.surfaces.web import create_app
from tests.erase.people import Killed, files_with, found_in, kill_at, plan_erasure
from tests.span_desk import SpanRow, span_project, span_rows

EXACT = ("weights.safetensors", "classifier.json", "tokenizer.json")


def held_by(project: Project, version: str) -> dict[str, bytes]:
    return {name: (project.kept / "versions" / version / name).read_bytes() for name in EXACT}


def without_alma(rows: list[SpanRow]) -> list[SpanRow]:
    return [row for row in rows if row["who"] != "alma"]


async def say(project: Project, texts: list[str], person: str) -> None:
    """Ask for the spans of texts, and comment on the first."""
    app = create_app(project)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/predictions", json={"inputs": texts, "subject": person})
            said = {"prediction": answer.json()["predictions"][0]["id"], "comment": "no canary-comment"}
            assert (await client.post("/v1/feedback", json=said)).status_code == 201


@pytest.mark.parametrize("is_killed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_model_of_spans_is_the_one_that_never_saw_the_person_and_nothing_of_it_stays(
    tmp_path, encoder, is_killed
):
    rows = span_rows(200)
    project = span_project(tmp_path / "desk", encoder, rows)
    train(project)
    asyncio.run(say(project, ["please canary-said my card"], "alma"))
    assert files_with(project.folder, b"canary") == []  # sealed from the first
    if is_killed:
        for stage in ("erase: files", "erase: successors", "erase: versions"):
            with pytest.raises(Killed):
                erase(open_project(project.folder), "alma", progress=kill_at(stage))
    receipt = erase(project, "alma").receipt
    assert receipt["rows_deleted"]["predictions"] == receipt["rows_deleted"]["opinions"] == 1
    assert receipt["versions"]["v1"]["successor"] == alias(project, CHAMPION)
    assert plan_erasure(project, "alma").is_nothing
    assert {row.subject for one in all_datasets(project) for row in one.rows} == {"bob", "cyd", "dan", "eve"}
    hers = [row["text"] for row in rows if row["who"] == "alma" and "@" not in row["text"]]
    assert found_in(project.folder, (json.dumps(text).encode() for text in hers)) == set()
    never = without_alma(rows)
    random.Random(3).shuffle(never)
    other = span_project(tmp_path / "never", encoder, never)
    assert held_by(project, alias(project, CHAMPION)) == held_by(other, train(other).name)
    assert open_vault(project).keys.pseudonym("alma") not in open_vault(project).keys.owners()
