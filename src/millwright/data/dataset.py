"""A dataset on disk: an immutable, sealed folder of rows, named by their content."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from millwright.errors import Corrupt
from millwright.records import SPLITS, Excluded, JsonObject, Row
from millwright.store.files import read_json, sealed_folder, verify, write_bytes, write_json

DATASET_FORMAT = 1


@dataclass(frozen=True)
class Dataset:
    """Rows in canonical order (by id), the labels in alphabetical order, and the report made of them."""

    id: str
    rows: tuple[Row, ...]
    report: JsonObject

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that a row has, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    def split(self, *names: str) -> tuple[Row, ...]:
        """The rows of the named splits, in canonical order."""
        assert set(names) <= set(SPLITS), names
        return tuple(row for row in self.rows if row.split in names)


def write_dataset(
    folder: Path, rows: Iterable[Row], report: JsonObject, excluded: Sequence[Excluded]
) -> Dataset:
    """Seal a dataset below `folder` and return it; the same rows give the same id and folder.

    Args:
        folder: where datasets stand.
        rows: every row, in any order.
        report: what `prepare` found.
        excluded: rows that were left out.

    Returns:
        The dataset.

    Raises:
        CannotStore: the disk is full or read-only.
    """
    ordered = tuple(sorted(rows, key=lambda row: row.id))
    content = "".join(json.dumps(_row_json(row), ensure_ascii=False) + "\n" for row in ordered).encode()
    dataset_id = f"d-{hashlib.sha256(content).hexdigest()[:12]}"
    with sealed_folder(folder / dataset_id) as target:
        write_bytes(target / "rows.jsonl", content)
        write_json(target / "report.json", {"format": DATASET_FORMAT, **report})
        lines = (json.dumps(dataclasses.asdict(item), ensure_ascii=False) + "\n" for item in excluded)
        write_bytes(target / "excluded.jsonl", "".join(lines).encode())
    return Dataset(dataset_id, ordered, report)


def read_dataset(folder: Path, dataset_id: str) -> Dataset:
    """Read a dataset back.

    Args:
        folder: where datasets stand.
        dataset_id: its name.

    Returns:
        The dataset.

    Raises:
        Corrupt: a file of it is missing or was changed, or it has an unknown format.
    """
    verify(folder / dataset_id)
    report = read_json(folder / dataset_id / "report.json")
    if report.pop("format", None) != DATASET_FORMAT:
        raise Corrupt(f"dataset {dataset_id} has an unknown format; run `millwright prepare` again")
    text = (folder / dataset_id / "rows.jsonl").read_text(encoding="utf-8")
    rows = tuple(_row_from(json.loads(line)) for line in text.split("\n") if line)
    return Dataset(dataset_id, rows, report)


def _row_json(row: Row) -> JsonObject:
    return {**dataclasses.asdict(row), "slices": dict(row.slices)}


def _row_from(tree: JsonObject) -> Row:
    return Row(**{**tree, "slices": tuple(tree["slices"].items())})
