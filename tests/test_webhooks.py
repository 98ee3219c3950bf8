"""Messages reach a real receiver, signed, when they are due; what is refused comes again, not for ever."""

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from millwright.errors import BadInput, NotFound
from millwright.project import Project
from millwright.settings import change_settings, dump_settings
from millwright.store.database import now
from millwright.webhooks import (
    DECISION,
    WAITS_S,
    announce,
    deliver,
    list_messages,
    shown_secret,
    signed_headers,
    webhook_secret,
)
from tests.conftest import csv_of, desk_rows
from tests.surfaces.test_cli import run, wrong


class Receiver:
    """What a receiver got, and the status that it answers next."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.statuses: list[int] = []


@contextmanager
def receiving() -> Iterator[tuple[str, Receiver]]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", receiver
        finally:
            server.shutdown()
            thread.join()


def telling(project: Project, *urls: str, **more: object) -> Project:
    return Project(project.folder, change_settings(project.settings, "webhooks", urls=list(urls), **more))


@pytest.fixture
def project(make_project) -> Project:
    return make_project(csv_of(desk_rows(10)))


def say(project: Project, data: dict[str, object]) -> None:
    with project.database.begin() as connection:
        announce(project, connection, DECISION, data)


def waited_s(project: Project, since: str) -> float | None:
    (message,) = list_messages(project)
    if message.next_at is None:
        return None
    return (datetime.fromisoformat(message.next_at) - datetime.fromisoformat(since)).total_seconds()


def test_a_signature_is_that_of_the_reference_library():
    # made with standardwebhooks 1.1.0 of PyPI
    secret = bytes(range(24))
    body = '{"type": "turn.finished", "data": {"number": 2}}'
    found = signed_headers(secret, "msg_1", "2025-11-24T16:00:00.000+00:00", body)
    assert found["webhook-timestamp"] == "1764000000"
    assert found["webhook-signature"] == "v1,7LBemDQ4Owzp92SLw/HEv2Q+hj2LBesmDHt57YMa/6g="


def test_a_message_arrives_once_signed_with_what_was_decided(project):
    with receiving() as (url, receiver):
        telling_it = telling(project, url)
        say(telling_it, {"experiment": "turn-2", "kind": "ship"})
        made = deliver(telling_it)
        assert (made.arrived, made.waiting, made.given_up) == (1, 0, 0)
        assert deliver(telling_it).arrived == 0
    ((headers, body),) = receiver.got
    assert json.loads(body)["type"] == "experiment.decided"
    assert json.loads(body)["data"] == {"experiment": "turn-2", "kind": "ship"}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}"
    mac = hmac.digest(webhook_secret(project), signed.encode(), "sha256")
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    (message,) = list_messages(telling_it)
    assert (message.id, message.attempts, message.error) == (headers["webhook-id"], 1, None)


def test_each_receiver_has_a_message_of_its_own_and_a_dead_one_delays_nobody(project):
    with receiving() as (url, receiver):
        both = telling(project, "http://127.0.0.1:1/nobody", url)
        say(both, {})
        made = deliver(both)
        assert (made.arrived, made.waiting) == (1, 1)
        assert len(receiver.got) == 1
    refused = next(one for one in list_messages(both) if one.next_at)
    assert (refused.url, refused.error) == ("http://127.0.0.1:1/nobody", "ConnectError")


def test_one_that_does_not_answer_is_tried_once_a_round_however_much_waits(project):
    with receiving() as (url, receiver):
        both = telling(project, "http://127.0.0.1:1/nobody", url)
        for number in range(3):
            say(both, {"number": number})
        made = deliver(both)
        assert (made.arrived, made.waiting) == (3, 3)
        assert len(receiver.got) == 3
        receiver.statuses = [500, 500]  # an answer, if no welcome one: each of its messages is tried
        say(both, {})
        say(both, {})
        deliver(both)
        assert len(receiver.got) == 5
    assert sum(one.attempts for one in list_messages(both) if one.url != url) == 2


def test_what_did_not_happen_is_not_told(project):
    told = telling(project, "http://127.0.0.1:1")
    with told.database.connect() as connection:
        announce(told, connection, DECISION, {})
        connection.rollback()
    assert list_messages(told) == []


def test_what_is_refused_comes_again_after_longer_and_longer_and_at_last_no_more(project):
    with receiving() as (url, receiver):
        told = telling(project, url)
        say(told, {})
        hour = now()
        receiver.statuses = [500, 302, *[503] * (len(WAITS_S) - 1)]  # a redirect is not followed
        for wait in WAITS_S:
            assert deliver(told, hour).waiting == 1
            assert waited_s(told, hour) == wait
            assert deliver(told, hour).waiting == 0  # not before its time
            (message,) = list_messages(told)
            hour = message.next_at
        assert deliver(told, hour).given_up == 1
        assert waited_s(told, hour) is None
        assert len(receiver.got) == len(WAITS_S) + 1
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_a_receiver_that_is_gone_is_left_alone(project):
    with receiving() as (url, receiver):
        told = telling(project, url)
        say(told, {})
        receiver.statuses = [410]
        assert deliver(told).given_up == 1
        assert deliver(told, "2199-01-01T00:00:00.000+00:00").waiting == 0
        assert list_messages(told) == []  # ended, and older than is kept


def test_the_secret_is_made_once_for_its_owner_alone_or_comes_from_a_variable(project, monkeypatch):
    first = shown_secret(project)
    assert first.startswith("whsec_")
    assert shown_secret(project) == first
    assert (project.kept / "webhook.secret").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("HOOK", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")
    assert webhook_secret(telling(project, secret="env:HOOK")) == bytes(range(24))
    monkeypatch.setenv("HOOK", "whsec_AAEC")
    with pytest.raises(BadInput, match="base64 of at least 24 bytes"):
        webhook_secret(telling(project, secret="env:HOOK"))
    with pytest.raises(NotFound, match="no variable OTHER; set it"):
        webhook_secret(telling(project, secret="env:OTHER"))
    with pytest.raises(BadInput, match=r'write "file:PATH" or "env:NAME"'):
        webhook_secret(telling(project, secret="hunter2"))


def test_the_verbs(project, capsys):
    at = ("--project", project.folder)
    assert "set webhooks.urls in millwright.toml" in wrong(capsys, "webhooks", "ping", *at)
    assert run("webhooks", "list", *at) == 0
    assert "no message yet" in capsys.readouterr().out
    with receiving() as (url, receiver):
        settings = project.folder / "millwright.toml"
        settings.write_text(dump_settings(telling(project, url).settings))
        receiver.statuses = [500]
        assert run("webhooks", "ping", *at) == 0
        assert capsys.readouterr().out == "0 arrived, 1 wait, 0 given up\n"
        assert run("webhooks", "list", *at) == 0
        assert f"ping to {url}: waits until {now()[:10]}" in capsys.readouterr().out
        assert run("webhooks", "send", "--json", *at) == 0
        assert json.loads(capsys.readouterr().out) == {"arrived": 0, "waiting": 0, "given_up": 0}
    assert run("webhooks", "secret", *at) == 0
    assert capsys.readouterr().out.strip() == shown_secret(project)
    settings.write_text(settings.read_text().replace(url, "ftp://here"))
    assert "webhooks.urls" in wrong(capsys, "webhooks", "list", *at)
