"""Imports run one way: a module may import from its own layer and those before it."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

import millwright.errors

ROOT = Path(millwright.errors.__file__).parent
LAYERS = (
    *("errors", "machine", "progress", "proportions", "records", "settings", "store", "project"),
    *("modalities", "privacy", "webhooks"),
    *(
        "data",
        "weak",
        "scaffold",
        "train",
        "registry",
        "membership",
        "serve",
        "feedback",
        "opinions",
        "experiment",
        "review",
    ),
    *(
        "drift",
        "turns",
        "reports",
        "steps",
        "loop",
        "erase",
        "runner",
        "bench",
        "demo",
        "surfaces",
        "__main__",
    ),
)
DATA_ONLY = {"templates"}


def layer(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def later_imports(root: Path, layers: Sequence[str]) -> list[str]:
    """Imports under `root` of a later layer, as 'file:line imports name'."""
    found = []
    for path in sorted(root.rglob("*.py")):
        own = layer(path, root)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                top, target = [*name.split("."), ""][:2]
                if top == root.name and target in layers and layers.index(own) < layers.index(target):
                    found.append(f"{path.name}:{node.lineno} imports {name}")
    return found


def layers_of(root: Path) -> set[str]:
    """Modules of `root` and folders that hold code."""
    return {layer(path, root) for path in root.rglob("*.py")} - {"__init__"}


def test_no_module_imports_a_later_layer():
    assert later_imports(ROOT, [*LAYERS, "__init__"]) == []


def test_every_module_and_folder_has_a_layer():
    assert layers_of(ROOT) - DATA_ONLY <= set(LAYERS)


@pytest.mark.parametrize(
    "line", ["import mill.serve", "from mill import serve", "from mill.serve.engine import run"]
)
def test_the_check_can_fail(tmp_path, line):
    (tmp_path / "mill").mkdir()
    (tmp_path / "mill" / "data.py").write_text(line)
    assert later_imports(tmp_path / "mill", ["data", "serve"]) != []


def test_an_import_inside_a_function_is_seen_too(tmp_path):
    (tmp_path / "mill" / "data").mkdir(parents=True)
    (tmp_path / "mill" / "data" / "load.py").write_text("def f():\n    from mill.serve import run\n")
    assert later_imports(tmp_path / "mill", ["data", "serve"]) == ["load.py:2 imports mill.serve.run"]


def test_imports_of_earlier_and_own_layers_are_fine(tmp_path):
    (tmp_path / "mill").mkdir()
    (tmp_path / "mill" / "serve.py").write_text("import mill.data\nimport mill.serve\nimport json\n")
    assert later_imports(tmp_path / "mill", ["data", "serve"]) == []


def test_a_folder_without_a_layer_is_seen(tmp_path):
    (tmp_path / "mill" / "extra").mkdir(parents=True)
    (tmp_path / "mill" / "extra" / "__init__.py").write_text("")
    (tmp_path / "mill" / "pictures").mkdir()
    assert layers_of(tmp_path / "mill") == {"extra"}
