"""The OWASP API Security Top 10 (2023), each risk tried over every route of the service.

A route that is not in SCOPES fails the first test: whoever
adds one says who may use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from fastapi import FastAPI

from millwright.privacy.access import SCOPES as ALL_SCOPES
from millwright.privacy.access import create_key
from millwright.project import Project
from millwright.settings import change_settings
from millwright.webhooks import DECISION, announce, deliver, list_messages
from tests.conftest import csv_of, desk_rows
from tests.serve.tiny import serving
from tests.surfaces.test_access import bearer
from tests.surfaces.test_service import ask, run

SCOPES = {
    "/v1/predictions": "predict",
    "/v1/feedback": "feedback",
    "/v1/surveys/next": "feedback",
    "/v1/models": "any",
    "/metrics": "any",
    "/v1/experiments": "review",
    "/v1/turns": "review",
    "/v1/drift": "review",
    "/v1/reviews": "review",
    "/v1/reviews/next": "review",
    "/v1/reviews/undo": "review",
    "/v1/reviews/status": "review",
    "/v1/subjects/consent": "admin",
    "/v1/subjects/withdraw": "admin",
    "/v1/subjects/restrict": "admin",
    "/v1/subjects/export": "admin",
    "/v1/subjects/erase": "admin",
    "/v1/unmask": "unmask",
    "/healthz": "open",
    "/readyz": "open",
}


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the service does."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path


def test_api1_and_5_each_route_opens_to_its_scope_and_to_no_other(project):
    keys = {scope: create_key(project, scope, [scope])[1] for scope in ALL_SCOPES}

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert {path for _, path in operations(app)} == set(SCOPES)
        for method, path in operations(app):
            wanted = SCOPES[path]
            bare = await client.request(method, path)
            assert (bare.status_code == 401) == (wanted != "open"), path
            for scope, key in keys.items():
                answer = await client.request(method, path, headers=bearer(key))
                may = wanted in ("any", "open", scope) or (scope == "admin" and wanted != "unmask")
                assert (answer.status_code == 403) == (not may), (path, scope)

    run(project, scenario)


@pytest.mark.parametrize(
    "path",
    ["/v1//predictions", "/V1/predictions", "/v1/subjects/../subjects/export", "/v1/subjects%2Fexport"],
)
def test_api1_another_spelling_of_a_path_opens_nothing(project, path):
    _, key = create_key(project, "website", ["predict"])
    answer = ask(project, "POST", path, json={"subject": "ada"}, headers=bearer(key))
    assert answer.status_code in (401, 403, 404)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer mw_1_2", "Bearer mw__", "bearer " + "x" * 10_000],
)
def test_api2_what_is_no_key_opens_nothing(project, header):
    create_key(project, "website", ["predict"])
    answer = ask(
        project, "POST", "/v1/predictions", json={"inputs": ["x"]}, headers={"authorization": header}
    )
    assert answer.status_code == 401


def test_api3_no_request_may_set_what_it_is_not_asked_for(project):
    _, key = create_key(project, "officer", ["admin", "unmask"])

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        for method, path in operations(app):
            if method == "POST":
                answer = await client.post(path, json={"scopes": ["admin"]}, headers=bearer(key))
                assert answer.status_code == 422, path
                assert answer.json()["error"]["field"] is not None
        said = {"prediction": "p", "rating": 5, "created_at": "2020-01-01", "asked_with": 1.0, "id": "mine"}
        answer = await client.post("/v1/feedback", json=said, headers=bearer(key))
        assert answer.status_code == 422

    run(project, scenario)


def test_api4_no_route_takes_a_body_without_end(project):
    _, key = create_key(project, "officer", ["admin", "unmask"])

    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        huge = b'{"inputs": ["' + b"x" * (project.settings.serve.max_body_bytes + 1) + b'"]}'
        for method, path in operations(app):
            answer = await client.request(
                method, path, content=huge, headers={"content-type": "application/json", **bearer(key)}
            )
            assert answer.status_code == 413, path

    run(project, scenario)


def test_api6_a_key_cannot_flood_a_flow_that_costs(project):
    _, key = create_key(project, "website", ["feedback"], requests_per_minute=3)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        said = {"prediction": "p", "rating": 5}
        statuses = [
            (await client.post("/v1/feedback", json=said, headers=bearer(key))).status_code for _ in range(5)
        ]
        assert statuses == [404, 404, 404, 429, 429]

    run(project, scenario)


def test_api7_no_request_names_an_address_that_the_server_would_fetch(project):
    async def scenario(_: httpx.AsyncClient, app: FastAPI) -> None:
        schemas = app.openapi()["components"]["schemas"]
        fields = {name for one in schemas.values() for name in one.get("properties", {})}
        assert not {name for name in fields if "url" in name.lower() or "uri" in name.lower()}
        assert not [one for one in str(schemas).split("'") if one in ("uri", "url")]

    run(project, scenario)


def test_api8_the_service_tells_nobody_how_it_is_made(project):
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        for method, path in operations(app):
            other = "DELETE" if method == "GET" else "PUT"
            answer = await client.request(other, path, headers={"origin": "https://evil.example"})
            assert answer.status_code in (401, 405), path
            assert "access-control-allow-origin" not in answer.headers
            assert "server" not in answer.headers
            assert set(answer.json()) == {"error"}
            assert "Traceback" not in answer.text
        preflight = await client.options("/v1/predictions", headers={"origin": "https://evil.example"})
        assert preflight.status_code == 405

    run(project, scenario)


def test_api9_every_route_stands_in_the_pages_that_describe_them(project):
    async def scenario(_: httpx.AsyncClient, app: FastAPI) -> None:
        described = {path for _, path in operations(app)}
        pages = {"/openapi.json", "/docs"}
        there = {route.path for route in app.routes if hasattr(route, "path")}
        assert there - pages <= described

    run(project, scenario)


@contextmanager
def receiver(answer: bytes) -> Iterator[tuple[str, list[str]]]:
    """A receiver of webhooks with an answer of its own, and the paths that it was asked for."""
    asked: list[str] = []

    class Hostile(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            with suppress(OSError):
                self.wfile.write(answer)
                while answer.endswith(b"..."):
                    self.wfile.write(b"x" * 65_536)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", asked
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n...", None),
        (b"HTTP/1.1 500 No\r\n\r\n...", "status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz", None),
        (b"\x00\xff not HTTP\r\n\r\n", "RemoteProtocolError"),
    ],
    ids=["redirect", "without end", "refusal without end", "broken gzip", "no HTTP"],
)
def test_api10_of_what_a_receiver_answers_the_status_alone_is_read(project, answer, error):
    with receiver(answer) as (url, asked):
        told = Project(project.folder, change_settings(project.settings, "webhooks", urls=[url]))
        with told.database.begin() as connection:
            announce(told, connection, DECISION, {})
        deliver(told)
        assert asked == ["/hook"]
    (message,) = list_messages(told)
    assert message.error == error
