"""A project that tokenises: it trains as one that masks does; an erasure takes a person's values along."""

import csv
import json
from pathlib import Path

import pytest
from sqlalchemy import select

from millwright.data.dataset import ROWS
from millwright.data.prepare import dataset_folder, prepare
from millwright.erase.erasure import erase
from millwright.erase.export import gather
from millwright.erase.found import all_datasets
from millwright.privacy.consent import OBJECTED, restrict
from millwright.privacy.unmask import tokens_in, unmask
from millwright.privacy.vault import open_vault
from millwright.project import Project, open_project
from millwright.registry.versions import CHAMPION, alias
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.steps import evaluate, train
from millwright.store.tables import vault_tokens
from tests.conftest import csv_of
from tests.desk import make_desk
from tests.erase.people import DATA, HEADER, files_with, owned_rows, plan_erasure

EXACT = ("weights.safetensors", "classifier.json", "tokenizer.json")


def mailed_rows() -> list[tuple[str, str, str]]:
    """Rows of which each has an address of its person; the third of each person another one besides."""
    return [
        (f"{text} {who}{'.canary' if who == 'alma' else ''}@example.com", label, who)
        for text, label, who in owned_rows()
    ]


def desk(folder: Path, encoder: Path, policy: str, rows=None) -> Project:
    made = make_desk(folder, encoder, rows or mailed_rows(), header=HEADER, data=DATA)
    settings = change_settings(made.settings, "privacy", policies={"EMAIL_ADDRESS": policy})
    (folder / FILENAME).write_text(dump_settings(settings))
    return open_project(folder)


def weights(project: Project, version: str) -> dict[str, bytes]:
    return {name: (project.kept / "versions" / version / name).read_bytes() for name in EXACT}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder) -> Project:
    project = desk(tmp_path_factory.mktemp("tokens") / "desk", encoder, "tokenise")
    train(project)
    return project


def test_a_dataset_holds_one_token_a_person_and_every_one_has_its_value(trained):
    (dataset,) = all_datasets(trained)
    tokens = {row.subject: tokens_in(row.text) for row in dataset.rows}
    assert len(tokens) == 5
    assert all(len(own) == 1 for own in tokens.values())
    given = {f"{row.text}" for row in dataset.rows}
    found = unmask(open_vault(trained), sorted(given), by="test")
    assert (found.unknown, found.restored) == ((), len(given))
    with (trained.folder / "rows.csv").open() as file:
        assert set(found.texts) <= {row["text"] for row in csv.DictReader(file)}


def test_preparing_again_makes_the_same_dataset(trained):
    assert prepare(open_project(trained.folder)).id == all_datasets(trained)[0].id


def test_the_version_is_the_one_that_a_project_trains_which_only_masks(trained, tmp_path, encoder):
    other = desk(tmp_path / "desk", encoder, "mask")
    train(other)
    assert weights(trained, "v1") == weights(other, "v1")
    own, masked = all_datasets(trained)[0], all_datasets(other)[0]
    assert [(row.id, row.split, row.label) for row in own.rows] == [
        (row.id, row.split, row.label) for row in masked.rows
    ]
    assert own.id != masked.id


def test_evaluating_a_file_stores_nothing_and_knows_rows_that_were_learnt(trained):
    with trained.database.connect() as connection:
        before = len(connection.execute(select(vault_tokens)).all())
    evaluation, _ = evaluate(trained, data=trained.folder / "rows.csv")
    assert any("trained on" in note for note in evaluation.notes)
    with trained.database.connect() as connection:
        assert len(connection.execute(select(vault_tokens)).all()) == before == 5


def test_an_export_tells_the_values_and_a_plan_counts_them(trained):
    gathered = gather(trained, "alma")
    (one,) = gathered["vault_tokens"]
    assert (one["entity"], one["value"]) == ("EMAIL_ADDRESS", "alma.canary@example.com")
    assert plan_erasure(trained, "alma").rows["vault_tokens"] == 1


def test_an_erasure_leaves_no_value_and_the_version_that_never_saw_the_person(tmp_path, encoder):
    project = desk(tmp_path / "desk", encoder, "tokenise")
    train(project)
    token = tokens_in(next(row.text for row in all_datasets(project)[0].rows if row.subject == "alma")).pop()
    receipt = erase(project, "alma").receipt
    assert receipt["rows_deleted"]["vault_tokens"] == 1
    champion = alias(project, CHAMPION)
    never = desk(tmp_path / "never", encoder, "tokenise", [row for row in mailed_rows() if row[2] != "alma"])
    train(never)
    assert champion is not None
    assert weights(project, champion) == weights(never, "v1")
    found = unmask(open_vault(project), [f"<EMAIL_ADDRESS:{token}>"], by="test")
    assert found.erased == (f"<EMAIL_ADDRESS:{token}>",)
    assert files_with(project.folder, b"canary") == []
    assert files_with(project.folder / "reports", token.encode()) == []
    rows = [path for path in dataset_folder(project).glob(f"*/{ROWS}")]
    assert not any(token in path.read_text() for path in rows)


@pytest.mark.parametrize("why", ["erased", "objected"])
def test_rows_that_may_not_teach_get_no_token(tmp_path, encoder, why):
    """A file outside of the project's folder still has the person's rows: none of their values is kept."""
    outside = tmp_path / "elsewhere.csv"
    outside.write_text(csv_of(mailed_rows(), HEADER))
    project = desk(tmp_path / "desk", encoder, "tokenise")
    settings = change_settings(project.settings, "data", files=["../elsewhere.csv"])
    (project.folder / FILENAME).write_text(dump_settings(settings))
    project = open_project(project.folder)
    keys = open_vault(project).keys
    if why == "erased":
        prepare(project)
        erase(project, "alma")
    else:
        restrict(project, "alma", OBJECTED)
    dataset = prepare(project)
    assert {row.subject for row in dataset.rows} == {"bob", "cyd", "dan", "eve"}
    with project.database.connect() as connection:
        owners = set(connection.scalars(select(vault_tokens.c.subject)))
    assert owners == {keys.pseudonym(name) for name in ("bob", "cyd", "dan", "eve")}
    assert keys.pseudonym("alma") not in open_vault(project).keys.owners()
    masked = json.loads((dataset.folder / "report.json").read_text())["masked"]
    assert masked == {"EMAIL_ADDRESS": sum(row[2] != "alma" for row in mailed_rows())}
