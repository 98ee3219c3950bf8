"""Projects for tests: a folder of its own, a CSV, a millwright.toml."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from millwright.project import Project, open_project
from millwright.settings import FILENAME, check_settings, dump_settings

SHARED = Path(__file__).parents[2] / "shared" / "data"

MakeProject = Callable[..., Project]


def csv_of(rows: Iterable[Sequence[str]], header: Sequence[str] = ("text", "label")) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


def desk_rows(count: int, labels: Sequence[str] = ("card", "pin", "transfer")) -> list[tuple[str, str]]:
    """Texts that all differ in every word, so that no two are near duplicates."""
    return [(f"w{n} x{n} y{n} z{n}", labels[n % len(labels)]) for n in range(count)]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """A function that writes `rows.csv` (text or bytes) and settings, and opens the project."""

    def make(content: str | bytes, *, name: str = "rows.csv", folder: Path | None = None, **data: object):
        root = folder or tmp_path / "desk"
        root.mkdir(exist_ok=True)
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        settings = check_settings({"data": {"files": [name], **data}}, "test")
        (root / FILENAME).write_text(dump_settings(settings), encoding="utf-8")
        return open_project(root)

    return make
