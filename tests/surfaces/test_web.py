"""The HTTP service over a tiny real model: answers, refusals, swaps, metrics."""

import asyncio
from dataclasses import replace

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from millwright.settings import change_settings
from millwright.store.tables import opinions, predictions
from millwright.surfaces.web import create_app
from tests.conftest import csv_of, desk_rows
from tests.surfaces.keyword_model import LABELS, KeywordModel, add_version, point


@pytest.fixture
def project(make_project):
    made = make_project(csv_of(desk_rows(30)))
    limits = change_settings(made.settings, "serve", max_inputs=4, max_characters=2000, max_body_bytes=20_000)
    add_version(made, "v1", "champion")
    return replace(made, settings=limits)


@pytest.fixture
def client(project):
    with TestClient(create_app(project, lambda name: KeywordModel())) as running:
        yield running


def predict(client, **body):
    return client.post("/v1/predictions", json={"inputs": ["my pin is blocked"], **body})


def test_an_answer_has_id_label_probability_and_version(client):
    (answer,) = predict(client).json()["predictions"]
    assert (answer["label"], answer["version"]) == ("pin", "v1")
    assert answer["probability"] == pytest.approx(2.718281828**2 / (2.718281828**2 + 2))
    assert set(answer) == {"id", "label", "probability", "version", "ask"}


def test_answers_come_in_the_order_of_the_inputs(client):
    body = predict(client, inputs=["transfer it", "my pin", "a card"]).json()
    assert [answer["label"] for answer in body["predictions"]] == ["transfer", "pin", "card"]


def test_top_k_ranks_labels(client):
    (answer,) = predict(client, top_k=2).json()["predictions"]
    assert [item["label"] for item in answer["top"]] == ["pin", "card"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": ["a", 3]}, 422, "inputs.1"),
        ({"inputs": "text"}, 422, "inputs"),
        ({}, 422, "inputs"),
        ({"inputs": ["ok"], "extra": 1}, 422, "extra"),
        ({"inputs": ["ok", " \0 "]}, 422, "inputs.1"),
        ({"inputs": ["a"] * 5}, 413, "inputs"),
        ({"inputs": ["x" * 2001]}, 413, "inputs.0"),
        ({"inputs": ["ok"], "top_k": 0}, 422, "top_k"),
        ({"inputs": ["ok"], "version": "v9"}, 404, None),
    ],
)
def test_a_bad_request_is_refused_with_field_and_remedy(client, body, status, field):
    answer = client.post("/v1/predictions", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["field"] == field
    assert answer.json()["error"]["remedy"]


def test_what_is_not_json_is_refused(client):
    answer = client.post("/v1/predictions", content=b"{nope", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["remedy"]) == (422, "send a JSON object")


@pytest.mark.parametrize("announced", [True, False])
def test_a_megabyte_is_refused_whether_or_not_its_length_is_announced(client, announced):
    content = b'{"inputs": ["' + b"x" * 1_000_000 + b'"]}'
    body = content if announced else iter([content[:500_000], content[500_000:]])
    answer = client.post("/v1/predictions", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("TRACE", "/v1/models", 405)]
)
def test_unknown_routes_and_methods_answer_in_the_same_form(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["value"] == path


def test_feedback_is_stored_with_its_prediction(client, project):
    (answer,) = predict(client, subject="customer-1").json()["predictions"]
    said = client.post("/v1/feedback", json={"prediction": answer["id"], "label": "card", "comment": "hm"})
    assert said.status_code == 201
    with project.database.connect() as connection:
        stored = connection.execute(select(opinions)).one()
        asked = connection.execute(select(predictions)).one()
    assert (stored.id, stored.prediction, stored.label, stored.comment) == (
        said.json()["id"],
        answer["id"],
        "card",
        "hm",
    )
    assert (asked.text, asked.subject) == ("my pin is blocked", "customer-1")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 422, "says nothing"),
        ({"label": "pinn"}, 422, "Did you mean 'pin'"),
        ({"rating": 9}, 422, "from 1 to 5, got 9"),
        ({"comment": "x" * 2001}, 422, "2001 characters"),
    ],
)
def test_bad_feedback_says_what_is_wrong(client, body, status, says):
    (answer,) = predict(client).json()["predictions"]
    refused = client.post("/v1/feedback", json={"prediction": answer["id"], **body})
    assert refused.status_code == status
    error = refused.json()["error"]
    assert says in f"{error['message']} {error['remedy']}"


def test_feedback_on_an_unknown_prediction_is_not_found(client):
    assert client.post("/v1/feedback", json={"prediction": "nope", "label": "pin"}).status_code == 404


def test_models_health_and_readiness(client):
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["aliases"], model["labels"]) == ("v1", ["champion"], list(LABELS))
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_metrics_count_what_happened(client):
    predict(client)
    text = client.get("/metrics").text
    assert 'millwright_requests_total{route="/v1/predictions",status="200"} 1.0' in text
    assert 'millwright_predictions_total{version="v1"} 1.0' in text
    assert "millwright_batch_inputs_count 1.0" in text


def test_without_a_champion_nothing_is_ready(make_project):
    with TestClient(create_app(make_project(csv_of(desk_rows(30))), lambda name: KeywordModel())) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/readyz").headers["retry-after"] == "1"


def test_who_is_asked_is_who_is_held_out(client):
    asked = [predict(client, subject=f"customer-{n}", inputs=[f"pin {n}"]).json() for n in range(60)]
    shares = [answer["predictions"][0]["ask"] for answer in asked]
    assert 0 < sum(shares) < 40


def test_a_swap_under_load_drops_no_request_and_serves_both_versions(project):
    async def run():
        app = create_app(project, lambda name: KeywordModel())
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                requests = [client.post("/v1/predictions", json={"inputs": ["pin"]}) for _ in range(40)]
                load = asyncio.gather(*requests)
                add_version(project, "v2")
                with project.database.begin() as connection:
                    point(connection, "champion", "v2")
                    point(connection, "challenger", "v1")
                await app.state.service.refresh()
                answers = await load
                after = await client.post("/v1/predictions", json={"inputs": ["pin"]})
                before = await client.post("/v1/predictions", json={"inputs": ["pin"], "version": "v1"})
        return answers, after, before

    answers, after, before = asyncio.run(run())
    assert {answer.status_code for answer in answers} == {200}
    assert after.json()["predictions"][0]["version"] == "v2"
    assert before.json()["predictions"][0]["version"] == "v1"
