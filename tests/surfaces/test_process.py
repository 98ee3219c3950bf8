"""The service as a process of its own: what it keeps when it is killed or told to end."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from millwright.project import Project
from millwright.store.database import open_database
from millwright.store.tables import opinions, predictions
from tests.conftest import csv_of, desk_rows
from tests.serve.tiny import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(make_project) -> Project:
    return serving(make_project(csv_of(desk_rows(30))))


@contextmanager
def server(project: Project) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tests.surfaces.serve_tiny", str(project.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), url
            yield process, url
        finally:
            process.kill()


def predict(client: httpx.Client, text: str) -> str:
    answer = client.post("/v1/predictions", json={"inputs": [text]}).raise_for_status()
    return answer.json()["predictions"][0]["id"]


def kept_ids(project: Project, table) -> set[str]:
    """Ids read through a new connection, as after a start."""
    with open_database(project.kept / "store.db").connect() as connection:
        return set(connection.scalars(select(table.c.id)))


def test_kill_9_while_users_write_loses_nothing_that_was_acknowledged(project):
    acknowledged: list[tuple[str, str]] = []
    enough = threading.Event()

    def user(url: str, number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            try:
                while True:
                    prediction = predict(client, f"card {number}")
                    said = {"prediction": prediction, "label": "pin"}
                    answer = client.post("/v1/feedback", json=said).raise_for_status()
                    acknowledged.append((prediction, answer.json()["id"]))
                    if len(acknowledged) >= 40:
                        enough.set()
            except httpx.TransportError:
                return  # the server was killed

    with server(project) as (process, url):
        users = [threading.Thread(target=user, args=(url, number)) for number in range(4)]
        for one in users:
            one.start()
        assert enough.wait(60)
        process.kill()
        for one in users:
            one.join()
    assert {opinion for _, opinion in acknowledged} <= kept_ids(project, opinions)
    assert {prediction for prediction, _ in acknowledged} <= kept_ids(project, predictions)


def test_sigterm_writes_every_prediction_that_was_answered(project):
    with server(project) as (process, url):
        with httpx.Client(base_url=url, timeout=30) as client:
            answered = {predict(client, f"card {number}") for number in range(50)}
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert answered == kept_ids(project, predictions)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_sigterm_under_load_drops_no_request(project, connection):
    outcomes: list[int] = []
    enough = threading.Event()

    def user(url: str) -> None:
        headers = {"connection": connection}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/v1/predictions", json={"inputs": ["card"]})
                    outcomes.append(answer.status_code)
                except httpx.ConnectError:
                    return  # it takes no more, and nothing was sent
                if len(outcomes) >= 80:
                    enough.set()

    with server(project) as (process, url):
        users = [threading.Thread(target=user, args=(url,)) for _ in range(8)]
        for one in users:
            one.start()
        assert enough.wait(60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
        for one in users:
            one.join()
    assert set(outcomes) == {200}
    assert len(kept_ids(project, predictions)) == len(outcomes)


@contextmanager
def starting(project: Project) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A server that listens and loads its model once it reads a line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.surfaces.serve_tiny", str(project.folder), str(port)]
    with (
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        try:
            while process.poll() is None:
                with suppress(httpx.ConnectError):
                    client.get("/healthz")
                    break
                time.sleep(0.05)
            yield process, client
        finally:
            process.kill()


def test_while_it_starts_it_lives_and_refuses_all_else(project):
    with starting(project) as (process, client):
        assert client.get("/healthz").status_code == 200
        refused = [client.get("/readyz"), client.post("/v1/predictions", json={"inputs": ["card"]})]
        assert {answer.status_code for answer in refused} == {503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert "starting" in refused[1].json()["error"]["message"]
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert client.get("/readyz").status_code == 200  # over the same connection
        assert predict(client, "card")


def test_sigterm_while_it_starts_ends_it_without_serving(project):
    with starting(project) as (process, client):
        process.send_signal(signal.SIGTERM)  # while it waits for the line, as for a slow disk
        assert process.wait(60) == -signal.SIGTERM
        assert process.stdout.read() == ""


def test_a_body_over_the_limit_is_refused_over_a_socket_and_the_server_goes_on(project):
    too_large = json.dumps({"inputs": ["x" * 1_000_000]}).encode()
    with server(project) as (_, url), httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/v1/predictions", content=too_large)
        assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body")
        assert predict(client, "card")
        assert "server" not in client.get("/healthz").headers.keys() | answer.headers.keys()
