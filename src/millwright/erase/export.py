"""Everything that a project holds of one person, as JSON and CSV, with a manifest of hashes."""

import csv
import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from sqlalchemy import select

from millwright.data.load import read_table
from millwright.data.table import ROW
from millwright.erase.found import Found, all_datasets, find, not_found
from millwright.erase.owned_files import rows_of_subject
from millwright.erase.people import People
from millwright.errors import BadInput
from millwright.privacy.audit import Details
from millwright.privacy.consent import consents_of, restrictions_of
from millwright.privacy.exported import note_export
from millwright.privacy.holdings import rows_of
from millwright.privacy.vault import Place, Vault, open_vault
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import now
from millwright.store.files import json_text, write_text

EXPORT_FORMAT = 1
MANIFEST = "manifest.json"


def gather(project: Project, subject: str, *, vault: Vault | None = None) -> JsonObject:
    """What a project holds of a person, as lists of rows by kind.

    Args:
        project: an open project.
        subject: as files and requests name the person.
        vault: the project's, where it is open already.

    Returns:
        Lists of flat objects: predictions, opinions, proposed_rows, shadows, survey_asks, failures,
        annotations, review_items, vault_tokens, file_rows, dataset_rows, versions, consents, restrictions.

    Raises:
        NotFound: nothing is known of the person.
    """
    vault = vault or open_vault(project)
    pseudonym = vault.keys.pseudonym(subject)
    person = People(vault.keys, (pseudonym,))
    found = find(project, person)[pseudonym]
    consents = [vars(one) for one in consents_of(project, pseudonym)]
    restrictions = restrictions_of(project, pseudonym)
    if found.is_nothing and not (found.files or consents or restrictions):
        raise not_found(found)
    return {
        **_table_rows(vault, pseudonym),
        "file_rows": _file_rows(project, person, found),
        "dataset_rows": [
            {"dataset": one.id, **vars(row), "slices": dict(row.slices)}
            for one in all_datasets(project)
            for row in person.rows_of(one.rows).get(pseudonym, ())
        ],
        "versions": [{"version": name, **about} for name, about in found.versions.items()],
        "consents": consents,
        "restrictions": [{"kind": kind, "since": since} for kind, since in restrictions.items()],
    }


def export_subject(project: Project, subject: str, folder: Path) -> JsonObject:
    """Write what a project holds of a person into a folder.

    Args:
        project: an open project.
        subject: as files and requests name the person.
        folder: where; it must be empty or missing.

    Returns:
        The manifest: the hour, and rows and sha256 of each file.

    Raises:
        NotFound: nothing is known of the person.
        BadInput: the folder holds something already.
        CannotStore: the folder or the audit log cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty; name a new folder for the export")
    gathered = gather(project, subject)
    texts = {"everything.json": json_text({"subject": subject, **gathered})}
    files: dict[str, JsonObject] = {"everything.json": {}}
    for kind, rows in gathered.items():
        if rows:
            texts[f"{kind}.csv"], files[f"{kind}.csv"] = _csv(rows), {"rows": len(rows)}
    for name, text in texts.items():
        files[name]["sha256"] = _sha256(text)
    keys = open_vault(project).keys
    manifest = {"format": EXPORT_FORMAT, "project": keys.project_id, "at": now(), "files": files}
    texts[MANIFEST] = json_text(manifest)
    details: Details = {"files": len(files), "manifest_sha256": _sha256(texts[MANIFEST])}
    note_export(project, [keys.pseudonym(subject)], details)
    for name, text in texts.items():
        write_text(folder / name, text)
    return manifest


def _table_rows(vault: Vault, pseudonym: str) -> JsonObject:
    """What tables hold of a person, by table: what is sealed opened, bookkeeping as it is."""
    found: JsonObject = {}
    with vault.project.database.connect() as connection:
        for table, which in rows_of(pseudonym):
            found[table.name] = []
            (own,) = table.primary_key.columns
            for row in connection.execute(select(table).where(which).order_by(own)):
                known = dict(row._mapping)
                sealed = known.pop("sealed", None)
                place = Place(table.name, str(known[own.name]), pseudonym)
                found[table.name].append(known | (vault.unseal(place, sealed) if sealed else {}))
    return found


def _file_rows(project: Project, person: People, found: Found) -> list[JsonObject]:
    column, rows = project.settings.data.subject, []
    for name in found.files:
        assert column is not None
        path = project.folder / name
        table, wanted = read_table(path), set(rows_of_subject(path, column, person.is_one))
        for values in table.frame.iter_rows(named=True):
            number = values.pop(ROW)
            if number in wanted:
                rows.append({"file": name, "row": number, **values})
    return rows


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _csv(rows: Sequence[JsonObject]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
