"""The service of a project where spans are to be found: what it answers, keeps and refuses."""

import asyncio

import pytest

from millwright.modalities.spans import read_spans
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.serve.loading import Loader
from millwright.settings import change_settings
from millwright.steps import predict, train
from tests.conftest import read_predictions
from tests.desk import copy_desk
from tests.span_desk import span_project, span_rows
from tests.surfaces.test_service import run

TEXT = "ada@example.com please my card is"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder) -> Project:
    project = span_project(tmp_path_factory.mktemp("spans") / "desk", encoder, span_rows(240))
    train(project)
    project.database.dispose()
    return project


@pytest.fixture
def project(trained, tmp_path) -> Project:
    return copy_desk(trained.folder, tmp_path / "desk")


def test_spans_of_each_input_are_told_as_in_python(project):
    texts = [TEXT, "please help", "where is the money sent and the pin"]

    async def scenario(client, _) -> None:
        answer = await client.post("/v1/predictions", json={"inputs": texts})
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        expected = predict(project, texts)
        for text, one, other in zip(texts, found, expected, strict=True):
            assert [(span["start"], span["end"]) for span in one["spans"]] == list(other.places)
            assert [span["label"] for span in one["spans"]] == list(other.labels)
            assert [span["probability"] for span in one["spans"]] == pytest.approx(other.probabilities)
            assert [span["text"] for span in one["spans"]] == [text[a:b] for a, b in other.places]
            assert (one["version"], set(one)) == ("v1", {"id", "spans", "probability", "version", "ask"})
        assert [span["text"] for one in found for span in one["spans"]] == ["card", "money sent", "pin"]

    run(project, scenario, Loader(project).load)


def test_what_is_kept_is_the_masked_text_and_its_spans(project):
    async def scenario(client, _) -> None:
        assert (await client.post("/v1/predictions", json={"inputs": [TEXT]})).status_code == 200

    run(project, scenario, Loader(project).load)
    (kept,) = read_predictions(open_vault(project))
    assert kept.text == "<EMAIL_ADDRESS> please my card is"
    (span,) = read_spans(kept.label)
    assert kept.text[span.start : span.end] == "card"
    assert 0 < kept.probability <= 1


def test_opinions_are_heard_but_for_a_label(project):
    async def scenario(client, _) -> None:
        answer = await client.post("/v1/predictions", json={"inputs": [TEXT]})
        about = {"prediction": answer.json()["predictions"][0]["id"]}
        assert (await client.post("/v1/feedback", json={**about, "rating": 5})).status_code == 201
        refused = await client.post("/v1/feedback", json={**about, "label": "ITEM"})
        assert refused.status_code == 422
        assert refused.json()["error"]["field"] == "label"
        assert "spans are found here" in refused.json()["error"]["message"]

    run(project, scenario, Loader(project).load)


def test_a_ranking_of_labels_is_refused(project):
    async def scenario(client, _) -> None:
        refused = await client.post("/v1/predictions", json={"inputs": [TEXT], "top_k": 2})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, "top_k")

    run(project, scenario, Loader(project).load)


def test_many_at_once_and_from_memory_answer_alike(project):
    cached = Project(project.folder, change_settings(project.settings, "serve", cache_answers=10))
    texts = ["please my card is", "where", "the money sent", "pin"]

    async def scenario(client, app) -> None:
        async def ask(text: str) -> list[tuple[int, int]]:
            answer = await client.post("/v1/predictions", json={"inputs": [text]})
            return [(span["start"], span["end"]) for span in answer.json()["predictions"][0]["spans"]]

        once = await asyncio.gather(*map(ask, texts))
        again = await asyncio.gather(*map(ask, texts))
        assert once == again == [[(10, 14)], [], [(4, 14)], [(0, 3)]]

    run(cached, scenario, Loader(cached).load)
