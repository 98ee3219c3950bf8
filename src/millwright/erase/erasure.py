"""Erases one person: a walk from left to right, each step of which may be repeated after a kill.

What was found and done stands in the table of erasures after each step, so a second call goes on where the
first one stopped, and the receipt tells all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert, select, update

from millwright.erase.erased_data import (
    erase_bodies,
    erase_cache,
    erase_datasets,
    erase_files,
    erase_rows,
)
from millwright.erase.erased_models import erase_versions, make_successor_dataset, train_successors
from millwright.erase.found import NOBODY, Found, Person, find
from millwright.erase.work import Work
from millwright.errors import BadInput, Busy, NotFound
from millwright.privacy.audit import record as note
from millwright.privacy.consent import HELD, restrictions_of
from millwright.privacy.receipts import receipt_folder, write_receipt
from millwright.privacy.tombstones import delete_said
from millwright.privacy.vault import Vault, open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.versions import CHALLENGER, CHAMPION, alias
from millwright.serve.available import check_runtime
from millwright.store.database import now, scrub
from millwright.store.files import read_json
from millwright.store.tables import erasures

LIMITS = (
    "What was sent to others, printed, exported or backed up outside of the project is not reached; a "
    "tombstone erases the person again when a backup is restored.",
    "Rows that do not name the person in the subject column, or name another spelling, are not found.",
    "Settings that were chosen on data with the person in it (the split seed, a search) stay as they are.",
    "Deleted files are unlinked; what a disk keeps of unlinked blocks is the disk's: encrypt it.",
)
UNKNOWN = "a version whose dataset is not here, so nobody can tell whom it saw; train another and delete it"


def _scrub(work: Work) -> None:
    scrub(work.project.database)


STEPS: tuple[tuple[str, Callable[[Work], None]], ...] = (
    ("rows", erase_rows),
    ("files", erase_files),
    ("cached features", erase_cache),
    ("bodies", erase_bodies),
    ("dataset", make_successor_dataset),
    ("successors", train_successors),
    ("versions", erase_versions),
    ("datasets", erase_datasets),
    ("database", _scrub),
)


@dataclass(frozen=True)
class Erased:
    """The receipt of an erasure and its file."""

    receipt: JsonObject
    path: Path


def plan_erasure(project: Project, subject: str, *, vault: Vault | None = None) -> Found:
    """What an erasure of a person would find; nothing is changed. `vault` spares opening another one."""
    keys = (vault or open_vault(project)).keys
    return find(project, Person(keys, keys.pseudonym(subject)))


def erase(
    project: Project,
    subject: str,
    *,
    withdraw_only: bool = False,
    progress: Progress = quiet,
    vault: Vault | None = None,
) -> Erased:
    """Erase a person from rows, files, features, datasets and models; or go on with an erasure.

    Args:
        project: an open project.
        subject: as files and requests name the person.
        withdraw_only: take versions whose body was tuned out of service instead of training them anew;
            a head is always trained anew, it takes seconds.
        progress: called with a step's name and the fraction done.
        vault: the project's, where it is open already.

    Returns:
        The signed receipt. If nothing is left to erase, that of the last erasure.

    Raises:
        NotFound: nothing is known of the person.
        BadInput: the person is under a legal hold.
        Busy: a training, a turn or another erasure runs; or the person appeared again meanwhile.
        MissingExtra: a version must be trained anew and `serve.runtime` names a runtime whose packages are
            missing; nothing was changed then.
    """
    vault = vault or open_vault(project)
    pseudonym = vault.keys.pseudonym(subject)
    return erase_pseudonym(project, vault, pseudonym, withdraw_only=withdraw_only, progress=progress)


def erase_pseudonym(
    project: Project, vault: Vault, pseudonym: str, *, withdraw_only: bool = False, progress: Progress = quiet
) -> Erased:
    """Erase the person of a pseudonym; see `erase`."""
    with project.lock("erase"), project.lock("turn"), project.lock("train"), project.lock("review"):
        if HELD in (restrictions := restrictions_of(project, pseudonym)):
            raise BadInput(
                f"a legal hold keeps this person's data since {restrictions[HELD]}; lift it first with "
                "`millwright subject hold --lift`"
            )
        person = Person(vault.keys, pseudonym)
        work = Work("", project, vault, person, {}, withdraw_only, progress)
        if _resume(work):
            _check_runtime(work, work.record["found"]["versions"])
        else:
            found = find(project, person)
            if found.is_nothing:
                return _last(project, pseudonym)
            _check_runtime(work, found.versions)
            _begin(work, found)
        for place, (name, step) in enumerate(STEPS):
            progress(f"erase: {name}", place / len(STEPS))
            step(work)
            with project.database.begin() as connection:
                work.keep(connection)
        return _finish(work)


def _check_runtime(work: Work, versions: Mapping[str, JsonObject]) -> None:
    """Refuse a forced runtime that cannot be had, if a version that serves must be trained anew."""
    serving = {alias(work.project, name) for name in (CHAMPION, CHALLENGER)}
    methods = {about["method"] for name, about in versions.items() if name in serving}
    if methods and not (work.withdraw_only and "head" not in methods):
        check_runtime(work.project.settings)


def erasures_of(project: Project, pseudonym: str) -> list[str]:
    """The ids of a person's finished erasures, oldest first."""
    with project.database.connect() as connection:
        chosen = select(erasures.c.id).where(erasures.c.subject == pseudonym)
        return list(
            connection.scalars(
                chosen.where(erasures.c.finished_at.is_not(None)).order_by(erasures.c.finished_at)
            )
        )


def _resume(work: Work) -> bool:
    """Take up an unfinished erasure of the person; what appeared since joins what was found then."""
    with work.project.database.connect() as connection:
        chosen = select(erasures).where(erasures.c.subject == work.person.pseudonym)
        row = connection.execute(chosen.where(erasures.c.finished_at.is_(None))).first()
    if row is None:
        return False
    work.id, work.record = row.id, dict(row.record)
    now_found, then = find(work.project, work.person).to_json(), work.record["found"]
    for part in ("files", "datasets", "versions"):
        then[part] = {**now_found[part], **then[part]}
    then["bodies"] = sorted({*then["bodies"], *now_found["bodies"]})
    return True


def _begin(work: Work, found: Found) -> None:
    work.id, work.record = uuid4().hex, {"found": found.to_json(), "started_at": now()}
    with work.project.database.begin() as connection:
        connection.execute(
            insert(erasures).values(
                id=work.id,
                subject=work.person.pseudonym,
                started_at=work.record["started_at"],
                record=work.record,
            )
        )
        note(work.project, "erasure begun", subject=work.person.pseudonym, details={"erasure": work.id})


def _finish(work: Work) -> Erased:
    """Look again; sign what was done; close the erasure."""
    erased_at = work.record["tombstone"]["erased_at"]
    if delete_said(work.project.database, work.person.pseudonym, erased_at):  # what was under way then
        scrub(work.project.database)
    after = find(work.project, work.person)
    if after.datasets or after.versions or any(name not in after.not_owned for name in after.files):
        raise Busy("the person appeared again while being erased; run the same command again")
    record = work.record
    path = write_receipt(
        work.project,
        work.person.keys,
        {
            "id": work.id,
            "subject": work.person.pseudonym,
            "millwright": installed_version("millwright"),
            "started_at": record["started_at"],
            "erased_at": erased_at,
            "finished_at": now(),
            "found": record["found"],
            "data_key": "destroyed" if record["found"]["has_key"] else "there was none",
            "tombstone": record["tombstone"],
            "rows_deleted": record["found"]["rows"],
            "files_rewritten": record["files"],
            "cached_features_forgotten": record["cached_features"],
            "bodies_deleted": record["found"]["bodies"],
            "runs_deleted": record["runs"],
            "reports_deleted": record.get("reports", []),
            "datasets": record["datasets"],
            "versions": record["versions"],
            "found_afterwards": after.to_json(),
            "left_to_you": {
                **record["left_to_you"],
                **{name: UNKNOWN for name in after.unknown_versions},
            },
            "limits": list(LIMITS),
        },
    )
    with work.project.database.begin() as connection:
        connection.execute(
            update(erasures)
            .where(erasures.c.id == work.id)
            .values(finished_at=now(), record={"receipt": path.name})
        )
        details: dict[str, str | int | float | bool | None] = {
            "erasure": work.id,
            "versions": len(record["versions"]),
            "datasets": len(record["datasets"]),
        }
        note(work.project, "erased", subject=work.person.pseudonym, details=details)
    return _read(path)


def _last(project: Project, pseudonym: str) -> Erased:
    done = erasures_of(project, pseudonym)
    if not done:
        raise NotFound(NOBODY)
    return _read(receipt_folder(project) / f"{done[-1]}.json")


def _read(path: Path) -> Erased:
    return Erased(read_json(path), path)
