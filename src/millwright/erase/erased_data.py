"""The steps of an erasure that need no training: sealed rows, files, cached features, bodies, datasets."""

import shutil
from pathlib import Path

from sqlalchemy import delete

from millwright.data.prepare import dataset_folder
from millwright.erase.found import all_datasets, is_owned
from millwright.erase.owned_files import without_subject
from millwright.erase.work import Work
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.tombstones import delete_said
from millwright.records import JsonObject
from millwright.registry.versions import DATASET, note_retired
from millwright.store.database import now
from millwright.store.files import read_json, sha256_file, storing
from millwright.store.tables import datasets


def erase_rows(work: Work) -> None:
    """Destroy the person's key, keep a signed tombstone, delete what the person said and was told.

    The key goes first: a server that writes at this moment either wrote before the rows are deleted, or
    sees that the key is gone and makes a new one, for what is said from now on.
    """
    person = work.person
    if "tombstone" not in work.record:
        stone = make_tombstone(person.keys, person.pseudonym, now())
        person.keys.destroy(stone)
        work.record["tombstone"] = stone
    delete_said(work.project.database, person.pseudonym, work.record["tombstone"]["erased_at"])


def erase_files(work: Work) -> None:
    """Write labelled files in the project's folder anew without the person; name those that lie elsewhere."""
    project, data = work.project, work.project.settings.data
    done = work.record.setdefault("files", {})
    left = work.record.setdefault("left_to_you", {})
    for name, about in work.record["found"]["files"].items():
        rows, path = about["rows"], project.folder / name
        if name in done or name in left or data.subject is None:
            continue
        if not is_owned(project, path):
            left[name] = f"{rows} rows in a file outside of the project's folder; delete them there"
        elif not without_subject(path, data.subject, work.person.is_whose).is_done:
            left[name] = f"{rows} rows in a file that could not be cut safely; delete them by hand"
        else:
            done[name] = {"rows": rows, "sha256_before": about["sha256"], "sha256_after": sha256_file(path)}


def erase_cache(work: Work) -> None:
    """Forget cached features of the person's texts, and drop the runs' checkpoints and curves."""
    from millwright.train.cache import forget, text_key  # PyTorch, only where it must be

    texts = {row.text for dataset in all_datasets(work.project) for row in work.person.rows_of(dataset.rows)}
    count = forget(work.project.kept / "cache", [text_key(text) for text in texts])
    runs = work.project.kept / "runs"
    removed = sorted(path.name for path in runs.iterdir()) if runs.exists() else []
    with storing(runs):
        shutil.rmtree(runs, ignore_errors=not removed)
    add(work.record, "cached_features", count)
    work.record["runs"] = sorted({*work.record.get("runs", []), *removed})


def erase_bodies(work: Work) -> None:
    """Delete converted networks that the person's rows calibrated or taught, and what says to use them."""
    for name in work.record["found"]["bodies"]:
        for path in (work.project.kept / "runtimes").glob("*/runtime.json"):
            if read_json(path)["body"] == name:
                remove(path.parent)
        remove(work.project.kept / "bodies" / name)


def erase_datasets(work: Work) -> None:
    """Delete datasets that held the person, and the reports about them."""
    project, successor = work.project, work.record.get("successor_dataset")
    done = work.record.setdefault("datasets", {})
    for name, about in work.record["found"]["datasets"].items():
        folder = dataset_folder(project) / name
        done[name] = {**about, "successor": successor}
        with project.database.begin() as connection:
            connection.execute(delete(datasets).where(datasets.c.id == name))
            note_retired(connection, DATASET, name, successor, work.id)
        remove(folder)
        _remove_report(work, f"data-{name}.html")


def erase_reports_of(work: Work, version: str) -> None:
    """Delete the evaluations of a version, its audits and the cards with them."""
    kinds = ("evaluation", "membership", "card")
    for path in sorted(
        path for kind in kinds for path in work.project.reports.glob(f"{kind}-{version}[.-]*")
    ):
        _remove_report(work, path.name)


def add(record: JsonObject, name: str, count: int) -> None:
    """Add to a count of the record."""
    record[name] = record.get(name, 0) + count


def _remove_report(work: Work, name: str) -> None:
    path = work.project.reports / name
    if path.exists():
        path.unlink()
        work.record["reports"] = sorted({*work.record.get("reports", []), name})


def remove(folder: Path) -> None:
    """Delete a folder so that a kill leaves all of it, or a rest that the next call deletes."""
    going = folder.with_name(f".{folder.name}.erased")
    with storing(folder):
        if going.exists():
            shutil.rmtree(going)
        if folder.exists():
            folder.rename(going)
            shutil.rmtree(going)
