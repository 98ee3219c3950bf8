"""Canaries through the whole wheel: where words of people rest in the clear, and that it is nowhere else."""

import asyncio
import logging
import re
import tempfile

import httpx
import pytest

from millwright.data.prepare import prepare
from millwright.erase.erasure import erase
from millwright.erase.export import export_subject
from millwright.loop import turn
from millwright.project import Project
from millwright.reports.pages import write_data_report
from millwright.review.annotations import annotate, next_items
from millwright.review.queue import build_queue
from millwright.settings import change_settings
from millwright.steps import evaluate, train
from millwright.surfaces.web import create_app
from tests.desk import make_desk, telling_rows
from tests.erase.people import files_with, read_files

FILED = b"canary-filed"  # in the file that the user brought
SAID = (b"canary-said", b"canary-comment", b"canary-person")  # over HTTP
LABELLED = 4
OWN = r"rows\.csv"
DATASETS = r"\.millwright/datasets/d-[0-9a-f]+/rows\.jsonl"


def places(project: Project, *sought: bytes) -> list[set[str]]:
    """For each of these bytes the files of the project that hold them, as patterns of where they may."""
    files = [
        (next((allowed for allowed in (OWN, DATASETS) if re.fullmatch(allowed, name)), name), held)
        for name, held in read_files(project.folder).items()
    ]
    return [{place for place, held in files if what in held} for what in sought]


async def use(project: Project) -> None:
    """People ask, four of them say what was right, and one says more."""
    app = create_app(project)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for number in range(9):
                body = {
                    "inputs": [f"canary-said lost card number {number}"],
                    "subject": f"canary-person-{number}",
                }
                answer = await client.post("/v1/predictions", json=body)
                if number >= LABELLED:
                    continue
                said = {"prediction": answer.json()["predictions"][0]["id"], "label": "card"}
                said["comment"] = "canary-comment" if number == 0 else "no"
                said["key"] = f"canary-person-{number}"
                assert (await client.post("/v1/feedback", json=said)).status_code == 201
            await client.post("/v1/predictions", json={"inputs": ["x" * 100_000], "subject": "canary-person"})
            while_open = places(project, *SAID)
    assert while_open == [set()] * len(SAID)


@pytest.mark.parametrize("sealed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_words_of_people_rest_in_the_clear_in_datasets_at_most_and_nowhere_else(
    tmp_path, encoder, caplog, monkeypatch, sealed
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    rows = [(f"{text} canary-filed", label) for text, label in telling_rows(60)]
    made = make_desk(tmp_path / "desk", encoder, rows)
    project = Project(made.folder, change_settings(made.settings, "privacy", seal_datasets=sealed))
    datasets = set() if sealed else {DATASETS}
    with caplog.at_level(logging.DEBUG, logger="millwright"):
        train(project)
        build_queue(project)
        write_data_report(project, prepare(project))
        assert places(project, FILED) == [{OWN, *datasets}]
        asyncio.run(use(project))
        build_queue(project)
        looked_at = next_items(project, "somebody", 3)
        for item in looked_at:
            annotate(project, item.id, "somebody", "pin")
        record = turn(project)
        evaluate(project, version=record.challenger)
    assert record.new_rows == LABELLED + len(looked_at) > LABELLED
    # What users said is sealed, until a turn makes rows of a dataset of it: docs/erasure.md says why.
    said = places(project, FILED, b"canary-said", b"canary-person", b"canary-comment")
    assert said == [{OWN, *datasets}, datasets, datasets, set()]
    export_subject(project, "canary-person-0", tmp_path / "export")
    erase(project, "canary-person-0")
    own = (b"canary-person-0", b"canary-said lost card number 0")
    assert places(project, *own, b"canary-said", b"canary-person") == [set(), set(), datasets, datasets]
    assert list((project.kept / "receipts").iterdir())
    assert files_with(elsewhere, b"canary") == []
    assert "canary" not in caplog.text
    assert project.kept.stat().st_mode & 0o077 == 0  # nobody but the owner comes as far as the datasets
