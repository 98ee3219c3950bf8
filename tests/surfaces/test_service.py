"""The service in process, over ASGI: answers, refusals, metrics, and a swap under load."""

import asyncio
import gc
import json
import logging
import re
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from millwright.errors import BadInput, Busy, Corrupt, MillwrightError, NotFound
from millwright.privacy.mask import Masker
from millwright.privacy.sealed import read_opinions
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.registry.versions import withdraw
from millwright.settings import change_settings
from millwright.store.tables import opinions, predictions
from millwright.surfaces import door
from millwright.surfaces import service as service_module
from millwright.surfaces.service import Load, Service
from millwright.surfaces.web import create_app, serve
from tests.conftest import csv_of, desk_rows, read_predictions
from tests.serve.tiny import Deadly, Failing, Gated, Tiny, add_version, point, serving

Scenario = Callable[[httpx.AsyncClient, FastAPI], Awaitable[None]]
LIMITS = {"max_body_bytes": 1_000_000, "max_inputs": 4}
MOST_CHARACTERS = 100
NEW = Tiny(labels=("transfer", "card"))


@pytest.fixture
def project(make_project) -> Project:
    made = make_project(csv_of(desk_rows(30)), max_characters=MOST_CHARACTERS)
    return serving(Project(made.folder, change_settings(made.settings, "serve", **LIMITS)))


def run(project: Project, scenario: Scenario, load: Load = lambda name: Tiny()) -> None:
    """Run a scenario with a client of a started service."""

    @asynccontextmanager
    async def started() -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
        app = create_app(project, load)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                yield client, app

    async def whole() -> None:
        async with started() as (client, app):
            await scenario(client, app)

    asyncio.run(asyncio.wait_for(whole(), 60))


def ask(project: Project, method: str, path: str, **request: object) -> httpx.Response:
    """One request to a service of its own."""
    answers = []

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        answers.append(await client.request(method, path, **request))

    run(project, scenario)
    return answers[0]


async def predict(client: httpx.AsyncClient, *texts: str, **more: object) -> list[dict]:
    answer = await client.post("/v1/predictions", json={"inputs": texts, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def stored(project: Project, table=opinions) -> list:
    with project.database.connect() as connection:
        return list(connection.execute(select(table)))


def test_answers_in_the_order_of_the_inputs(project):
    answer = ask(project, "POST", "/v1/predictions", json={"inputs": ["pin lost", "card", "transfer to Ada"]})
    found = answer.json()["predictions"]
    assert [one["label"] for one in found] == ["pin", "card", "transfer"]
    assert [one["probability"] for one in found] == pytest.approx([0.8] * 3)
    assert {one["version"] for one in found} == {"v1"}
    assert all("top" not in one for one in found)
    assert len({one["id"] for one in found}) == 3


def test_top_k_ranks_the_labels(project):
    answer = ask(project, "POST", "/v1/predictions", json={"inputs": ["pin lost"], "top_k": 2})
    (one,) = answer.json()["predictions"]
    assert [top["label"] for top in one["top"]] == ["pin", "card"]
    assert [top["probability"] for top in one["top"]] == pytest.approx([0.8, 0.1])


def test_asks_the_same_subject_always_or_never(make_project):
    made = make_project(csv_of(desk_rows(30)), group="who", subject="who")
    project = serving(made)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        asked = {}
        for person in range(60):
            found = await predict(client, "card", "pin", "transfer", subject=f"user-{person}")
            assert len({one["ask"] for one in found}) == 1
            asked[person] = found[0]["ask"]
        share = sum(asked.values()) / len(asked)
        expected = 0.1 + 0.15
        assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 60) ** 0.5)

    run(project, scenario)


def test_predictions_and_opinions_are_kept_as_given(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, " pin\x00 lost ", subject="u7")
        said = {"prediction": one["id"], "label": "card", "rating": 1, "comment": "no; it was my card"}
        answer = await client.post("/v1/feedback", json=said)
        assert answer.status_code == 201
        vault = open_vault(project)
        (kept,) = read_opinions(vault)
        assert (kept.id, kept.prediction) == (answer.json()["id"], one["id"])
        assert (kept.label, kept.rating, kept.comment) == ("card", 1, "no; it was my card")
        (row,) = read_predictions(vault)
        assert (row.text, row.subject, row.label, row.version) == ("pin lost", "u7", "pin", "v1")

    run(project, scenario)


def test_lists_the_served_versions_with_their_aliases(project):
    point(project, "challenger", add_version(project, 2))
    add_version(project, 3)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        models = (await client.get("/v1/models")).json()["models"]
        assert [(one["name"], one["aliases"]) for one in models] == [
            ("v1", ["champion"]),
            ("v2", ["challenger"]),
        ]
        assert models[1] == {**models[1], "method": "head", "accuracy": 0.5, "labels": ["transfer", "card"]}
        assert (await predict(client, "card", version="challenger"))[0]["version"] == "v2"
        assert (await predict(client, "card", version="v2"))[0]["version"] == "v2"
        assert (await predict(client, "card"))[0]["version"] == "v1"

    run(project, scenario, lambda name: NEW if name == "v2" else Tiny())


PREDICTIONS, FEEDBACK = "/v1/predictions", "/v1/feedback"
BAD_PREDICTIONS = {
    "not JSON": (b"{inputs", 422, "body"),
    "nothing": (b"", 422, "body"),
    "a list": (b"[]", 422, "body"),
    "null": (b"null", 422, "body"),
    "invalid UTF-8": (b'{"inputs": ["\xff\xfe"]}', 422, "body"),
    "too deep": (b"[" * 100_000, 422, "body"),
    "no inputs": (b"{}", 422, "inputs"),
    "empty inputs": (b'{"inputs": []}', 422, "inputs"),
    "one text, no list": (b'{"inputs": "card"}', 422, "inputs"),
    "a number": (b'{"inputs": ["card", 5]}', 422, "inputs.1"),
    "null input": (b'{"inputs": [null]}', 422, "inputs.0"),
    "blank": (b'{"inputs": ["card", " \\n\\t"]}', 422, "inputs.1"),
    "NUL only": (b'{"inputs": ["\\u0000\\u0000"]}', 422, "inputs.0"),
    "half a pair": (b'{"inputs": ["\\ud800"]}', 422, "body"),
    "too many": (json.dumps({"inputs": ["card"] * 5}).encode(), 413, "inputs"),
    "too long": (json.dumps({"inputs": ["x" * (MOST_CHARACTERS + 1)]}).encode(), 413, "inputs.0"),
    "unknown key": (b'{"inputs": ["card"], "topk": 3}', 422, "topk"),
    "half a pair as a key": (b'{"inputs": ["card"], "\\ud800": 3}', 422, "body"),
    "top_k of 0": (b'{"inputs": ["card"], "top_k": 0}', 422, "top_k"),
    "top_k as text": (b'{"inputs": ["card"], "top_k": "3"}', 422, "top_k"),
    "top_k without end": (b'{"inputs": ["card"], "top_k": 1e999}', 422, "top_k"),
    "top_k of many digits": (b'{"inputs": ["card"], "top_k": ' + b"9" * 5000 + b"}", 422, None),
    "unknown version": (b'{"inputs": ["card"], "version": "v9"}', 404, "version"),
    "subject a number": (b'{"inputs": ["card"], "subject": 5}', 422, "subject"),
}


def assert_refused(answer: httpx.Response, status: int, field: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "field", "value", "remedy"}
    assert error["message"]
    assert error["remedy"]
    assert field is None or error["field"] == field
    assert len(error["value"] or "") <= 80


@pytest.mark.parametrize("case", BAD_PREDICTIONS)
def test_refuses_a_bad_prediction_request(project, case):
    body, status, field = BAD_PREDICTIONS[case]
    answer = ask(project, "POST", PREDICTIONS, content=body, headers={"content-type": "application/json"})
    assert_refused(answer, status, field)


BAD_FEEDBACK = {
    "says nothing": ({}, 422, "label"),
    "unknown label": ({"label": "crad"}, 422, "label"),
    "empty label": ({"label": ""}, 422, "label"),
    "long label": ({"label": "x" * 201}, 422, "label"),
    "label a list": ({"label": ["card"]}, 422, "label"),
    "rating of 0": ({"rating": 0}, 422, "rating"),
    "rating of 6": ({"rating": 6}, 422, "rating"),
    "rating of 2**70": ({"rating": 2**70}, 422, "rating"),
    "half a rating": ({"rating": 2.5}, 422, "rating"),
    "rating true": ({"rating": True}, 422, "rating"),
    "long comment": ({"comment": "x" * 2001}, 422, "comment"),
    "unknown key": ({"stars": 5}, 422, "stars"),
    "unknown prediction": ({"prediction": "nobody", "rating": 5}, 404, "prediction"),
    "prediction a number": ({"prediction": 5, "rating": 5}, 422, "prediction"),
}


@pytest.mark.parametrize("case", BAD_FEEDBACK)
def test_refuses_bad_feedback_and_keeps_nothing(project, case):
    said, status, field = BAD_FEEDBACK[case]

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        answer = await client.post(FEEDBACK, json={"prediction": one["id"], **said})
        assert_refused(answer, status, field)
        assert stored(project) == []

    run(project, scenario)


@pytest.mark.parametrize(
    ("path", "body", "field", "value"),
    [
        (PREDICTIONS, {"inputs": ["card", " \t"]}, "inputs.1", " \t"),
        (PREDICTIONS, {"inputs": ["card"] * 5}, "inputs", "5 inputs"),
        (
            PREDICTIONS,
            {"inputs": ["x" * (MOST_CHARACTERS + 1)]},
            "inputs.0",
            f"{MOST_CHARACTERS + 1} characters",
        ),
        (PREDICTIONS, {"inputs": ["card"], "version": "v9"}, "version", "v9"),
        (PREDICTIONS, {"inputs": ["card"], "top_k": 0}, "top_k", "0"),
        (FEEDBACK, {"label": "crad"}, "label", "crad"),
        (FEEDBACK, {"rating": 0}, "rating", "0"),
        (FEEDBACK, {"nps": 11}, "nps", "11"),
        (FEEDBACK, {"outcome": "won"}, "outcome", "won"),
        (FEEDBACK, {"comment": "x" * 2001}, "comment", "2001 characters"),
        (FEEDBACK, {"prediction": "nobody", "rating": 5}, "prediction", "nobody"),
    ],
)
def test_a_refusal_names_the_field_and_what_stood_in_it(project, path, body, field, value):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        said = body if path == PREDICTIONS else {"prediction": one["id"], **body}
        error = (await client.post(path, json=said)).json()["error"]
        assert (error["field"], error["value"]) == (field, value)
        assert error["remedy"]

    run(project, scenario)


def test_a_survey_on_a_prediction_that_is_none_names_it(project):
    answer = ask(project, "GET", "/v1/surveys/next", params={"prediction": "nobody"})
    assert_refused(answer, 404, "prediction")
    assert answer.json()["error"]["value"] == "nobody"


def test_an_unknown_label_is_answered_with_the_nearest(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        answer = await client.post(FEEDBACK, json={"prediction": one["id"], "label": "crad"})
        assert "Did you mean 'card'?" in answer.json()["error"]["remedy"]

    run(project, scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", PREDICTIONS, 405),
        ("DELETE", FEEDBACK, 405),
        ("POST", "/healthz", 405),
    ],
)
def test_refuses_an_unknown_route_or_method(project, method, path, status):
    assert_refused(ask(project, method, path), status, "path")


def test_a_wrong_method_is_told_the_right_one(project):
    assert ask(project, "GET", PREDICTIONS).headers["allow"] == "POST"


def test_refuses_a_body_that_announces_too_much(project):
    too_large = json.dumps({"inputs": ["x" * 1_000_000]}).encode()
    assert_refused(ask(project, "POST", PREDICTIONS, content=too_large), 413, "body")


def test_refuses_a_body_that_grows_too_large_without_announcing_it(project):
    read = []

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            read.append(1)
            yield b"x" * 100_000

    answer = ask(project, "POST", PREDICTIONS, content=endless())
    assert_refused(answer, 413, "body")
    assert len(read) <= 12  # 1 MB, and what was on its way


async def post_in_parts(app: FastAPI, *came: dict) -> list[dict]:
    """What the service sends where a client's messages come one by one, and none after them."""
    sent: list[dict] = []
    left = iter(came)

    async def receive() -> dict:
        return next(left, None) or await asyncio.get_running_loop().create_future()

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"x-request-id", b"r1")]
    await app({"type": "http", "method": "POST", "path": PREDICTIONS, "headers": headers}, receive, send)
    return sent


BODY = {"type": "http.request", "body": b'{"inputs": ["card"]}'}
GONE = {"type": "http.disconnect"}


def test_what_a_client_began_to_send_before_it_went_is_not_answered(project, caplog):
    model = Tiny()

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert await post_in_parts(app, {**BODY, "more_body": True}, GONE) == []
        assert (await client.get("/metrics")).text.count('{route="/v1/predictions",status="499"} 1.0') == 1

    run(project, scenario, lambda name: model)
    assert model.batches == []
    assert stored(project, predictions) == []


def test_a_body_that_does_not_come_in_time_is_refused_and_its_connection_ended(project):
    hasty = Project(project.folder, change_settings(project.settings, "serve", deadline_s=0.01))

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        start, body = await post_in_parts(app, {**BODY, "more_body": True})
        assert start["status"] == 408
        assert (b"connection", b"close") in start["headers"]
        message = "the body did not come within 0.01 s"
        assert json.loads(body["body"])["error"]["message"] == message

    run(hasty, scenario)


def test_a_request_whose_client_hangs_up_while_it_waits_is_not_run(project, monkeypatch):
    monkeypatch.setattr("millwright.surfaces.hangup.LISTEN_AFTER_S", 0.0)
    model = Gated()

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        first = asyncio.create_task(predict(client, "pin"))
        await asyncio.to_thread(model.entered.wait, 30)
        assert await post_in_parts(app, BODY, GONE) == []
        model.gate.set()
        await first
        assert app.state.service.engine.waiting_inputs == 0

    run(project, scenario, lambda name: model)
    assert model.batches == [["pin"]]
    assert [row.label for row in read_predictions(open_vault(project))] == ["pin"]


def test_a_model_that_fails_is_answered_with_500_and_logged_without_the_text(project, caplog):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        assert_refused(await client.post(PREDICTIONS, json={"inputs": ["!Ada"]}), 500, None)
        assert (await predict(client, "card"))[0]["label"] == "card"

    with caplog.at_level(logging.INFO):
        run(project, scenario, lambda name: Failing())
    assert "RuntimeError" in caplog.text
    assert "Ada" not in caplog.text


def test_a_full_queue_is_answered_with_429_and_when_to_retry(project):
    model = Gated()
    small = Project(project.folder, change_settings(project.settings, "serve", queue_size=1))

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        first = asyncio.create_task(predict(client, "card"))
        await asyncio.to_thread(model.entered.wait, 30)
        answer = await client.post(PREDICTIONS, json={"inputs": ["pin"]})
        assert_refused(answer, 429, None)
        assert answer.headers["retry-after"] == "1"
        model.gate.set()
        await first

    run(small, scenario, lambda name: model)


def test_a_request_without_an_answer_in_its_time_is_answered_with_504(project):
    model = Gated()

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        answer = await client.post(PREDICTIONS, json={"inputs": ["card"], "timeout_s": 0.01})
        assert_refused(answer, 504, None)
        model.gate.set()

    run(project, scenario, lambda name: model)


def test_a_long_request_is_masked_while_others_are_answered(project, monkeypatch):
    mask_all, masking, gate = Masker.mask_all, threading.Event(), threading.Event()

    def slow(self: Masker, texts: list[str], **more: object) -> list[str]:
        if len(texts[0]) > 50:
            masking.set()
            assert gate.wait(30)
        return mask_all(self, texts, **more)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        long = asyncio.create_task(predict(client, "card of ada@example.com " + "x" * 50))
        await asyncio.to_thread(masking.wait, 30)
        assert (await predict(client, "pin"))[0]["label"] == "pin"
        gate.set()
        assert (await long)[0]["label"] == "card"

    monkeypatch.setattr(Masker, "mask_all", slow)
    monkeypatch.setattr("millwright.surfaces.service.READ_AT_ONCE", 50)
    run(project, scenario)
    (first, _) = sorted(read_predictions(open_vault(project)), key=lambda row: row.text)
    assert first.text == "card of <EMAIL_ADDRESS> " + "x" * 50


def test_a_request_keeps_the_id_it_came_with_and_gets_one_otherwise(project, caplog):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        given = await client.get("/healthz", headers={"x-request-id": "desk-7"})
        assert given.headers["x-request-id"] == "desk-7"
        odd = await client.get("/healthz", headers={"x-request-id": "Ada; drop"})
        assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
        refused = await client.get("/nowhere", headers={"x-request-id": "desk-8"})
        assert refused.headers["x-request-id"] == "desk-8"

    with caplog.at_level(logging.INFO, logger=door.log.name):
        run(project, scenario)
    lines = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert [(line["request"], line["route"], line["status"]) for line in lines[::2]] == [
        ("desk-7", "/healthz", 200),
        ("desk-8", "unknown", 404),
    ]


@pytest.mark.parametrize(
    "declared", ["text/plain", "text/plain; x=json", "multipart/form-data; boundary=json"]
)
def test_a_body_that_a_page_of_another_site_could_post_is_refused(project, declared):
    answer = ask(
        project, "POST", PREDICTIONS, content=b'{"inputs": ["a"]}', headers={"content-type": declared}
    )
    assert_refused(answer, 422, "content-type")


@pytest.mark.parametrize(
    "declared", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"]
)
def test_a_body_is_json_by_its_media_type(project, declared):
    answer = ask(
        project, "POST", PREDICTIONS, content=b'{"inputs": ["a"]}', headers={"content-type": declared}
    )
    assert answer.status_code == 200


def test_a_worker_that_died_shows_in_readyz_and_metrics(project):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert_refused(await client.post(PREDICTIONS, json={"inputs": ["die"]}), 503, None)
        assert_refused(await client.get("/readyz"), 503, None)
        while not app.state.service.engine.is_ready:
            await asyncio.sleep(0.01)
        assert (await client.get("/readyz")).status_code == 200
        assert "millwright_workers_replaced_total 1.0" in (await client.get("/metrics")).text
        assert (await predict(client, "card"))[0]["label"] == "card"

    run(project, scenario, lambda name: Deadly())


def test_a_journal_that_ended_shows_in_readyz(project):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        app.state.service._journal.close()
        assert_refused(await client.get("/readyz"), 503, None)
        assert_refused(await client.post(PREDICTIONS, json={"inputs": ["card"]}), 507, None)

    run(project, scenario)


def test_a_server_that_stops_is_not_ready_and_answers_until_it_ends_connections(project):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        app.is_stopping = True
        assert_refused(await client.get("/readyz"), 503, None)
        answer = await client.post(PREDICTIONS, json={"inputs": ["card"]})
        assert (answer.status_code, answer.headers.get("connection")) == (200, None)
        app.door.is_closing = True
        answer = await client.post(PREDICTIONS, json={"inputs": ["card"]})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")

    run(project, scenario)


def test_answers_from_memory_are_counted_and_each_is_a_prediction_of_its_own(project):
    cached = Project(project.folder, change_settings(project.settings, "serve", cache_answers=10))
    model = Tiny()

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        first, again = [(await predict(client, "card"))[0] for _ in range(2)]
        assert first["id"] != again["id"]
        assert "millwright_cache_hits_total 1.0" in (await client.get("/metrics")).text

    run(cached, scenario, lambda name: model)
    assert model.batches == [["card"]]
    assert len(stored(project, predictions)) == 2


def test_a_request_with_an_input_from_memory_has_no_time_of_its_own(project):
    cached = Project(project.folder, change_settings(project.settings, "serve", cache_answers=10))
    ids = []

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        for texts in (["card"], ["pin", "card"], ["transfer"]):
            ids.append([one["id"] for one in await predict(client, *texts)])

    run(cached, scenario)
    seconds = {row.id: row.seconds for row in stored(project, predictions)}
    (first,), half_known, (new,) = ids
    assert [seconds[id] for id in half_known] == [None, None]
    assert seconds[first] > 0
    assert seconds[new] > 0


def test_a_disk_that_refuses_is_answered_with_507_and_predictions_go_on(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        kept = await client.post(FEEDBACK, json={"prediction": one["id"], "rating": 5})
        assert kept.status_code == 201
        with project.database.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON opinions BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
        assert_refused(await client.post(FEEDBACK, json={"prediction": one["id"], "rating": 1}), 507, None)
        await predict(client, "card")
        assert len(stored(project)) == 1

    run(project, scenario)


def test_a_swap_under_load_drops_nothing_and_ends_on_the_new_version(project):
    models = {"v1": Tiny(), "v2": NEW}

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        is_over = asyncio.Event()

        async def user() -> list[str]:
            seen = []
            while not is_over.is_set():
                found = await predict(client, "card", "transfer")
                assert len({one["version"] for one in found}) == 1  # a request is answered by one version
                assert [one["label"] for one in found] == ["card", "transfer"]
                seen.append(found[0]["version"])
            return seen

        users = [asyncio.create_task(user()) for _ in range(8)]
        await predict(client, "card")
        point(project, "champion", add_version(project, 2))
        await app.state.service.refresh()
        for _ in range(10):
            await predict(client, "card")
        is_over.set()
        for seen in await asyncio.gather(*users):
            assert seen == sorted(seen)  # never back from v2 to v1
            assert {"v1", "v2"} == set(seen)

    run(project, scenario, models.__getitem__)


def test_collections_pass_over_what_is_served_and_an_old_version_is_collected_once(project):
    def circular(name: str) -> Tiny:
        model = Tiny()
        model.batches.append(model)  # what only a collection frees
        return model

    async def scenario(_: httpx.AsyncClient, app: FastAPI) -> None:
        service = app.state.service
        assert gc.get_freeze_count() > 10_000
        old = weakref.ref(service.engine.model("champion")[1])
        point(project, "champion", add_version(project, 2))
        await service.refresh()
        assert old() is None
        assert gc.get_freeze_count() > 10_000

    run(project, scenario, circular)
    assert gc.get_freeze_count() == 0


def test_a_promotion_is_noticed_without_being_told(project, monkeypatch):
    monkeypatch.setattr("millwright.surfaces.service.WATCH_SECONDS", 0.01)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        point(project, "champion", add_version(project, 2))
        while (await predict(client, "card"))[0]["version"] != "v2":
            pass

    run(project, scenario)


def test_a_damaged_new_champion_leaves_the_old_one_in_service(project, monkeypatch, caplog):
    monkeypatch.setattr("millwright.surfaces.service.WATCH_SECONDS", 0.01)
    monkeypatch.setattr("millwright.surfaces.service.RELOAD_S", 0.01)
    tried = []

    def load(name: str) -> Tiny:
        if name == "v2":
            tried.append(name)
            raise Corrupt("v2/weights.safetensors is missing; restore it")
        return Tiny()

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        point(project, "champion", add_version(project, 2))
        while len(tried) < 3:  # it survives the first failure and looks again
            assert (await predict(client, "card"))[0]["version"] == "v1"
        monkeypatch.setattr("millwright.surfaces.service.RELOAD_S", 3_600)
        most = len(tried) + 1  # one attempt may be under way
        for _ in range(5):
            with pytest.raises(Corrupt):  # as it was told, without another attempt
                await app.state.service.refresh()
        assert len(tried) <= most

    run(project, scenario, load)
    assert caplog.text.count("weights.safetensors is missing") == 1


def test_a_champion_that_an_erasure_withdrew_is_served_no_more(project):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        await predict(client, "card")
        with project.database.begin() as connection:
            withdraw(project, connection, "champion", "a person was erased")
        await app.state.service.refresh()
        assert (await client.get("/readyz")).status_code == 503
        refused = await client.post("/v1/predictions", json={"inputs": ["card"]})
        assert refused.status_code in (404, 503)

    run(project, scenario)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Corrupt("v2/weights.safetensors is missing; restore it"), "v2/weights.safetensors is missing"),
        (RuntimeError("what Ada wrote"), "RuntimeError"),
    ],
)
def test_a_challenger_that_cannot_be_loaded_does_not_keep_the_champion_from_serving(
    project, caplog, error, told
):
    def load(name: str) -> Tiny:
        if name == "v2":
            raise error
        return Tiny()

    point(project, "challenger", add_version(project, 2))

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        await app.state.service.refresh()
        assert (await predict(client, "card"))[0]["version"] == "v1"
        assert_refused(
            await client.post(PREDICTIONS, json={"inputs": ["card"], "version": "challenger"}), 404, None
        )

    run(project, scenario, load)
    assert caplog.text.count(f"v2 is not served beside the champion: {told}") == 1
    assert "Ada" not in caplog.text


def test_a_challenger_that_fails_again_after_it_was_loaded_is_told_again(project, caplog, monkeypatch):
    monkeypatch.setattr(service_module, "RELOAD_S", 0.0)
    can_load = False

    def load(name: str) -> Tiny:
        if name == "v2" and not can_load:
            raise RuntimeError
        return Tiny()

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        nonlocal can_load
        await app.state.service.refresh()
        can_load = True
        await app.state.service.refresh()
        with project.database.begin() as connection:
            withdraw(project, connection, "challenger", "a person was erased")
        await app.state.service.refresh()
        point(project, "challenger", "v2")
        can_load = False
        await app.state.service.refresh()

    point(project, "challenger", add_version(project, 2))
    run(project, scenario, load)
    assert caplog.text.count("v2 is not served beside the champion: RuntimeError") == 2


def test_counts_what_happened_in_a_registry_of_its_own(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one, _two) = await predict(client, "card", "pin")
        await client.post(FEEDBACK, json={"prediction": one["id"], "label": "pin", "comment": "no"})
        await client.post(PREDICTIONS, json={"inputs": []})
        await client.post(PREDICTIONS, content=b"x" * 1_000_001)
        await client.get("/nowhere/with/a/name")
        lines = (await client.get("/metrics")).text.splitlines()
        for line in (
            'millwright_predictions_total{version="v1"} 2.0',
            'millwright_opinions_total{kind="label"} 1.0',
            'millwright_opinions_total{kind="comment"} 1.0',
            'millwright_requests_total{route="/v1/predictions",status="200"} 1.0',
            'millwright_requests_total{route="/v1/predictions",status="422"} 1.0',
            'millwright_requests_total{route="/v1/feedback",status="201"} 1.0',
            'millwright_requests_total{route="unknown",status="404"} 1.0',
            'millwright_requests_total{route="/v1/predictions",status="413"} 1.0',
            "millwright_batch_inputs_sum 2.0",
            "millwright_queue_inputs 0.0",
        ):
            assert line in lines

    run(project, scenario)
    run(project, scenario)  # a second app starts from zero


def test_lives_and_is_ready(project):
    assert ask(project, "GET", "/healthz").status_code == 200
    assert ask(project, "GET", "/readyz").status_code == 200


def test_is_alive_and_not_ready_without_a_champion(make_project):
    empty = make_project(csv_of(desk_rows(30)))
    assert ask(empty, "GET", "/healthz").status_code == 200
    assert_refused(ask(empty, "GET", "/readyz"), 503, None)
    assert_refused(ask(empty, "POST", PREDICTIONS, json={"inputs": ["card"]}), 404, None)


def test_refuses_to_serve_without_a_version_where_a_project_is_all_that_is_given(make_project):
    empty = make_project(csv_of(desk_rows(30)))
    free = Project(empty.folder, change_settings(empty.settings, "serve", port=0))
    with pytest.raises(NotFound, match="no version yet"):
        serve(free)


def test_a_port_in_use_is_named_with_a_remedy(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = Project(project.folder, change_settings(project.settings, "serve", port=port))
        with pytest.raises(Busy, match=rf"127.0.0.1:{port} .*--port 0"):
            serve(busy, ready=pytest.fail, load=lambda name: Tiny())


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid", "2001:db8::1"])
def test_an_address_of_another_machine_is_named_with_a_remedy(project, host):
    away = Project(project.folder, change_settings(project.settings, "serve", host=host, port=8_000))
    shown = f"[{host}]" if ":" in host else host
    with pytest.raises(
        BadInput, match=rf"cannot listen on {re.escape(shown)}:8000 .*an address of this machine"
    ):
        serve(away, ready=pytest.fail, load=lambda name: Tiny(), without_keys=True)


def test_a_service_that_does_not_start_or_load_says_so(project, monkeypatch):
    free = Project(project.folder, change_settings(project.settings, "serve", port=0))

    def damaged(name: str) -> Tiny:
        raise Corrupt(f"{name} is damaged; restore a backup")

    with pytest.raises(Corrupt, match="v1 is damaged"):
        serve(free, ready=pytest.fail, load=damaged)

    async def fail(_: Service) -> None:
        raise RuntimeError

    monkeypatch.setattr(Service, "start", fail)
    with pytest.raises(MillwrightError, match="did not start"):
        serve(free, ready=pytest.fail, load=lambda name: Tiny())


def test_the_openapi_page_lists_every_route(project):
    paths = ask(project, "GET", "/openapi.json").json()["paths"]
    rights = {f"/v1/subjects/{name}" for name in ("consent", "withdraw", "restrict", "export", "erase")}
    operation = {"/v1/models", "/healthz", "/readyz", "/metrics"}
    reviews = {"/v1/reviews", "/v1/reviews/next", "/v1/reviews/undo", "/v1/reviews/status"}
    users = {PREDICTIONS, FEEDBACK, "/v1/surveys/next", "/v1/experiments", "/v1/drift", "/v1/turns"}
    assert set(paths) == {*users, *operation, *rights, *reviews, "/v1/unmask"}
    assert Path(PREDICTIONS).name in paths[PREDICTIONS]["post"]["operationId"]


def test_refusals_are_described_as_they_are(project):
    described = ask(project, "GET", "/openapi.json").json()
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_the_page_of_routes_needs_nothing_from_elsewhere(project):
    answer = ask(project, "GET", "/docs")
    described = ask(project, "GET", "/openapi.json").json()
    assert all(f" {path}</code>" in answer.text for path in described["paths"])
    assert all(f'id="{name}"' in answer.text for name in described["components"]["schemas"])
    linked = set(re.findall(r'(?:href|src)="([^"]*)"', answer.text))
    assert {link for link in linked if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in linked if link.startswith("#")} <= set(described["components"]["schemas"])
    assert "<script" not in answer.text
    assert "style-src" in answer.headers["content-security-policy"]


def test_a_message_with_a_key_is_kept_once_even_if_it_comes_twice_at_once(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        said = {"prediction": one["id"], "csat": 4, "outcome": "resolved", "key": "ticket-7"}
        answers = await asyncio.gather(*(client.post("/v1/feedback", json=said) for _ in range(5)))
        answers.append(await client.post("/v1/feedback", json=said))
        assert {answer.status_code for answer in answers} == {201}
        (kept,) = read_opinions(open_vault(project))
        assert {answer.json()["id"] for answer in answers} == {kept.id}
        assert (kept.csat, kept.outcome, kept.key) == (4, "resolved", "ticket-7")
        other = await client.post("/v1/feedback", json={**said, "csat": 1})
        assert other.status_code == 422
        assert other.json()["error"]["field"] == "key"

    run(project, scenario)


@pytest.mark.parametrize(
    ("said", "field"), [({"csat": 0}, "csat"), ({"nps": 11}, "nps"), ({"outcome": "lost"}, "outcome"),
                        ({"csat": 4, "key": ""}, "key")],
)  # fmt: skip
def test_scores_outcomes_and_keys_that_cannot_be_are_refused(project, said, field):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        (one,) = await predict(client, "card")
        answer = await client.post("/v1/feedback", json={"prediction": one["id"], **said})
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == field

    run(project, scenario)


def test_a_survey_draws_at_once_after_the_prediction_and_its_score_carries_the_probability(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        asked = 0
        for one in await predict(client, "card", "pin", "card", "pin", subject=None):
            drawn = await client.get("/v1/surveys/next", params={"prediction": one["id"], "survey": "nps"})
            assert drawn.status_code == 200
            assert drawn.json()["probability"] == 1.0
            asked += drawn.json()["ask"]
            await client.post("/v1/feedback", json={"prediction": one["id"], "nps": 9})
        assert asked == 4
        assert {row.asked_with for row in stored(project)} == {1.0}
        unknown = await client.get("/v1/surveys/next", params={"prediction": "nope"})
        assert unknown.status_code == 404
        wrong = await client.get("/v1/surveys/next", params={"prediction": "nope", "survey": "mood"})
        assert wrong.status_code == 422

    run(Project(project.folder, change_settings(project.settings, "feedback", survey_share=1.0)), scenario)
