"""Names from outside stay names: none of them reaches a file that its place does not hold.

Every verb that takes a name or a file gets hostile ones, and so do settings and the service. What stands
beside the project must be untouched afterwards, and nothing may be a fault of ours.
"""

import json
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from millwright.erase.erasure import erase
from millwright.errors import CannotStore, Corrupt
from millwright.privacy.access import create_key
from millwright.project import Project, open_project
from millwright.settings import FILENAME, change_settings, dump_settings
from millwright.store.files import SEAL, verify
from tests.conftest import contents, csv_of, desk_rows
from tests.desk import make_desk, telling_rows
from tests.serve.tiny import serving
from tests.surfaces.test_access import bearer
from tests.surfaces.test_cli import run as run_verb
from tests.surfaces.test_service import run

NAMES = ("../up", "{outside}/up", "..", "C:\\up", "a\0b", "x" * 5_000, "v1/../../up")
VERBS = [
    ("versions", "promote", "{}"),
    ("versions", "sign", "{}"),
    ("predict", "card", "--version", "{}"),
    ("evaluate", "--data", "{}"),
    ("privacy", "scan", "{}"),
    ("privacy", "unmask", "--file", "{}"),
    ("subject", "export", "{}", "--to", "out"),
    ("subject", "erase", "{}"),
    ("subject", "erase", "--file", "{}"),
    ("subject", "consent", "{}"),
    ("keys", "create", "{}", "--scope", "predict"),
    ("keys", "revoke", "{}"),
    ("experiment", "stop", "{}"),
    ("feedback", "import", "{}"),
    ("review", "gold", "{}"),
    ("review", "import", "{}", "--tool", "argilla"),
    ("review", "next", "--annotator", "{}"),
    ("receipt", "verify", "{}"),
    ("audit", "verify", "--anchor", "{}"),
    ("weak", "report", "{}"),
]


@pytest.fixture
def beside(tmp_path, desk: Project, monkeypatch) -> Path:
    """The folder with the project in it, and files that are none of its business; the project is here."""
    (tmp_path / "up").write_text("text,label\nmine alone,card\n")
    monkeypatch.chdir(desk.folder)
    return tmp_path


def others(folder: Path) -> dict[str, bytes]:
    """Everything beside the project."""
    return {name: held for name, held in contents(folder).items() if not name.startswith("desk/")}


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_name_on_the_command_line_reaches_beside_the_project(verb, beside, capsys):
    before = others(beside)
    for name in NAMES:
        code = run_verb(*(word.replace("{}", name.replace("{outside}", str(beside))) for word in verb))
        said = capsys.readouterr()
        assert code in (0, 1, 2), name
        assert "internal error" not in said.err, (name[:20], said.err[:300])
        assert others(beside) == before, name


@pytest.mark.parametrize("section", ["project.name", "data.files", "privacy.key_store"])
def test_no_name_in_the_settings_writes_beside_the_project(section, make_project, tmp_path, capsys):
    project = make_project(csv_of(desk_rows(30)))
    (tmp_path / "up").write_text("text,label\nmine alone,card\n")
    part, key = section.split(".")
    before = others(tmp_path)
    for name in ("../up", "{outside}/up", "..", "x" * 5_000):
        value = name.replace("{outside}", str(tmp_path))
        if section == "privacy.key_store" and Path(value).name == "up":
            continue  # a database that is named by a path is meant to be there
        wanted = [value] if key.endswith("files") else value
        settings = change_settings(project.settings, part, **{key: wanted})
        (project.folder / FILENAME).write_text(dump_settings(settings), encoding="utf-8")
        code = run_verb("prepare", "--project", project.folder)
        assert code in (0, 1, 2), name
        assert "internal error" not in capsys.readouterr().err, name[:20]
        assert others(tmp_path) == before, name


def test_a_file_whose_name_is_as_long_as_can_be_is_measured_and_reported(desk, tmp_path):
    held = tmp_path / f"{'x' * 251}.csv"
    held.write_text(csv_of(telling_rows(6, seed=5)))
    assert run_verb("evaluate", "--data", held, "--project", desk.folder) == 0
    (page,) = desk.reports.glob("evaluation-v1-x*.html")
    assert page.stat().st_size > 0


def test_no_name_in_a_request_is_a_path(make_project, tmp_path):
    project = serving(make_project(csv_of(desk_rows(30))))
    _, key = create_key(project, "officer", ["admin", "unmask"])
    (tmp_path / "up").write_text("mine alone")
    before = others(tmp_path)

    async def scenario(client: httpx.AsyncClient, _: FastAPI) -> None:
        for name in (name.replace("{outside}", str(tmp_path)) for name in NAMES):
            bodies = {
                "/v1/predictions": {"inputs": ["card"], "version": name},
                "/v1/feedback": {"prediction": name, "rating": 5},
                "/v1/reviews": {"item": name, "annotator": name, "label": name},
                "/v1/reviews/undo": {"annotator": name},
                "/v1/subjects/export": {"subject": name},
                "/v1/subjects/erase": {"subject": name},
                "/v1/unmask": {"texts": [name]},
            }
            for path, body in bodies.items():
                answer = await client.post(path, json=body, headers=bearer(key))
                assert answer.status_code < 500, (path, name[:20], answer.text[:300])
                assert "mine alone" not in answer.text
            for path in ("/v1/surveys/next?prediction=", "/v1/reviews/next?annotator=", "/docs/", "/v1/"):
                quoted = str(httpx.QueryParams({"q": name}))[2:]
                answer = await client.get(f"{path}{quoted}", headers=bearer(key))
                assert answer.status_code < 500, (path, name[:20], answer.text[:300])
                assert "mine alone" not in answer.text
        assert others(tmp_path) == before

    run(project, scenario)


def test_a_seal_that_names_files_elsewhere_vouches_for_nothing(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    (tmp_path / "up").write_text("mine alone")
    for name in ("../up", str(tmp_path / "up")):
        (folder / SEAL).write_text(json.dumps({"format": 1, "sha256": {name: "0" * 64}}))
        with pytest.raises(Corrupt, match="is missing"):
            verify(folder)


@pytest.mark.parametrize("part", ["versions/v1", "cache"])
def test_an_erasure_deletes_nothing_behind_a_link(tmp_path, encoder, part):
    """Who may write into the project's folder must not turn an erasure against the rest of the disk."""
    rows = [(text, label, f"who{n % 30}") for n, (text, label) in enumerate(telling_rows(150))]
    project = make_desk(
        tmp_path / "desk", encoder, rows, header=("text", "label", "who"), data={"subject": "who"}
    )
    assert run_verb("train", "--project", project.folder) == 0
    kept, elsewhere = project.kept / part, tmp_path / "elsewhere"
    kept.rename(elsewhere)
    kept.symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "mine").write_text("mine alone")
    with suppress(CannotStore, Corrupt):  # what was put there may be told
        erase(open_project(project.folder), "who3")
    assert (elsewhere / "mine").read_text() == "mine alone"
