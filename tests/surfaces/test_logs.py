"""The service's log: JSON Lines, by `serve.log`, without anything that a person said or is called."""

import json
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI

from millwright.project import Project
from millwright.settings import change_settings
from millwright.surfaces import door
from millwright.surfaces.logs import JsonLines, log_as_json
from tests.conftest import csv_of, desk_rows
from tests.serve.tiny import Failing, serving
from tests.surfaces.test_service import FEEDBACK, PREDICTIONS, predict, run

CLIENT = ("httpx", "httpcore")  # they log the tests' own requests


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


@pytest.fixture
def written(capsys) -> Iterator[Callable[[], list[dict]]]:
    """Reads the lines on stderr so far; logging is set back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("millwright")
    before = list(root.handlers), root.level, ours.level, door.log.level
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, door.log), before[1:], strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("requests", [("info", PREDICTIONS, 200), ("warning", "unknown", 401), ("warning", FEEDBACK, 404)]),
        ("errors", [("warning", "unknown", 401), ("warning", FEEDBACK, 404)]),
    ],
)
def test_each_request_is_a_line_of_json_or_each_refused_one_as_the_setting_says(
    project, written, which, expected
):
    made = Project(project.folder, change_settings(project.settings, "serve", log=which))
    ids = []

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        for answer in (
            await client.post(PREDICTIONS, json={"inputs": ["card of Ada"], "subject": "Ada"}),
            await client.get("/nowhere/Ada", params={"key": "Ada"}, headers={"authorization": "Bearer Ada"}),
            await client.post(FEEDBACK, json={"prediction": "Ada", "rating": 5, "key": "Ada"}),
        ):
            ids.append(answer.headers["x-request-id"])

    log_as_json(made.settings.serve.log)
    run(made, scenario)
    lines = written()
    assert [(line["level"], line["route"], line["status"]) for line in lines] == expected
    assert [line["request"] for line in lines] == ids[-len(expected) :]
    assert all(
        set(line) == {"time", "level", "logger", "message", "request", "route", "status", "seconds"}
        for line in lines
    )
    assert "Ada" not in json.dumps(lines)


def test_a_fault_is_one_line_with_the_place_and_without_the_text(project, written):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        assert (await client.post(PREDICTIONS, json={"inputs": ["!Ada"]})).status_code == 500

    log_as_json("errors")
    run(project, scenario, lambda name: Failing())
    fault, request = written()
    assert fault["level"] == "error"
    assert "RuntimeError" in fault["message"]
    assert "tiny.py" in fault["message"]
    assert fault["request"] == request["request"]
    assert "Ada" not in json.dumps([fault, request])


def test_nothing_that_a_user_wrote_is_logged(project, caplog):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "Ada Lovelace", subject="Ada")
        await client.post(FEEDBACK, json={"prediction": one["id"], "comment": "Ada again"})
        await client.post(FEEDBACK, json={"prediction": "Ada", "comment": "Ada"})
        await client.post(PREDICTIONS, json={"inputs": "Ada"})
        await client.get("/v1/surveys/next", params={"prediction": "Ada"})
        await client.get("/nowhere/Ada", headers={"x-request-id": "Ada; drop"})

    with caplog.at_level(logging.DEBUG):
        run(project, scenario)
    own = [record for record in caplog.records if not record.name.startswith(CLIENT)]
    assert len([record for record in own if record.name == door.log.name]) == 6
    assert "Ada" not in "\n".join(map(JsonLines().format, own))
    assert "Ada" not in "\n".join(str(record.exc_info) for record in own)
