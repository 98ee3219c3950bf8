"""Docs that cannot drift: blocks run, every verb, setting, route and metric is documented."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import millwright
from millwright.scaffold import TEMPLATES
from millwright.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def block(page: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S).group(1)


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "make"), [("cli.md", "cli_page"), ("settings.md", "settings_page")])
def test_generated_pages_are_fresh(page, make):
    assert (DOCS / page).read_text(encoding="utf-8") == getattr(generator(), make)()


def test_every_setting_is_documented():
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    keys = [key for field in Settings.model_fields.values() for key in field.annotation.model_fields]
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert len(keys) <= 60


def test_every_route_and_metric_is_documented():
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    files = (ROOT / "src/millwright/surfaces").glob("*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    routes = re.findall(r'@(?:app|router)\.(?:get|post)\(\s*"([^"]+)"', source)
    metrics = re.findall(r'"(millwright_[a-z_]+)"', source)
    assert len(routes) == 6
    assert len(metrics) == 9, metrics
    assert [name for name in routes + metrics if name not in text] == []


def test_the_python_block_of_the_readme_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", block("README.md", "python")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("v1 0.")


def test_the_shell_block_of_the_readme_runs(tmp_path):
    (tmp_path / "tickets.csv").write_bytes((TEMPLATES / "customer-desk" / "tickets.csv").read_bytes())
    script = block("README.md", "bash").replace(
        "millwright ", f"{sys.executable} -m millwright.surfaces.cli "
    )
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "desk" / "reports").glob("evaluation-v1.html"))


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_both_readmes_have_the_two_commands_the_picture_and_the_tree(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    tree = set(re.findall(r"[├└]── ([\w.]+)", text))
    there = {path.name for path in (ROOT / "src/millwright").iterdir() if not path.name.startswith("__")}
    assert tree == there
    assert all(part in text for part in ("make demo", "make test", "docs/turns.svg"))


def test_public_names_are_at_most_twenty_and_all_there():
    assert len(millwright.__all__) <= 20
    assert all(getattr(millwright, name) is not None for name in millwright.__all__)
