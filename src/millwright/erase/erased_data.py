"""The steps of an erasure that need no training: sealed rows, files, cached features, bodies, datasets.

Each is done once for everyone who is erased, and noted for each of them alone.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from sqlalchemy import Connection, delete, select

from millwright.data.prepare import dataset_folder
from millwright.data.spill import spilling
from millwright.data.weak import weak_files
from millwright.erase.found import all_datasets, is_owned
from millwright.erase.owned_files import ERASING, without_subjects
from millwright.erase.work import Case, Work
from millwright.privacy.receipts import make_tombstone
from millwright.privacy.tombstones import delete_said
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.signatures import BODIES, RUNTIMES, drop_signature
from millwright.registry.versions import DATASET, note_retired, retire, withdraw
from millwright.store.database import now
from millwright.store.files import read_json, sha256_file, storing
from millwright.store.tables import aliases, datasets, versions

LOST = "a version that rows of the person taught, whose folder is not here; delete it where it is"


def erase_rows(work: Work) -> None:
    """Destroy the people's keys, keep signed tombstones, delete what they said and were told.

    The keys go first: a server that writes at this moment either wrote before the rows are deleted, or
    sees that the key is gone and makes a new one, for what is said from now on.
    """
    stones = _destroy_keys(work, [case for case in work.cases if "tombstone" not in case.record])
    for case in work.cases:
        case.record.setdefault("tombstone", stones.get(case.pseudonym))
        delete_said(work.project.database, case.pseudonym, case.record["tombstone"]["erased_at"])


def _destroy_keys(work: Work, cases: Sequence[Case]) -> dict[str, JsonObject]:
    """Destroy the keys of some people; the tombstones by pseudonym.

    Nobody seals a row meanwhile: one that a key sealed which is gone after the hour of the tombstone would
    be neither deleted nor readable.
    """
    keys = work.people.keys
    if not cases:
        return {}
    with work.project.database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        hour = now()
        stones = {case.pseudonym: make_tombstone(keys, case.pseudonym, hour) for case in cases}
        keys.destroy_all(list(stones.values()))
    return stones


def erase_files(work: Work) -> None:
    """Write labelled files in the project's folder anew without the people; name those that lie elsewhere.

    What killed commands left half-written goes too: nobody reads it, and it may hold anybody.
    """
    _erase_leftovers(work.project)
    column = work.project.settings.data.subject
    for case in work.cases:
        case.record.setdefault("files", {})
        case.record.setdefault("left_to_you", {})
    for name, cases in work.names("files").items():
        rest = [
            case
            for case in cases
            if name not in case.record["files"] and name not in case.record["left_to_you"]
        ]
        if rest and column is not None:
            _erase_file(work, name, column, rest)


def _erase_leftovers(project: Project) -> None:
    for name in (*project.settings.data.files, *project.settings.data.test_files, *weak_files(project)):
        for path in {project.folder / name, (project.folder / name).resolve()}:
            if is_owned(project, path.parent):
                left = path.parent.glob(f".{escape(path.name)}.*.part")
                _remove_all([*left, *path.parent.glob(f"{ERASING}*")])
    for part in ("datasets", "versions", "bodies", "runtimes", "cache", "cache/*"):
        _remove_all([*project.kept.glob(f"{part}/.*.part"), *project.kept.glob(f"{part}/.*.erased")])
    with spilling(project.kept):
        pass  # which removes what was abandoned


def _remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        with storing(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _erase_file(work: Work, name: str, column: str, cases: Sequence[Case]) -> None:
    path, left = work.project.folder / name, None
    if not is_owned(work.project, path):
        left = "rows in a file outside of the project's folder; delete them there"
    elif not without_subjects(path, column, work.people.is_one).is_done:
        left = "rows in a file that could not be cut safely; delete them by hand"
    sha256 = sha256_file(path) if left is None else None
    for case in cases:
        about = case.found("files")[name]
        if left is not None:
            case.record["left_to_you"][name] = f"{about['rows']} {left}"
        else:
            hashes = {"sha256_before": about["sha256"], "sha256_after": sha256}
            case.record["files"][name] = {"rows": about["rows"], **hashes}


def erase_cache(work: Work) -> None:
    """Forget cached features of the people's texts, and drop the runs' checkpoints and curves."""
    from millwright.train.cache import forget, text_key  # PyTorch, only where it must be

    keys: dict[str, set[str]] = {case.pseudonym: set() for case in work.cases}
    for dataset in all_datasets(work.project):
        for person, rows in work.people.rows_of(dataset.rows).items():
            keys[person].update(text_key(row.text) for row in rows)
    counts = Counter(forget(work.project.kept / "cache", set().union(*keys.values())))
    runs = work.project.kept / "runs"
    removed = {path.name for path in runs.iterdir()} if runs.exists() else set()
    with storing(runs):
        shutil.rmtree(runs, ignore_errors=not removed)
    for case in work.cases:
        case.add("cached_features", sum(counts[key] for key in keys[case.pseudonym]))
        case.list_too("runs", removed)


def erase_bodies(work: Work) -> None:
    """Delete converted networks that the people's rows calibrated or taught, and what says to use them."""
    for name in sorted({name for case in work.cases for name in case.record["found"]["bodies"]}):
        for path in (work.project.kept / RUNTIMES).glob("*/runtime.json"):
            if read_json(path)["body"] == name:
                remove_signed(work.project, RUNTIMES, path.parent.name)
        remove_signed(work.project, BODIES, name)


def erase_datasets(work: Work) -> None:
    """Delete datasets that held one of the people, and the reports about them."""
    for case in work.cases:
        case.record.setdefault("datasets", {})
    for name, cases in work.names("datasets").items():
        successor = cases[0].successor_dataset
        with work.project.database.begin() as connection:
            _retire_lost(work, connection, name, cases)
            connection.execute(delete(datasets).where(datasets.c.id == name))
            note_retired(connection, DATASET, name, successor, cases[0].id)
        remove(dataset_folder(work.project) / name)
        _remove_report(work, f"data-{name}.html", cases)
        for case in cases:
            case.record["datasets"][name] = {**case.found("datasets")[name], "successor": successor}


def _retire_lost(work: Work, connection: Connection, dataset: str, cases: Sequence[Case]) -> None:
    """Strike versions of a dataset off the list whose folders somebody took away: nothing else finds them."""
    made = select(versions.c.name).where(versions.c.dataset == dataset).order_by(versions.c.number)
    for version in connection.scalars(made).all():
        meaning = select(aliases.c.alias).where(aliases.c.version == version)
        for alias_name in connection.scalars(meaning).all():
            withdraw(work.project, connection, alias_name, "a person was erased, its folder was not there")
        retire(connection, version, None, cases[0].id)
        for case in cases:
            case.record["left_to_you"][version] = LOST


def erase_reports_of(work: Work, version: str, cases: Sequence[Case]) -> None:
    """Delete the evaluations of a version that saw these people, its audits and the cards with them."""
    kinds = ("evaluation", "membership", "card")
    for path in sorted(
        path for kind in kinds for path in work.project.reports.glob(f"{kind}-{version}[.-]*")
    ):
        _remove_report(work, path.name, cases)


def _remove_report(work: Work, name: str, cases: Sequence[Case]) -> None:
    path = work.project.reports / name
    if path.exists():
        path.unlink()
        for case in cases:
            case.list_too("reports", {name})


def remove_signed(project: Project, kind: str, name: str) -> None:
    """`remove` a folder that was signed, and its signature; `kind` as of `sign`."""
    remove(project.kept / kind / name)
    drop_signature(project, kind, name)


def remove(folder: Path) -> None:
    """Delete a folder so that a kill leaves all of it, or a rest that the next call deletes."""
    going = folder.with_name(f".{folder.name}.erased")
    with storing(folder):
        if going.exists():
            shutil.rmtree(going)
        if folder.exists():
            folder.rename(going)
            shutil.rmtree(going)
