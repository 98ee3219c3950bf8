"""Finds what a project holds of people, by pseudonym: rows, files, datasets, versions, converted bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import func, select

from millwright.data.dataset import ROWS, Dataset, open_dataset
from millwright.data.prepare import dataset_folder
from millwright.data.weak import weak_files
from millwright.erase.owned_files import rows_by_owner
from millwright.erase.people import People
from millwright.errors import NotFound
from millwright.privacy.exported import exports_of
from millwright.privacy.holdings import rows_of
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
    those whose dataset is not here. `unreadable` counts by file the rows that cannot be read: they may be
    anybody's. `exports` says what was written out of the project, by the hour.
    """

    rows: dict[str, int]
    has_key: bool
    files: dict[str, JsonObject]
    not_owned: tuple[str, ...]
    datasets: dict[str, JsonObject]
    versions: dict[str, JsonObject]
    bodies: tuple[str, ...]
    unknown_versions: tuple[str, ...]
    unreadable: dict[str, int]
    exports: dict[str, str]

    @property
    def owned_files(self) -> set[str]:
        """The files that lie in the project, so that an erasure may write them anew."""
        return self.files.keys() - set(self.not_owned)

    @property
    def is_in_data(self) -> bool:
        """True if a file of the project, a dataset or a version holds something of the person."""
        return bool(self.owned_files or self.datasets or self.versions)

    @property
    def is_nothing(self) -> bool:
        """True if nothing is left that an erasure could take away."""
        return not (any(self.rows.values()) or self.has_key or self.is_in_data)

    def to_json(self) -> JsonObject:
        """The counts."""
        return asdict(self)


UNREADABLE = "rows that cannot be read, so nobody can tell whose they are"
NOBODY = "nothing in this project belongs to that person; check how files and requests name the person"


def not_found(about: Found) -> NotFound:
    """The error that says that nothing is known of a person, but for rows that may be anybody's."""
    files = "".join(f"; {name} has {count} {UNREADABLE}" for name, count in about.unreadable.items())
    return NotFound(f"{NOBODY}{files}")


def find(project: Project, people: People, until: Mapping[str, str] | None = None) -> dict[str, Found]:
    """Look for people in every part of a project; files and datasets are read once for all of them.

    Args:
        project: an open project.
        people: whom to look for.
        until: the hour of each person, as `now` writes it: then predictions and datasets count that were made
            until then.

    Returns:
        What there is of each of them, by pseudonym.

    Raises:
        Corrupt: a dataset was changed, so that nobody can tell whose rows it has.
    """
    files, unreadable = _files(project, people)
    datasets_there, hours = all_datasets(project), until or {}
    made_at = _made_at(project) if until else {}
    own = {one.id: people.rows_of(one.rows) for one in datasets_there}
    hashes = {name: sha256_file(dataset_folder(project) / name / ROWS) for name, rows in own.items() if rows}
    made, holders, exports = _versions(project), _Bodies(project), exports_of(project, people.pseudonyms)
    found, owners = dict[str, Found](), set(people.keys.owners())
    for person in people.pseudonyms:
        hour = hours.get(person)
        mine = {
            name: rows[person]
            for name, rows in own.items()
            if person in rows and (hour is None or made_at.get(name, "") <= hour)
        }
        versions = {one.name: one.taught_by(mine[one.dataset]) for one in made if one.dataset in mine}
        there = {name: about[person] for name, about in files.items() if person in about}
        found[person] = Found(
            rows=sealed_rows(project, person, hour),
            has_key=person in owners,
            files=there,
            not_owned=tuple(name for name in there if not is_owned(project, project.folder / name)),
            datasets={name: {"rows": len(rows), "sha256": hashes[name]} for name, rows in mine.items()},
            versions=versions,
            bodies=holders.of({row.id for rows in mine.values() for row in rows}, list(versions)),
            unknown_versions=tuple(one.name for one in made if one.dataset not in own),
            unreadable=unreadable,
            exports=exports.get(person, {}),
        )
    return found


@dataclass(frozen=True)
class _Version:
    """A version's folder on disk, whether or not the database knows it, and the dataset that made it."""

    path: Path
    manifest: JsonObject

    @property
    def name(self) -> str:
        """The version's name."""
        return self.path.name

    @property
    def dataset(self) -> str:
        """The id of its dataset."""
        return str(self.manifest["dataset"]["id"])

    @cached_property
    def _about(self) -> JsonObject:
        about = {"dataset": self.dataset, "method": self.manifest["method"]}
        return {**about, "sha256": weights_sha256(self.path)}

    def taught_by(self, rows: list[Row]) -> JsonObject:
        """What is said of the version to a person with these rows in its dataset."""
        taught = [row for row in rows if row.split != "test"]
        about = {**self._about, "rows_that_taught": len(taught)}
        if count := shard_count(self.path):
            train = TrainSection.model_validate(self.manifest["settings"]["train"])
            about.update(shards=count, shards_that_saw=sorted({shard_of(row, train) for row in taught}))
        return about


def _versions(project: Project) -> list[_Version]:
    folder = project.kept / "versions"
    paths = sorted(folder.glob("v*")) if folder.exists() else []
    return [
        _Version(path, read_json(path / "manifest.json"))
        for path in paths
        if (path / "manifest.json").exists()
    ]


class _Bodies:
    """The converted bodies of a project: which rows calibrated each, whose weights each holds."""

    def __init__(self, project: Project) -> None:
        self.project = project
        paths = sorted((project.kept / "bodies").glob("*/body.json"))
        self.calibrated_by = {path.parent.name: set(read_json(path).get("rows", ())) for path in paths}
        self._keys = dict[str, str | None]()

    def of(self, ids: set[str], versions: Sequence[str]) -> tuple[str, ...]:
        """Bodies that a row of these calibrated, or of these versions, if their rows moved the body."""
        found = {name for name, rows in self.calibrated_by.items() if ids & rows}
        keys = {key for key in map(self._key, versions) if key is not None}
        return tuple(sorted(found | {name for name in self.calibrated_by if name.rpartition("-")[0] in keys}))

    def _key(self, version: str) -> str | None:
        """The key of a version's body, None if the body is the backbone's."""
        if version not in self._keys:
            path = self.project.kept / "versions" / version
            self._keys[version] = None
            if read_json(path / "manifest.json")["method"] not in FROZEN:
                from millwright.serve.torch_body import read_body_key  # PyTorch, only where it must be

                self._keys[version] = read_body_key(path)
        return self._keys[version]


def _made_at(project: Project) -> dict[str, str]:
    """When the datasets that the database knows were made."""
    with project.database.connect() as connection:
        return {row.id: row.created_at for row in connection.execute(select(datasets))}


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


def _files(project: Project, people: People) -> tuple[dict[str, dict[str, JsonObject]], dict[str, int]]:
    """Rows and sha256 of each file that holds one of them, by file and pseudonym; unreadable rows by file."""
    data, found, unreadable = project.settings.data, dict[str, dict[str, JsonObject]](), dict[str, int]()
    for name in (*data.files, *data.test_files, *weak_files(project)):
        if data.subject is None:
            break
        try:
            holders = rows_by_owner(project.folder / name, data.subject, people.owner)
        except NotFound:
            continue  # a file that is not there holds nobody
        if holders.unreadable:
            unreadable[name] = holders.unreadable
        if holders.rows:
            sha256 = sha256_file(project.folder / name)
            found[name] = {
                person: {"rows": count, "sha256": sha256} for person, count in holders.rows.items()
            }
    return found, unreadable
