"""`millwright run` as a user starts it: it is killed in the middle of a turn, started again, and goes on."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from millwright.privacy.audit import read_audit
from millwright.project import Project
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.steps import train
from millwright.turns import list_turns
from tests.desk import make_desk, opine, telling_rows

COMMAND = (sys.executable, "-m", "millwright.surfaces.cli", "run", "--json", "--port", "0")
ADDRESS = re.compile(r"http://[\w.:]+")
Server = tuple[subprocess.Popen[str], httpx.Client]


@pytest.fixture
def project(tmp_path, encoder) -> Project:
    made = make_desk(tmp_path / "desk", encoder, telling_rows(60), data={"test_share": 0.3})
    settings = change_settings(made.settings, "run", rows=20, check_seconds=0.5)
    (made.folder / FILENAME).write_text(dump_settings(settings))
    train(made)
    opine(made, telling_rows(30, seed=5))
    return made


@contextmanager
def runner(project: Project) -> Iterator[Server]:
    """A runner, and a client of it; it is killed at the end if it still lives."""
    command = [*COMMAND, "--project", str(project.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = next(found.group() for line in process.stdout if (found := ADDRESS.search(line)))
            with httpx.Client(base_url=url) as client:
                yield process, client
        finally:
            process.kill()


def wait_until(server: Server, is_so: Callable[[httpx.Client], bool]) -> None:
    """Look again and again while the runner lives."""
    process, client = server
    while not is_so(client):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def experiments(client: httpx.Client) -> list[dict]:
    return client.get("/v1/experiments").json()["experiments"]


def test_it_turns_by_itself_and_a_kill_in_the_middle_loses_nothing(project):
    with runner(project) as server:
        wait_until(server, lambda client: metric(client, "millwright_turning") == 1)
        server[0].send_signal(signal.SIGKILL)
        server[0].wait()
    with runner(project) as server, runner(project) as other:
        wait_until(server, lambda client: bool(experiments(client)))
        (experiment,) = experiments(server[1])
        assert (experiment["name"], experiment["state"]) == ("turn-2", "running")
        (first, second) = server[1].get("/v1/turns").json()["turns"]
        assert (first["challenger"], second["challenger"], second["decided_by"]) == ("v1", "v2", "users")
        leads = [metric(client, "millwright_leader") for _, client in (server, other)]
        assert sorted(leads) == [0, 1]
        for _, client in (server, other):
            answer = client.post("/v1/predictions", json={"inputs": ["my card"], "subject": "ada"})
            assert answer.json()["predictions"][0]["version"] in ("v1", "v2")
        server[0].send_signal(signal.SIGTERM)
        assert server[0].wait(60) == -signal.SIGTERM  # as uvicorn ends: requests answered, then by the signal
    assert len(list_turns(project)) == 2
    decided = [line.details for line in read_audit(project) if line.action == "promoted"]
    assert [(one["alias"], one["version"]) for one in decided] == [
        ("champion", "v1"), ("challenger", "v2"), ("challenger", "v2"),
    ]  # fmt: skip
