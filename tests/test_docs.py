"""Docs that cannot drift: blocks run, every verb, setting, route and metric is documented.

The README's blocks of shell commands are run by the journey of the wheel.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import millwright
from millwright.settings import Settings, check_settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MILLWRIGHT = f"{sys.executable} -m millwright.surfaces.cli"


PAGES = ["README.md", "README.zh.md", "SECURITY.md", "CONTRIBUTING.md", "examples/README.md"]
PAGES += [f"docs/{path.name}" for path in sorted(DOCS.glob("*.md"))]
RUN = {
    "README.md": ["bash", "console", "python"],
    "docs/privacy.md": ["bash", "python", "toml"],
}  # README.zh.md has the same blocks, which a test compares
NOT_RUN = {"sh", "text", "json"}  # make targets, trees and bodies, checked below


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M)


def block(page: str, language: str) -> str:
    (found,) = [content for name, content in blocks(page) if name == language]
    return found


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
    assert len(keys) <= 67


def test_defaults_stand_in_the_page_of_settings_as_they_may_be_written():
    tree: dict[str, dict[str, object]] = {}
    for line in (DOCS / "settings.md").read_text(encoding="utf-8").splitlines():
        if section := re.fullmatch(r"## `\[(\w+)\]`", line):
            own = tree[section[1]] = {}
        elif row := re.fullmatch(r"\| `(\w+)` \| `(.*?)` \| .* \|", line):
            own[row[1]] = tomllib.loads(f"value = {row[2]}")["value"]
    assert tree["backbone"]["name"] == "minilm"
    assert check_settings(tree, "docs/settings.md") == Settings()
    unset = {key: value for key, value in Settings().train if key not in tree["train"]}
    assert unset == {"epochs": None, "batch_size": None, "learning_rate": None}


def test_the_page_of_commands_tells_defaults_and_the_options_of_millwright_itself():
    lines = (DOCS / "cli.md").read_text(encoding="utf-8").splitlines()
    for told in (
        "- `--debug`: Show tracebacks.",
        "- `--window`: How many users make a sample. (default: 500)",
        "- `--gently`: Work when nothing else wants the cores, within run.memory_gib.",
        "- `--project`: Folder of the project, or one below it.",
    ):
        assert told in lines


def test_every_route_and_metric_is_documented():
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    files = (ROOT / "src/millwright/surfaces").glob("*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    routes = re.findall(r'@(?:app|router)\.(?:get|post)\(\s*"([^"]+)"', source)
    metrics = re.findall(r'"(millwright_[a-z_]+)"', source)
    assert len(routes) == 20
    assert len(metrics) == 15, metrics
    assert [name for name in routes + metrics if name not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_one_that_a_test_looks_at(page):
    languages = [language for language, _ in blocks(page)]
    expected = RUN["README.md"] if page == "README.zh.md" else RUN.get(page, [])
    assert sorted(set(languages) - NOT_RUN) == expected


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([\w-]+)`", text))
    for language, content in blocks(page):
        if language == "sh":
            named |= set(re.findall(r"^make ([\w-]+)", content, re.M))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_json_block_is_json_and_every_link_leads_somewhere(page):
    for language, content in blocks(page):
        assert language != "json" or json.loads(content)
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_chinese_readme_has_the_same_blocks_tables_and_sections():
    def outline(page: str) -> list[tuple[str, str]]:
        text = (ROOT / page).read_text(encoding="utf-8")
        return [(line[:2], "") for line in text.splitlines() if line.startswith(("# ", "##", "|"))]

    def code(page: str) -> list[tuple[str, str]]:
        found = [(name, content) for name, content in blocks(page) if name != "text"]
        return [(name, re.sub(r" +# .*", "", content)) for name, content in found]

    assert code("README.zh.md") == code("README.md")
    assert outline("README.zh.md") == outline("README.md")


@pytest.mark.slow  # the steps of the shell block, on all rows of the template
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


def test_the_blocks_of_the_privacy_page_run(tmp_path):
    (tmp_path / "tickets.csv").write_text("text,label\nwrite to ada@example.com,mail\n")
    scan = block("docs/privacy.md", "bash").replace("millwright ", f"{MILLWRIGHT} ")
    said = subprocess.run(
        ["sh", "-ec", scan], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "EMAIL_ADDRESS" in said
    for language, settings in blocks("docs/privacy.md"):
        if language == "toml":
            check_settings(tomllib.loads(settings), "docs/privacy.md")
    python = [sys.executable, "-c", block("docs/privacy.md", "python")]
    said = subprocess.run(python, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "[('PERSON', 'Ada Lovelace'), ('EMAIL_ADDRESS', 'ada@example.com')]",
        "My name is Ada Lovelace, <EMAIL_ADDRESS>",
    ]


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_both_readmes_have_the_two_commands_the_picture_and_the_tree(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    tree = set(re.findall(r"[├└]── ([\w.]+)", text))
    there = {path.name for path in (ROOT / "src/millwright").iterdir() if not path.name.startswith("__")}
    there.remove("py.typed")  # says to type checkers that there are types
    assert tree == there
    assert all(part in text for part in ("make demo", "make test", "docs/turns.svg"))


def test_public_names_are_at_most_twenty_and_all_there():
    assert len(millwright.__all__) <= 20
    assert all(getattr(millwright, name) is not None for name in millwright.__all__)
