"""Seals what people said, each person's rows with a key of their own, and opens them again.

A sealed row is AES-256-GCM over JSON, bound to project, person, table, row and format: moved to another row
or person it no longer opens.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from sqlalchemy import delete, select, update

from millwright.errors import BadInput, Corrupt
from millwright.privacy.audit import record
from millwright.privacy.keys import PROJECT, KeyStore, has_key_store, make_key_store, open_key_store
from millwright.privacy.master import MasterKey, decrypt, encrypt, make_master_key, read_master_key
from millwright.privacy.tombstones import replay_tombstones
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import scrub
from millwright.store.files import make_folder, storing
from millwright.store.tables import clear_rows, opinions, predictions, proposed_rows

SEAL_FORMAT = b"\x01"
_KEPT = "kept_vault"
NEXT_KEY = ".next"  # of a key file that a rotation is about to put in place
_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Place:
    """Where a sealed row stands: the table, the row's id, and the person's pseudonym, None for nobody's."""

    table: str
    row: str
    subject: str | None


class Vault:
    """The keys of one project, opened when they are first needed."""

    def __init__(self, project: Project) -> None:
        self.project = project

    @cached_property
    def keys(self) -> KeyStore:
        """The key store, made at first use.

        Rows that an older release left in the clear are sealed then, and what a restored backup brought
        back of erased people is deleted.
        """
        project = self.project
        store = open_keys(project)
        _seal_clear_rows(project, store)
        back = replay_tombstones(project.database, store.tombstones())
        for subject, count in back.items():
            record(project, "tombstone replayed", subject=subject, details={"predictions": count})
        if back:
            scrub(project.database)
        return store

    def pseudonym(self, subject: str | None) -> str | None:
        """The pseudonym by which tables know a person, None for nobody."""
        return None if subject is None else self.keys.pseudonym(subject)

    def refresh(self) -> None:
        """Take notice of keys that other processes destroyed; call it inside the transaction that writes."""
        self.keys.refresh()

    def seal(self, place: Place, content: JsonObject) -> bytes:
        """Encrypt a row's content for its place."""
        return _seal(self.keys, place, content)

    def unseal(self, place: Place, sealed: bytes) -> JsonObject:
        """Decrypt a row's content.

        Args:
            place: where it stands.
            sealed: what `seal` returned.

        Returns:
            The content.

        Raises:
            Corrupt: it was changed, or moved here from another row, table or person.
            NotFound: the person's key was destroyed.
        """
        if sealed[:1] != SEAL_FORMAT:
            raise Corrupt(f"row {place.row} of {place.table} has an unknown seal; restore it from a backup")
        key = self.keys.existing_key(place.subject or PROJECT)
        content: JsonObject = json.loads(decrypt(key, sealed[1:], _about(self.keys, place)))
        return content


def open_vault(project: Project) -> Vault:
    """The vault of a project, the one that is kept if one is; nothing is read or made before it is used."""
    kept: Vault | None = vars(project).get(_KEPT)
    if kept is None:
        return Vault(project)
    if "keys" in vars(kept):
        kept.refresh()
    return kept


def keep_vault(project: Project) -> Vault:
    """The vault that `open_vault` gives from now on for this object: whoever answers many opens one once.

    The one that is kept already, if one is.

    To open one asks the master key, which may be in another machine, and checks what was signed of each
    erased person.
    """
    vars(project).setdefault(_KEPT, Vault(project))
    return open_vault(project)


def forget_vault(project: Project) -> None:
    """Let `open_vault` open one each time again."""
    vars(project).pop(_KEPT, None)


def key_file(project: Project) -> Path:
    """Where the project's key store stands."""
    return project.folder / Path(project.settings.privacy.key_store).expanduser()


def has_keys(project: Project) -> bool:
    """True if the project has a key store; without one nobody was ever named to it."""
    return has_key_store(key_file(project))


def open_keys(project: Project) -> KeyStore:
    """The key store of a project, made where there is none.

    Args:
        project: an open project.

    Returns:
        The store.

    Raises:
        NotFound: the master key is missing and there is a store already.
        BadInput: the master key is none, or others may read its file.
        Corrupt: another master key wrapped the store.
    """
    with _locked(project):
        return _open_keys(project)


@contextmanager
def _locked(project: Project) -> Iterator[None]:
    """Keep others from the key store: who finds a rotation half done must know that it was killed."""
    path = key_file(project)
    make_folder(project.kept)
    with storing(path):
        project.kept.chmod(0o700)
        make_folder(path.parent)
        with FileLock(f"{path}.lock"):
            yield


def _open_keys(project: Project) -> KeyStore:
    path = key_file(project)
    if not has_key_store(path):
        make_key_store(path, make_master_key(project.settings.privacy.master_key, project.folder))
    return open_key_store(path, _master_key(project))


def rotate_master_key(project: Project, spec: str | None = None) -> tuple[int, str]:
    """Wrap all keys anew; no sealed row is touched, and running servers go on.

    Args:
        project: an open project.
        spec: the new master key, as `privacy.master_key` names one. None makes a new key in the same
            file, or asks the KMS to wrap with the newest version of its key.

    Returns:
        How many keys were wrapped, and the setting that names the new master key.

    Raises:
        BadInput: `spec` names no key, or None was given and the key cannot be made anew where it is.
    """
    with _locked(project):
        return _rotated(project, _open_keys(project), spec)


def _rotated(project: Project, store: KeyStore, spec: str | None) -> tuple[int, str]:
    old = project.settings.privacy.master_key
    if spec is not None and spec != old:
        return store.rotate(make_master_key(spec, project.folder)), spec
    kind, _, rest = old.partition(":")
    if kind == "transit":
        return store.rotate(read_master_key(old, project.folder)), old
    if kind != "file":
        raise BadInput(
            f"no new key can be made in place of {old!r}; make one elsewhere and name it with --to",
            field="privacy.master_key",
            value=old,
        )
    path = project.folder / Path(rest).expanduser()
    following = path.with_name(path.name + NEXT_KEY)
    fresh = make_master_key(f"file:{following}", project.folder)
    count = store.rotate(fresh)
    following.replace(path)
    return count, old


def _master_key(project: Project) -> MasterKey:
    """The master key; after a rotation that was killed before it put its new file in place, that file."""
    spec = project.settings.privacy.master_key
    kind, _, rest = spec.partition(":")
    path = project.folder / Path(rest).expanduser()
    following = path.with_name(path.name + NEXT_KEY)
    if kind == "file" and following.exists():
        fresh = read_master_key(f"file:{following}", project.folder)
        try:
            open_key_store(key_file(project), fresh).close()
        except Corrupt:
            following.unlink()  # the rotation was killed before it wrapped anything
        else:
            following.replace(path)
    return read_master_key(spec, project.folder)


def _seal(keys: KeyStore, place: Place, content: JsonObject) -> bytes:
    key = keys.data_key(place.subject or PROJECT)
    return SEAL_FORMAT + encrypt(key, _json(content).encode(), _about(keys, place))


def _about(keys: KeyStore, place: Place) -> bytes:
    parts = (keys.project_id, place.subject or "", place.table, place.row, "1")
    return "\0".join(("millwright row", *parts)).encode()


def _seal_clear_rows(project: Project, keys: KeyStore) -> None:
    """Seal what the migration took out of tables in the clear; then nothing of it stays in the file."""
    with project.database.connect() as connection:
        if connection.execute(select(clear_rows.c.row).limit(1)).first() is None:
            return
    tables = {table.name: table for table in (predictions, opinions, proposed_rows)}
    with project.database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for line in connection.execute(select(clear_rows)).all():
            table, content = tables[line.table], dict(line.content)
            subject = content.pop("owner", None)
            hidden = keys.pseudonym(subject) if subject is not None else None
            (own,) = table.primary_key.columns
            sealed = _seal(keys, Place(line.table, line.row, hidden), content)
            connection.execute(update(table).where(own == line.row).values(subject=hidden, sealed=sealed))
        connection.execute(delete(clear_rows))
    scrub(project.database)
