"""Nothing unmasked is stored, learnt or answered: through prepare, predict, evaluate and the service."""

from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from millwright.data.prepare import prepare
from millwright.privacy.sealed import read_opinions
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.registry.classifiers import load_classifier
from millwright.settings import change_settings
from millwright.steps import evaluate, predict
from tests.conftest import csv_of, desk_rows, read_predictions
from tests.serve.tiny import serving
from tests.surfaces.test_service import predict as ask
from tests.surfaces.test_service import run

SECRETS = (b"ann@example.com", b"13800138000", "王小明".encode(), b"4111 1111 1111 1111")
SAID = [
    ("mail ann@example.com please", "card"),
    ("我叫王小明，电话13800138000", "pin"),
    ("card 4111 1111 1111 1111 lost", "transfer"),
]


def kept_bytes(project: Project) -> bytes:
    project.database.dispose()
    return b"".join(path.read_bytes() for path in sorted(project.kept.rglob("*")) if path.is_file())


def unmasked(project: Project) -> Project:
    return replace(project, settings=change_settings(project.settings, "privacy", mask=False))


def test_prepare_writes_no_personal_data_and_says_how_much_it_masked(make_project):
    project = make_project(csv_of([*desk_rows(30), *SAID]))
    dataset = prepare(project)
    expected = {"CREDIT_CARD": 1, "EMAIL_ADDRESS": 1, "PERSON": 1, "PHONE_NUMBER": 1}
    assert dataset.report["masked"] == expected
    texts = {row.text for row in dataset.rows}
    assert {"mail <EMAIL_ADDRESS> please", "我叫<PERSON>，电话<PHONE_NUMBER>"} <= texts
    content = kept_bytes(project)
    assert not any(secret in content for secret in SECRETS)


def test_turned_off_the_rows_stay_as_they_were(make_project):
    dataset = prepare(unmasked(make_project(csv_of([*desk_rows(30), *SAID]))))
    assert dataset.report["masked"] == {}
    assert {text for text, _ in SAID} <= {row.text for row in dataset.rows}


def test_rows_that_differ_in_personal_data_alone_are_repeats_once_masked(make_project):
    rows = [(f"my card {number} is lost", "card") for number in ("4111111111111111", "5555555555554444")]
    dataset = prepare(make_project(csv_of([*desk_rows(30), *rows])))
    assert dataset.report["excluded"] == {"exact duplicate": 1}


def test_the_service_stores_what_was_masked_and_the_model_sees_the_same(make_project):
    project = serving(make_project(csv_of(desk_rows(30))))

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        answers = await ask(client, *(text for text, _ in SAID))
        body = {"prediction": answers[0]["id"], "comment": "call 13800138000"}
        assert (await client.post("/v1/feedback", json=body)).status_code == 201

    run(project, scenario)
    vault = open_vault(project)
    assert {given.text for given in read_predictions(vault)} == {
        "mail <EMAIL_ADDRESS> please",
        "我叫<PERSON>，电话<PHONE_NUMBER>",
        "card <CREDIT_CARD> lost",
    }
    assert [said.comment for said in read_opinions(vault)] == ["call <PHONE_NUMBER>"]
    content = kept_bytes(project)
    assert not any(secret in content for secret in SECRETS)


def test_the_service_keeps_what_came_when_masking_is_off(make_project):
    project = unmasked(serving(make_project(csv_of(desk_rows(30)))))

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        await ask(client, "mail ann@example.com please")

    run(project, scenario)
    (given,) = read_predictions(open_vault(project))
    assert given.text == "mail ann@example.com please"


@pytest.mark.parametrize("is_masked", [True, False])
def test_predict_answers_for_the_text_that_training_would_see(desk, is_masked):
    text, masked = "my card is lost, ann@example.com", "my card is lost, <EMAIL_ADDRESS>"
    project = desk if is_masked else unmasked(desk)
    (answer,) = predict(project, [text], top_k=3)
    classifier = load_classifier(desk, "v1")
    expected = np.sort(classifier.probabilities([masked if is_masked else text])[0])[::-1]
    assert answer.probabilities == pytest.approx(expected.tolist())


def test_evaluate_measures_on_masked_rows(desk, tmp_path: Path):
    for name, email in (("one", "ann@example.com"), ("two", "bob.b@example.org")):
        rows = [(f"my card is lost, {email}", "card"), (f"new pin for {email}", "pin")]
        (tmp_path / f"{name}.csv").write_text(csv_of(rows))
    losses = [evaluate(desk, data=tmp_path / f"{name}.csv")[0].log_loss.value for name in ("one", "two")]
    assert losses[0] == losses[1]
