"""What each verb loads: what needs no network does not wait for torch, and help waits for nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import insert

import millwright
from millwright.data.prepare import prepare
from millwright.errors import MissingExtra
from millwright.project import Project
from millwright.registry.versions import promote
from millwright.serve.runtime_record import (
    TORCH,
    Candidate,
    RuntimeRecord,
    candidates_on,
    this_machine,
    write_runtime,
)
from millwright.store.database import now
from millwright.store.tables import versions
from millwright.surfaces import cli
from tests.conftest import csv_of, desk_rows, place_version

NETWORK = {"torch", "transformers", "peft", "sklearn", "tensorboardX", "optuna", "safetensors"}
HEAVY = NETWORK | {"polars", "fastapi", "uvicorn", "sqlalchemy", "alembic", "matplotlib", "numpy", "scipy"}
VERB = """
import sys
from millwright.surfaces.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("LOADED", *sys.modules)
"""


def loaded(code: str, *arguments: str | Path) -> set[str]:
    """The modules that a process has when it ends, having run `code`."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.fixture
def desk(make_project) -> Project:
    """A project with two versions that hold a manifest, v2 the champion after v1."""
    project = make_project(csv_of(desk_rows(60)))
    dataset = prepare(project).id
    for number in (1, 2):
        info = {
            "name": f"v{number}",
            "number": number,
            "dataset": dataset,
            "method": "head",
            "accuracy": 0.5,
            "created_at": now(),
        }
        manifest = {
            "name": info["name"],
            "created_at": info["created_at"],
            "dataset": {"id": dataset, "splits": {"train": 40, "validation": 10, "test": 0}},
            "backbone": {"name": "minilm"},
            "labels": ["card", "pin"],
            "method": "head",
            "why": "asked for",
            "metrics": None,
            "facts": {"stages": {"head": {"seconds": 1.5, "rows_per_second": 40}}, "peak_memory_bytes": 5e8},
        }
        place_version(project, **manifest)
        with project.database.begin() as connection:
            connection.execute(insert(versions).values(**info))
        timed = tuple(Candidate(name, 9.0) for name in candidates_on(this_machine().gpu, "auto"))
        write_runtime(project, RuntimeRecord(f"v{number}", TORCH, None, timed, this_machine(), 1.0))
        promote(project, f"v{number}", "test")
    return project


@pytest.mark.parametrize(
    "verb",
    [
        ("prepare",),
        ("settings",),
        ("versions", "list"),
        ("versions", "show", "v1"),
        ("versions", "promote", "v1"),
        ("versions", "rollback"),
    ],
    ids=" ".join,
)
def test_a_verb_that_needs_no_network_does_not_load_one(verb, desk):
    assert loaded(VERB, *verb, "--project", desk.folder) & NETWORK == set()


@pytest.mark.parametrize("from_file", [True, False])
def test_new_loads_neither_a_network_nor_what_talks_to_others_or_migrates(from_file, tmp_path):
    (tmp_path / "rows.csv").write_text(csv_of(desk_rows(60)))
    source = ("--data", tmp_path / "rows.csv") if from_file else ("--template", "customer-desk")
    assert loaded(VERB, "new", tmp_path / "desk", *source) & (NETWORK | {"alembic", "httpx"}) == set()


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("--version",)], ids=" ".join)
def test_help_and_version_load_nothing_heavy(arguments):
    assert loaded(VERB, *arguments) & HEAVY == set()


def test_importing_the_package_loads_nothing_but_the_standard_library():
    code = "import sys\nimport millwright\nprint('LOADED', *sys.modules)"
    before = loaded("import sys, importlib.metadata\nprint('LOADED', *sys.modules)")
    tops = {name.partition(".")[0] for name in loaded(code) - before}
    assert tops - {"millwright"} <= sys.stdlib_module_names


def test_the_probe_would_see_torch():
    assert "torch" in loaded("import sys, torch\nprint('LOADED', *sys.modules)")


@pytest.fixture
def without_optuna(monkeypatch) -> None:
    """An import of it ends as that of what is not installed."""
    monkeypatch.setitem(sys.modules, "optuna", None)


def test_a_search_without_optuna_gives_the_pip_line_and_touches_nothing(make_project, without_optuna, capsys):
    project = make_project(csv_of(desk_rows(60)))
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "--method", "top", "--search", "2", "--project", str(project.folder)])
    assert end.value.code == 1
    said = capsys.readouterr()
    assert said.err == "error: a search needs Optuna; run: pip install optuna\n"
    assert not project.kept.exists()


def test_a_search_in_python_without_optuna_raises_before_anything_is_prepared(make_project, without_optuna):
    project = make_project(csv_of(desk_rows(60)))
    with pytest.raises(MissingExtra) as raised:
        millwright.train(millwright.open(project.folder), trials=1)
    assert raised.value.status == 501
    assert not project.kept.exists()


def test_the_extra_of_the_pip_line_exists_and_the_dev_install_has_it():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert [line.partition(">")[0] for line in extras["search"]] == ["optuna"]
    assert not any(line.startswith("optuna") for line in declared["dependencies"])
    assert "millwright[search]" in extras["dev"]
