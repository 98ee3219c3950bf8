"""What a request's texts go through before a model reads them: nobody else waits for it, and it is loaded."""

import asyncio
import threading
from shutil import rmtree

import httpx
import pytest
from fastapi import FastAPI

from millwright.errors import NotFound
from millwright.privacy.mask import Masker
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import change_settings
from millwright.surfaces.web import serve
from tests.conftest import csv_of, desk_rows, read_predictions
from tests.privacy.test_names_model import TAGS, save_model
from tests.serve.tiny import Tiny, serving
from tests.surfaces.test_service import predict, run


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


def private(project: Project, **privacy: object) -> Project:
    return Project(project.folder, change_settings(project.settings, "privacy", **privacy))


@pytest.mark.parametrize("waits_for", ["the names model", "the tokens of values"])
def test_a_short_request_that_may_wait_for_a_long_one_keeps_no_other_waiting(
    project, tmp_path, monkeypatch, waits_for
):
    with_model = {"names": save_model(tmp_path / "ner", TAGS)}
    with_tokens = {"policies": {"EMAIL_ADDRESS": "tokenise"}}
    mask_all, masking, gate = Masker.mask_all, threading.Event(), threading.Event()

    def slow(self: Masker, texts: list[str], **more: object) -> list[str]:
        masking.set()
        assert gate.wait(30)
        return mask_all(self, texts, **more)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        short = asyncio.create_task(predict(client, "card"))
        await asyncio.to_thread(masking.wait, 30)
        assert (await client.get("/healthz")).status_code == 200
        assert not short.done()
        gate.set()
        assert (await short)[0]["label"] == "card"

    monkeypatch.setattr(Masker, "mask_all", slow)
    run(private(project, **(with_model if waits_for == "the names model" else with_tokens)), scenario)


def test_what_finds_names_is_loaded_before_the_first_request(project, tmp_path):
    model = save_model(tmp_path / "ner", TAGS)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        rmtree(model)
        assert (await predict(client, "card of zelda"))[0]["label"] == "card"

    run(private(project, names=model), scenario)
    (kept,) = read_predictions(open_vault(project))
    assert kept.text == "card of <PERSON>"


def test_a_server_whose_names_model_is_missing_does_not_start_and_says_so(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    free = Project(project.folder, change_settings(project.settings, "serve", port=0))
    with pytest.raises(NotFound, match=r"privacy\.names: no model '.*absent'"):
        serve(private(free, names=str(tmp_path / "absent")), ready=pytest.fail, load=lambda name: Tiny())
