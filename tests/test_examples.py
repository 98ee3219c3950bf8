"""The notebooks in examples/ run from top to bottom, and stand in the repository without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.rglob("*.ipynb"))


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs a notebook in an empty folder and returns it with its outputs."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "work").mkdir()

    def execute(path: Path):
        notebook = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": str(tmp_path / "work")}}
        return NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()

    return execute


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_valid_and_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 12
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
    assert os.path.expanduser("~") not in path.read_text(encoding="utf-8")


@pytest.mark.slow  # the README has the same steps, and its blocks run each time
def test_the_quickstart_trains_measures_and_answers(run, tmp_path):
    ran = run(EXAMPLES / "customer-desk" / "quickstart.ipynb")
    said = "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in code_cells(ran)
        for output in cell.outputs
    )
    assert not [o for cell in code_cells(ran) for o in cell.outputs if o.output_type == "error"]
    assert re.search(r"'the machine ate my card',\s+\('card_swallowed'", said)
    assert "aliases=('champion',)" in said
    assert (tmp_path / "work" / "customer-desk" / "reports" / "evaluation-v1.html").exists()
