"""Finds what a project holds of a person, by pseudonym: rows, files, datasets, versions, converted bodies."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from millwright.data.dataset import ROWS, Dataset, open_dataset
from millwright.data.prepare import dataset_folder
from millwright.data.weak import weak_files
from millwright.erase.owned_files import rows_of_subject
from millwright.errors import NotFound
from millwright.privacy.holdings import rows_of
from millwright.privacy.keys import KeyStore
from millwright.project import Project
from millwright.records import JsonObject, Row
from millwright.settings import FROZEN, TrainSection
from millwright.store.files import read_json, sha256_file
from millwright.store.tables import datasets
from millwright.train.shards import shard_count, shard_of, weights_sha256


@dataclass(frozen=True)
class Found:
    """What there is of a person.

    `rows` counts sealed rows by table. `files` has rows and sha256 by the file's name in the settings,
    `datasets` by dataset. `versions` were made of those datasets: dataset, method, sha256 of the weights, how
    many of the person's rows taught each, and which shards saw one, if it has any. `unknown_versions` are
    those whose dataset is not here.
    """

    rows: dict[str, int]
    has_key: bool
    files: dict[str, JsonObject]
    not_owned: tuple[str, ...]
    datasets: dict[str, JsonObject]
    versions: dict[str, JsonObject]
    bodies: tuple[str, ...]
    unknown_versions: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """True if nothing is left that an erasure could take away."""
        owned = [name for name in self.files if name not in self.not_owned]
        return not (any(self.rows.values()) or self.has_key or owned or self.datasets or self.versions)

    def to_json(self) -> JsonObject:
        """The counts."""
        return asdict(self)


@dataclass
class Person:
    """A pseudonym, and which names it stands for: each name is hashed once."""

    keys: KeyStore
    pseudonym: str
    _known: dict[str, bool] = field(default_factory=dict)

    def is_whose(self, name: str | None) -> bool:
        """True if a name in a file or a row is that of the person."""
        if not name:
            return False
        if name not in self._known:
            self._known[name] = self.keys.pseudonym(name) == self.pseudonym
        return self._known[name]

    def rows_of(self, rows: Iterable[Row]) -> list[Row]:
        """Those rows that are the person's."""
        return [row for row in rows if self.is_whose(row.subject)]


NOBODY = "nothing in this project belongs to that person; check how files and requests name the person"


def find(project: Project, person: Person, until: str | None = None) -> Found:
    """Look everywhere.

    Args:
        project: an open project.
        person: whom to look for.
        until: leave out what was made of later data: rows of predictions that were given after this hour,
            and datasets that were made after it.

    Returns:
        What there is.

    Raises:
        Corrupt: a dataset was changed, so that nobody can tell whose rows it has.
    """
    files, made_of, there = _files(project, person), _made_of(project), all_datasets(project)
    known, later = {one.id for one in there}, _made_after(project, until)
    mine = {one.id: rows for one in there if (rows := person.rows_of(one.rows)) and one.id not in later}
    ids = {row.id for rows in mine.values() for row in rows}
    versions = {
        path.name: _version(path, mine[dataset]) for path, dataset in made_of.items() if dataset in mine
    }
    return Found(
        rows=sealed_rows(project, person.pseudonym, until),
        has_key=person.pseudonym in person.keys.owners(),
        files=files,
        not_owned=tuple(name for name in files if not is_owned(project, project.folder / name)),
        datasets={
            name: {"rows": len(rows), "sha256": sha256_file(dataset_folder(project) / name / ROWS)}
            for name, rows in mine.items()
        },
        versions=versions,
        bodies=tuple(sorted(_bodies(project, ids, list(versions)))),
        unknown_versions=tuple(path.name for path, dataset in made_of.items() if dataset not in known),
    )


def _version(path: Path, rows: list[Row]) -> JsonObject:
    manifest, taught = read_json(path / "manifest.json"), [row for row in rows if row.split != "test"]
    about = {
        "dataset": manifest["dataset"]["id"],
        "method": manifest["method"],
        "rows_that_taught": len(taught),
        "sha256": weights_sha256(path),
    }
    if count := shard_count(path):
        train = TrainSection.model_validate(manifest["settings"]["train"])
        about.update(shards=count, shards_that_saw=sorted({shard_of(row, train) for row in taught}))
    return about


def _made_after(project: Project, hour: str | None) -> set[str]:
    if hour is None:
        return set()
    with project.database.connect() as connection:
        return set(connection.scalars(select(datasets.c.id).where(datasets.c.created_at > hour)))


def all_datasets(project: Project) -> list[Dataset]:
    """Every dataset on disk, whether or not the database knows it."""
    folder = dataset_folder(project)
    names = sorted(path.name for path in folder.glob("d-*") if path.is_dir()) if folder.exists() else []
    return [open_dataset(project, name) for name in names]


def sealed_rows(project: Project, pseudonym: str, until: str | None = None) -> dict[str, int]:
    """How many rows of a person each table has, of predictions until an hour if one is given."""
    with project.database.connect() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table).where(which)) or 0
            for table, which in rows_of(pseudonym, until)
        }


def is_owned(project: Project, path: Path) -> bool:
    """True if a file lies in the project's folder itself, so that Millwright may write it anew."""
    return path.resolve().is_relative_to(project.folder.resolve())


def _files(project: Project, person: Person) -> dict[str, JsonObject]:
    data, found = project.settings.data, dict[str, JsonObject]()
    for name in (*data.files, *data.test_files, *weak_files(project)):
        if data.subject is None:
            break
        try:
            rows = rows_of_subject(project.folder / name, data.subject, person.is_whose)
        except NotFound:
            continue  # a file that is not there holds nobody
        if rows:
            found[name] = {"rows": len(rows), "sha256": sha256_file(project.folder / name)}
    return found


def _made_of(project: Project) -> dict[Path, str]:
    """The dataset of each version's folder on disk, whether or not the database knows it."""
    folder = project.kept / "versions"
    paths = sorted(folder.glob("v*")) if folder.exists() else []
    return {
        path: read_json(path / "manifest.json")["dataset"]["id"]
        for path in paths
        if (path / "manifest.json").exists()
    }


def _bodies(project: Project, ids: set[str], versions: list[str]) -> set[str]:
    """Converted bodies that a row of the person calibrated, or of versions that saw one."""
    found = set[str]()
    for path in (project.kept / "bodies").glob("*/body.json"):
        if ids & set(read_json(path).get("rows", ())):
            found.add(path.parent.name)
    tuned = [project.kept / "versions" / name for name in versions]
    tuned = [path for path in tuned if read_json(path / "manifest.json")["method"] not in FROZEN]
    if tuned:
        from millwright.serve.torch_body import read_body_key  # PyTorch, only where it must be

        for path in tuned:
            key = read_body_key(path)
            found |= {body.name for body in (project.kept / "bodies").glob(f"{key}-*")}
    return found
