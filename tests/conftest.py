"""Projects for tests: a folder of its own, a CSV, a millwright.toml."""

import csv
import io
import os
import resource
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from millwright.privacy.sealed import (
    store_failures,
    store_opinions,
    store_predictions,
    store_proposed,
    store_shadows,
    stream_predictions,
    take_write_lock,
)
from millwright.privacy.vault import Vault, open_vault
from millwright.project import Project, open_project
from millwright.records import Failure, Opinion, Prediction, ProposedRow, Shadow
from millwright.registry.signatures import VERSIONS, sign
from millwright.settings import FILENAME, check_settings, dump_settings
from millwright.store.files import sealed_folder, write_json

SHARED = Path(os.environ.get("MILLWRIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))

STORES = {
    Prediction: store_predictions,
    Shadow: store_shadows,
    Failure: store_failures,
    Opinion: store_opinions,
}
MakeProject = Callable[..., Project]

# They start processes that train with the built-in backbone, or train often. Where two processes share the
# tests, those that take long come first, so that neither waits for the other at the end.
LONG_MODULES = (
    "test_wheel",
    "test_run",
    "test_loop",
    "test_runtimes",
    "test_interrupted",
    "test_methods",
    "test_fit",
    "test_erasure",
    "test_erased_shards",
    "test_shards",
    "test_search",
    "test_tune",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take long first; within a module the order stays."""
    place = {name: number for number, name in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG_MODULES)))


def csv_of(rows: Iterable[Sequence[str]], header: Sequence[str] = ("text", "label")) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


def desk_rows(count: int, labels: Sequence[str] = ("card", "pin", "transfer")) -> list[tuple[str, str]]:
    """Texts that all differ in every word, so that no two are near duplicates."""
    return [(f"w{n} x{n} y{n} z{n}", labels[n % len(labels)]) for n in range(count)]


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Refuse to this process whatever would make a file longer, as a full disk refuses (and root too)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(database: Engine) -> Iterator[None]:
    """Another process writes to a database, and this one waits for it no longer than an instant."""
    with database.connect() as connection:  # the pool hands the same connection to whoever comes next
        connection.exec_driver_sql("PRAGMA busy_timeout=10")
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def contents(folder: Path, but: Sequence[str] = ()) -> dict[str, bytes]:
    """Every file below a folder that no process has open as a database, but for names that end so."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith((".db", ".db-wal", ".db-shm", ".lock", *but))
    }


def keep(project: Project, *records: Prediction | Shadow | Failure | Opinion | ProposedRow) -> None:
    """Store records as the service and the turn do."""
    vault = open_vault(project)
    with project.database.begin() as connection:
        take_write_lock(connection, vault)
        for kind, store in STORES.items():
            store(connection, vault, [record for record in records if isinstance(record, kind)])
        for record in records:
            if isinstance(record, ProposedRow):
                store_proposed(connection, vault, record)


def read_predictions(vault: Vault, subject: str | None = None) -> list[Prediction]:
    """Predictions in the order they were given, of one pseudonym if it is named."""
    found = sorted(stream_predictions(vault), key=lambda given: given.created_at)
    return [given for given in found if subject is None or vault.pseudonym(given.subject) == subject]


def place_version(project: Project, name: str, **manifest: object) -> None:
    """A sealed and signed version that holds a manifest alone."""
    with sealed_folder(project.kept / "versions" / name) as folder:
        write_json(folder / "manifest.json", {"name": name, **manifest})
    sign(project, VERSIONS, name)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """A folder with a tiny encoder, the same in every test."""
    from tests.desk import save_encoder

    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory, encoder: Path) -> Path:
    """A project whose champion v1 knows its labels well. Copy it, don't touch it."""
    from millwright.steps import train
    from tests.desk import make_desk, telling_rows

    project = make_desk(tmp_path_factory.mktemp("trained") / "desk", encoder, telling_rows(150))
    train(project)
    project.database.dispose()  # the last connection empties the log into the file
    return project.folder


@pytest.fixture
def desk(tmp_path: Path, trained_folder: Path) -> Project:
    """A trained project of the test's own."""
    from tests.desk import copy_desk

    return copy_desk(trained_folder, tmp_path / "desk")


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
