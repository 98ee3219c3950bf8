"""Tokens in service: the same answers, nothing in the clear, and values for keys of their own scope alone."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from millwright.opinions.files import import_opinions
from millwright.privacy.access import create_key
from millwright.privacy.audit import read_audit
from millwright.privacy.sealed import read_opinions
from millwright.privacy.unmask import tokens_in
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.settings import change_settings, dump_settings
from millwright.store.tables import vault_tokens
from tests.conftest import csv_of, desk_rows, place_version, read_predictions
from tests.serve.tiny import LABELS, serving
from tests.surfaces.test_access import bearer
from tests.surfaces.test_cli import run as run_cli
from tests.surfaces.test_cli import wrong
from tests.surfaces.test_service import predict, run

CANARY = "canary.of.ada@example.com"


@pytest.fixture
def project(make_project) -> Project:
    made = serving(make_project(csv_of(desk_rows(30))))
    settings = change_settings(made.settings, "privacy", policies={"EMAIL_ADDRESS": "tokenise"})
    (made.folder / "millwright.toml").write_text(dump_settings(settings))
    place_version(made, "v1", labels=list(LABELS))
    return Project(made.folder, settings)


def said(project: Project) -> list[str]:
    return [one.text for one in read_predictions(open_vault(project))]


def test_what_users_write_and_say_is_kept_with_tokens_and_comes_back_over_http(project):
    _, key = create_key(project, "officer", ["unmask"])
    _, website = create_key(project, "website", ["predict", "feedback", "admin"])
    answers = []

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        client.headers.update(bearer(website))
        (given,) = await predict(client, f"card {CANARY}", subject="ada")
        assert given["label"] == "card"
        comment = {"prediction": given["id"], "comment": f"write to {CANARY}, key"}
        assert (await client.post("/v1/feedback", json=comment)).status_code == 201
        (text,) = await asyncio.to_thread(said, project)
        (opinion,) = await asyncio.to_thread(read_opinions, open_vault(project))
        assert tokens_in(text) == tokens_in(opinion.comment)
        assert len(tokens_in(text)) == 1
        asked = {"texts": [text, opinion.comment, f"<EMAIL_ADDRESS:{'z' * 24}>"]}
        assert (await client.post("/v1/unmask", json=asked)).status_code == 403  # admin alone is not enough
        answers.append(await client.post("/v1/unmask", json=asked, headers=bearer(key)))

    run(project, scenario)
    assert answers[0].json() == {
        "texts": [f"card {CANARY}", f"write to {CANARY}, key", f"<EMAIL_ADDRESS:{'z' * 24}>"],
        "restored": 2,
        "erased": [],
        "expired": [],
        "unknown": [f"<EMAIL_ADDRESS:{'z' * 24}>"],
    }
    line = read_audit(project)[-1]
    assert line.action == "unmasked"
    assert line.details["by"] == f"key {key.split('_')[1]}"
    assert line.subject == open_vault(project).keys.pseudonym("ada")
    assert _files_with(project.folder, b"canary") == []


def _files_with(folder: Path, what: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


def test_without_any_key_nobody_gets_a_value(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        await predict(client, f"card {CANARY}", subject="ada")
        assert (await client.post("/v1/unmask", json={"texts": ["x"]})).status_code == 401

    run(project, scenario)


def test_many_at_once_share_the_token_of_a_value_before_any_of_them_is_on_the_disk(project):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        await asyncio.gather(*(predict(client, f"pin {n} {CANARY}", subject="ada") for n in range(20)))

    run(project, scenario)
    tokens = [tokens_in(text) for text in said(project)]
    assert len(tokens) == 20
    assert len(set.union(*tokens)) == 1
    with project.database.connect() as connection:
        assert set(connection.scalars(select(vault_tokens.c.token))) == set.union(*tokens)


def test_a_file_of_opinions_may_come_again_after_the_policy_changed(project):
    vault = open_vault(project)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        await predict(client, "card one", subject="ada")

    run(project, scenario)
    (one,) = read_predictions(vault)
    file = project.folder.parent / "said.csv"
    rows = [(one.id, f"mail {CANARY}", ""), (one.id, f"or {CANARY}", "k1")]
    file.write_text(csv_of(rows, ("prediction", "comment", "key")))
    assert import_opinions(project, file).new == 2
    kept = [opinion.comment for opinion in read_opinions(vault)]
    assert len(set.union(*map(tokens_in, kept))) == 1
    assert import_opinions(project, file).repeated == 2
    settings = change_settings(project.settings, "privacy", policies={"EMAIL_ADDRESS": "mask"})
    found = import_opinions(Project(project.folder, settings), file)
    assert (found.new, found.repeated, found.refused) == (0, 2, ())
    # A row without a key is known by what it said before masking, whatever the policy makes of it.
    settings = change_settings(project.settings, "privacy", policies={"EMAIL_ADDRESS": "keep"})
    found = import_opinions(Project(project.folder, settings), file)
    assert (found.new, found.repeated) == (0, 1)
    assert "its comment differs" in found.refused[0].reason


def test_the_verb_puts_back_a_text_or_a_file_and_says_what_stayed(project, capsys):
    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        await predict(client, f"card {CANARY}", subject="ada")

    run(project, scenario)
    (text,) = said(project)
    verb = ("privacy", "unmask", "--project", project.folder)
    assert run_cli(*verb, text) == 0
    assert capsys.readouterr().out == f"card {CANARY}\n"
    unknown = f"<EMAIL_ADDRESS:{'z' * 24}>"
    file = project.folder.parent / "texts.txt"
    file.write_text(f"{text}\n[bold]{unknown}\n")
    assert run_cli(*verb, "--file", file) == 0
    told = capsys.readouterr()
    assert told.out == f"card {CANARY}\n[bold]{unknown}\n"
    assert told.err == f"{unknown} stays: this project has no such token\n"
    assert run_cli(*verb, text, "--json") == 0
    assert json.loads(capsys.readouterr().out)["texts"] == [f"card {CANARY}"]
    assert read_audit(project)[-1].details["by"].startswith("uid ")
    assert "one of the two" in wrong(capsys, *verb)
    assert "one of the two" in wrong(capsys, *verb, text, "--file", file)
    assert "cannot be read" in wrong(capsys, *verb, "--file", project.folder / "nowhere")
    file.write_bytes(b"\xff\xfe\xff")
    assert "not UTF-8" in wrong(capsys, *verb, "--file", file)
