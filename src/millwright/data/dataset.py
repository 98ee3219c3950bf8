"""A dataset on disk: an immutable, sealed folder of rows, named by their content."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from millwright.errors import Corrupt
from millwright.privacy.sealed_lines import MARK, LinesKey
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import SPLITS, JsonObject, Row
from millwright.store.files import (
    SEAL,
    is_whole,
    make_folder,
    read_json,
    sealed_folder,
    storing,
    verify,
    write_json,
)

DATASET_FORMAT = 1
ROWS, EXCLUDED, REPORT = "rows.jsonl", "excluded.jsonl", "report.json"
OLD = ".old"  # ends the name of a dataset that is being replaced


@dataclass(frozen=True)
class Dataset:
    """Rows in canonical order (by id), and the report made of them. Rows are read at first use.

    `key` opens the file of rows where it is sealed.
    """

    id: str
    folder: Path
    report: JsonObject
    key: LinesKey | None = field(default=None, compare=False, repr=False)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every row, in memory; raises Corrupt if the file is not the one that named the dataset."""
        content = (self.folder / ROWS).read_bytes()
        if self.key is not None:
            content = self.key.unseal(content)
        if _name_of(hashlib.sha256(content).hexdigest()) != self.id:
            raise Corrupt(f"{self.folder / ROWS} is not what was written; run `millwright prepare` again")
        return tuple(_row_from(json.loads(line)) for line in content.split(b"\n") if line)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every label that a row has, sorted."""
        return tuple(sorted(self.report["labels"]))

    def split(self, *names: str) -> tuple[Row, ...]:
        """The rows of the named splits, in canonical order."""
        assert set(names) <= set(SPLITS), names
        return tuple(row for row in self.rows if row.split in names)


def write_lines(path: Path, lines: Iterable[bytes], key: LinesKey | None = None) -> str:
    """Write lines that come in pieces, and return the hex sha256 of all of them.

    Args:
        path: the file.
        lines: pieces that end with a line feed.
        key: seals what is written, if given.

    Returns:
        The hash of the lines, whether or not they are sealed.

    Raises:
        CannotStore: the disk is full or read-only.
    """
    hashed = hashlib.sha256()
    with storing(path), path.open("wb") as file:
        if key is not None:
            file.write(MARK)
        for piece in lines:
            file.write(piece if key is None else key.seal(piece))
            hashed.update(piece)
        file.flush()
        os.fsync(file.fileno())
    return hashed.hexdigest()


def seal_dataset(
    folder: Path,
    rows: Path,
    sha256: str,
    report: JsonObject,
    excluded: Iterable[bytes],
    key: LinesKey | None = None,
) -> Dataset:
    """Seal a dataset below `folder` and return it; the same rows give the same id and folder.

    What stands there is replaced if its report, its excluded rows or whether its rows are sealed is another,
    or if it is damaged.

    Args:
        folder: where datasets stand.
        rows: a file of rows as JSON lines in the order of their ids. It is moved, and the dataset is
            made beside it, so that a kill leaves no half of one among the datasets.
        sha256: its hash, which `write_lines` returned.
        report: what `prepare` found.
        excluded: rows that were left out, as JSON lines.
        key: opens the file of rows, if it is sealed.

    Returns:
        The dataset.

    Raises:
        CannotStore: the disk is full or read-only.
    """
    name = _name_of(sha256)
    with sealed_folder(rows.parent / name) as target:
        rows.rename(target / ROWS)
        write_json(target / REPORT, {"format": DATASET_FORMAT, **report})
        write_lines(target / EXCLUDED, excluded)
    make_folder(folder)
    with storing(folder):
        settle_replaced(folder)
        made, standing, aside = rows.parent / name, folder / name, folder / f".{name}{OLD}"
        if not standing.exists():
            made.rename(standing)
        elif not is_whole(standing) or _what_may_differ(standing) != _what_may_differ(made):
            standing.rename(aside)
            try:
                made.rename(standing)
            except OSError:
                aside.rename(standing)
                raise
            shutil.rmtree(aside)
    return Dataset(name, folder / name, report, key)


def settle_replaced(folder: Path) -> None:
    """End what a kill cut off while a dataset was replaced; the caller holds the lock of `prepare`.

    Where the new one does not stand yet the old one stands again, else it goes.

    Args:
        folder: where datasets stand.

    Raises:
        CannotStore: the folder is read-only.
    """
    for aside in folder.glob(f".d-*{OLD}"):
        standing = folder / aside.name.removeprefix(".").removesuffix(OLD)
        with storing(standing):
            shutil.rmtree(aside) if standing.exists() else aside.rename(standing)


def dataset_folder(project: Project) -> Path:
    """Where the project's datasets stand."""
    return project.kept / "datasets"


def open_dataset(project: Project, dataset_id: str) -> Dataset:
    """Read a project's dataset back, sealed or not; see `read_dataset`."""
    return read_dataset(dataset_folder(project), dataset_id, LinesKey(open_vault(project)))


def read_dataset(folder: Path, dataset_id: str, key: LinesKey | None = None) -> Dataset:
    """Read a dataset back.

    Args:
        folder: where datasets stand.
        dataset_id: its name.
        key: opens the file of rows where it is sealed.

    Returns:
        The dataset.

    Raises:
        Corrupt: a file of it is missing or was changed, or it has an unknown format.
    """
    verify(folder / dataset_id)
    report = read_json(folder / dataset_id / REPORT)
    if report.pop("format", None) != DATASET_FORMAT:
        raise Corrupt(f"dataset {dataset_id} has an unknown format; run `millwright prepare` again")
    return Dataset(dataset_id, folder / dataset_id, report, key)


def _what_may_differ(folder: Path) -> tuple[bool, list[str]]:
    """Of datasets of the same rows: whether those are sealed, and the hashes of what stands beside them."""
    with (folder / ROWS).open("rb") as file:
        is_sealed = file.read(len(MARK)) == MARK
    sha256 = read_json(folder / SEAL)["sha256"]
    return is_sealed, [sha256[name] for name in (REPORT, EXCLUDED)]


def _name_of(sha256: str) -> str:
    return f"d-{sha256[:12]}"


def _row_from(tree: JsonObject) -> Row:
    return Row(**{**tree, "slices": tuple(tree["slices"].items())})
