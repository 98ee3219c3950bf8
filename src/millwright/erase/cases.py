"""The table of erasures: begun together, taken up after a kill, closed one by one with a receipt each."""

from collections.abc import Collection, Mapping
from importlib.metadata import version as installed_version
from uuid import uuid4

from sqlalchemy import insert, select, update

from millwright.erase.found import UNREADABLE, Found
from millwright.erase.work import Case, Work
from millwright.privacy.audit import record as note
from millwright.privacy.receipts import write_receipt
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import now
from millwright.store.tables import erasures

LIMITS = (
    "What was sent to others, printed, exported or backed up outside of the project is not reached; a "
    "tombstone erases the person again when a backup is restored.",
    "Rows that do not name the person in the subject column, or name another spelling, are not found.",
    "What was said without a subject rests under the project's key and cannot be traced to a person.",
    "Settings that were chosen on data with the person in it (the split seed, a search) stay as they are.",
    "Deleted files are unlinked; what a disk keeps of unlinked blocks is the disk's: encrypt it.",
    "Hashes after are those of what is there now; more than the person's rows may have gone from it.",
)
LOOK_YOURSELF = f"{UNREADABLE}; look for the person's and delete them there"
EXPORTED = "a copy of rows of the person that left the project; delete it where it is"
UNKNOWN = "a version whose dataset is not here, so nobody can tell whom it saw; train another and delete it"


def begin(project: Project, found: Mapping[str, Found]) -> tuple[Case, ...]:
    """Note that people are being erased together, before anything of them is changed."""
    hour, batch, cases = now(), uuid4().hex, list[Case]()
    with project.database.begin() as connection:
        for pseudonym, about in found.items():
            record: JsonObject = {"found": about.to_json(), "started_at": hour, "batch": batch}
            case = Case(uuid4().hex, pseudonym, record)
            values = {"id": case.id, "subject": pseudonym, "started_at": hour, "record": record}
            connection.execute(insert(erasures).values(**values))
            note(project, "erasure begun", subject=pseudonym, details={"erasure": case.id})
            cases.append(case)
    return tuple(cases)


def unfinished(project: Project, pseudonyms: Collection[str]) -> list[tuple[Case, ...]]:
    """The unfinished erasures of these people, with those who were to be erased together with them."""
    with project.database.connect() as connection:
        chosen = select(erasures).where(erasures.c.finished_at.is_(None)).order_by(erasures.c.started_at)
        rows = connection.execute(chosen).all()
    batches = dict[str, list[Case]]()
    for row in rows:
        batch = row.record.get("batch", row.id)  # earlier releases erased one person at a time
        batches.setdefault(batch, []).append(Case(row.id, row.subject, dict(row.record)))
    return [tuple(cases) for cases in batches.values() if any(case.pseudonym in pseudonyms for case in cases)]


def join(case: Case, found: Found) -> None:
    """Let what appeared of a person since an erasure was begun join what was found then.

    The successor dataset is made anew if it is one of those found, or if others appeared after it.
    """
    there, then = found.to_json(), case.record["found"]
    if there["datasets"].keys() - then["datasets"].keys() or case.successor_dataset in there["datasets"]:
        case.record.pop("successor_dataset", None)
    for name in there["files"].keys() & case.record.get("files", {}).keys():  # cut already, and back
        del case.record["files"][name]
        there["files"][name]["rows"] += then["files"].pop(name)["rows"]
    for part in ("files", "datasets", "versions"):
        then[part] = {**there[part], **then[part]}
    then["bodies"] = sorted({*then["bodies"], *there["bodies"]})


def finished(project: Project, pseudonym: str) -> list[str]:
    """The ids of a person's finished erasures, oldest first."""
    with project.database.connect() as connection:
        chosen = select(erasures.c.id).where(erasures.c.subject == pseudonym)
        return list(
            connection.scalars(
                chosen.where(erasures.c.finished_at.is_not(None)).order_by(erasures.c.finished_at)
            )
        )


def close(work: Work, case: Case, after: Found) -> str:
    """Sign what was done with one person's data, and close the erasure.

    Args:
        work: the erasure.
        case: the person's part of it.
        after: what there still is of the person.

    Returns:
        The name of the receipt's file.
    """
    record, found, keys = case.record, case.record["found"], work.people.keys
    path = write_receipt(
        work.project,
        keys,
        {
            "id": case.id,
            "subject": case.pseudonym,
            "millwright": installed_version("millwright"),
            "started_at": record["started_at"],
            "erased_at": record["tombstone"]["erased_at"],
            "finished_at": now(),
            "found": found,
            "data_key": "destroyed" if found["has_key"] else "there was none",
            "tombstone": record["tombstone"],
            "rows_deleted": found["rows"],
            "files_rewritten": record["files"],
            "cached_features_forgotten": record["cached_features"],
            "bodies_deleted": found["bodies"],
            "runs_deleted": record["runs"],
            "reports_deleted": record.get("reports", []),
            "datasets": record["datasets"],
            "versions": record["versions"],
            "found_afterwards": after.to_json(),
            "left_to_you": {
                **record["left_to_you"],
                **{name: UNKNOWN for name in after.unknown_versions},
                **{
                    f"unreadable rows of {name}": f"{count} {LOOK_YOURSELF}"
                    for name, count in after.unreadable.items()
                },
                **{f"export of {hour}": f"{told}; {EXPORTED}" for hour, told in after.exports.items()},
            },
            "limits": list(LIMITS),
        },
    )
    with work.project.database.begin() as connection:
        values = {"finished_at": now(), "record": {"receipt": path.name}}
        connection.execute(update(erasures).where(erasures.c.id == case.id).values(**values))
        details: dict[str, str | int | float | bool | None] = {
            "erasure": case.id,
            "versions": len(record["versions"]),
            "datasets": len(record["datasets"]),
        }
        note(work.project, "erased", subject=case.pseudonym, details=details)
    return path.name
