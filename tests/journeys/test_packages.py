"""The packages that users install: built without a network, complete, and working outside the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "millwright"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory) -> Path:
    """A folder that holds the wheel's files and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = packages.glob("millwright-*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", folder, wheel, cwd=folder)
    return folder


def millwright(installed: Path, cwd: Path, *arguments: str) -> str:
    code = "from millwright.surfaces.cli import main; main()"
    return run(sys.executable, "-c", code, *arguments, cwd=cwd, PYTHONPATH=str(installed))


def test_the_wheel_holds_every_file_of_the_source(packages):
    (wheel,) = packages.glob("millwright-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("millwright/")}
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert packed == {f"millwright/{path.relative_to(SOURCE).as_posix()}" for path in files}


def test_the_sdist_holds_what_the_tests_and_the_readme_need(packages):
    (sdist,) = packages.glob("millwright-*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    needed = ("README.md", "README.zh.md", "LICENSE", "Makefile", "constraints.txt", "docs/turns.svg")
    assert set(needed) <= names
    assert {"tests/conftest.py", "examples/customer-desk/quickstart.ipynb", ".ci/run"} <= names


def test_what_was_installed_is_used_and_not_the_checkout(installed, tmp_path):
    code = "import millwright; print(millwright.__file__)"
    said = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(said.strip()) == installed / "millwright" / "__init__.py"
    assert millwright(installed, tmp_path, "--version") == "0.1.0\n"


def test_an_installed_wheel_makes_and_prepares_a_project(installed, tmp_path):
    millwright(installed, tmp_path, "new", "desk", "--template", "customer-desk")
    millwright(installed, tmp_path, "prepare", "--project", "desk")
    assert (tmp_path / "desk" / "tickets.csv").exists()
    assert (tmp_path / "desk" / ".millwright" / "store.db").exists()  # the migrations came along
    assert list((tmp_path / "desk" / "reports").glob("data-d-*.html"))  # the pages' templates too
    assert millwright(installed, tmp_path, "versions", "list", "--project", "desk")


def test_the_console_script_is_the_command_line(installed, tmp_path):
    (script,) = (installed / "bin").glob("millwright*")
    said = run(sys.executable, script, "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert said == "0.1.0\n"
