"""The key store: a database of its own with wrapped keys, apart from the data that they seal.

A master key wraps one wrapping key; that one wraps a data key for each person, one for rows of nobody, the
pepper of pseudonyms and the project's signing key. Destroying a person's data key makes all that it sealed
unreadable, also in copies of the data.
"""

import hmac
import json
import secrets
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256
from os.path import exists
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from millwright.errors import BadInput, CannotStore, Corrupt, NotFound
from millwright.privacy.master import KEY_BYTES, MasterKey, decrypt, encrypt
from millwright.privacy.signing import is_signed, public_text
from millwright.records import JsonObject
from millwright.store.database import connect_to, empty_log, in_parts, now
from millwright.store.files import make_folder, new_file, storing

PROJECT, PEPPER, SIGNING = "project", "pepper", "signing"  # owners that are no person
MOST_CACHED = 20_000
KEYS_FORMAT = "1"
PSEUDONYM_DIGITS = 32

metadata = MetaData()
facts = Table("facts", metadata, Column("name", String, primary_key=True), Column("value", String))
_GENERATION = select(facts.c.value).where(facts.c.name == "generation")
wrapping = Table(
    "wrapping",
    metadata,
    Column("id", String, primary_key=True),
    Column("master", String, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
)
keys = Table(
    "keys",
    metadata,
    Column("owner", String, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
)
tombstones = Table(
    "tombstones",
    metadata,
    Column("subject", String, primary_key=True),
    Column("erased_at", String, nullable=False),
    Column("signed", Text, nullable=False),
)


class KeyStore:
    """Keys by owner. Invariant: a key stands on disk before anything is sealed with it."""

    def __init__(self, engine: Engine, master: MasterKey) -> None:
        self._engine = engine
        self._master = master
        self._lock = threading.Lock()
        self._cached: dict[str, AESGCM] = {}
        self._wrapping_id = ""
        self._read()

    def _read(self) -> None:
        with self._engine.connect() as connection:
            about = {row.name: row.value for row in connection.execute(select(facts))}
            (line,) = connection.execute(select(wrapping)).all()
        self.project_id = str(about["project"])
        self._generation = str(about["generation"])
        if line.id != self._wrapping_id:  # the master key is asked once: it may have been rotated since
            self._unwrap(line.id, line.master, line.wrapped)
        self._cached.clear()
        self._pepper = self._secret(PEPPER)
        self.signing_key = Ed25519PrivateKey.from_private_bytes(self._secret(SIGNING))

    def _unwrap(self, number: str, master: str, wrapped: bytes) -> None:
        if master != self._master.name:
            raise Corrupt(
                f"the key store is wrapped with the master key {master}, privacy.master_key names "
                f"{self._master.name}; name the one that wrapped it"
            )
        self._wrapping_secret = self._master.unwrap(wrapped, _about(self.project_id, number))
        self._wrapping, self._wrapping_id = AESGCM(self._wrapping_secret), number

    @property
    def generation(self) -> str:
        """Changes as soon as this process knows that keys were destroyed."""
        return self._generation

    def pseudonym(self, subject: str) -> str:
        """The keyed pseudonym of a person: 32 hex digits of an HMAC that needs the pepper.

        Args:
            subject: as users and files name the person; spaces around it and the form of its accents
                don't count.

        Returns:
            The pseudonym.
        """
        plain = unicodedata.normalize("NFC", subject).strip()
        return hmac.new(self._pepper, plain.encode(), sha256).hexdigest()[:PSEUDONYM_DIGITS]

    def derived_key(self, purpose: str) -> bytes:
        """A secret of 32 bytes for one purpose, an HMAC of its name under the pepper."""
        return hmac.digest(self._pepper, f"\0millwright key for\0{purpose}".encode(), "sha256")

    def data_key(self, owner: str) -> AESGCM:
        """The data key of a person's pseudonym or of PROJECT, made where there is none."""
        return self._key(owner, make=True)

    def existing_key(self, owner: str) -> AESGCM:
        """The data key of an owner; NotFound if there is none, so that what it sealed is shredded."""
        return self._key(owner, make=False)

    def make_keys(self, owners: Iterable[str]) -> None:
        """Make the data keys that some of these owners have not yet, all in one commit.

        Args:
            owners: pseudonyms.
        """
        with self._lock:
            new = [owner for owner in dict.fromkeys(owners) if owner not in self._cached]
            if not new:
                return
            self._make_room(len(new))
            with self._engine.connect() as connection:
                there = _rows_of(connection, new)
            if len(there) < len(new):
                missing = {owner: secrets.token_bytes(KEY_BYTES) for owner in new if owner not in there}
                fresh = list(_wrapped(missing.items(), self._wrapping, self.project_id))
                with self._engine.begin() as connection:
                    connection.execute(insert(keys).prefix_with("OR IGNORE"), fresh)
                    there |= _rows_of(connection, missing)  # another process may have made one before
            for owner, wrapped in there.items():
                secret = decrypt(self._wrapping, wrapped, _about(self.project_id, owner))
                self._cached[owner] = AESGCM(secret)

    def refresh(self) -> None:
        """Forget cached keys if another process destroyed or rewrapped some since."""
        with self._engine.connect() as connection:
            generation = connection.scalar(_GENERATION)
        if generation != self._generation:
            with self._lock:
                self._read()

    def owners(self) -> list[str]:
        """Every pseudonym that has a data key."""
        with self._engine.connect() as connection:
            found = connection.scalars(select(keys.c.owner).order_by(keys.c.owner)).all()
        return [owner for owner in found if owner not in (PROJECT, PEPPER, SIGNING)]

    def destroy(self, tombstone: JsonObject) -> bool:
        """Destroy a person's data key and keep the tombstone.

        Args:
            tombstone: signed, with the pseudonym as `subject` and the hour as `erased_at`.

        Returns:
            Whether there was a key.
        """
        return self.destroy_all([tombstone]) > 0

    def destroy_all(self, stones: Sequence[JsonObject]) -> int:
        """Destroy the data keys of some people in one commit and keep their tombstones.

        Args:
            stones: as for `destroy`, one a person.

        Returns:
            How many had a key.
        """
        had = 0
        with self._engine.begin() as connection:
            for stone in stones:
                subject, signed = stone["subject"], json.dumps(stone)
                had += connection.execute(delete(keys).where(keys.c.owner == subject)).rowcount
                connection.execute(delete(tombstones).where(tombstones.c.subject == subject))
                values = {"subject": subject, "erased_at": stone["erased_at"], "signed": signed}
                connection.execute(insert(tombstones).values(**values))
            self._next_generation(connection)
        empty_log(self._engine)  # else the keys would stay in it
        self.refresh()
        return had

    def tombstones(self) -> dict[str, str]:
        """When each erased person was erased last, by pseudonym.

        Returns:
            The hours.

        Raises:
            Corrupt: this project did not sign one of them: somebody else wrote it.
        """
        with self._engine.connect() as connection:
            rows = connection.execute(select(tombstones)).all()
        public = public_text(self.signing_key)
        for row in rows:
            stone = json.loads(row.signed)
            own = (stone.get("subject"), stone.get("erased_at")) == (row.subject, row.erased_at)
            if not own or not is_signed(stone, public):
                raise Corrupt(
                    f"the key store has a tombstone of {row.subject} that this project did not sign; restore "
                    "the key store from a backup"
                )
        return {row.subject: row.erased_at for row in rows}

    def rotate(self, master: MasterKey) -> int:
        """Let `master` wrap the wrapping key from now on; no other key and no data is touched.

        Args:
            master: the new master key. Without the old one, older copies of the store open no more.

        Returns:
            How many keys hang on the new master key.
        """
        wrapped = master.wrap(self._wrapping_secret, _about(self.project_id, self._wrapping_id))
        with self._engine.begin() as connection:
            values = {"master": master.name, "wrapped": wrapped, "created_at": now()}
            connection.execute(update(wrapping).values(**values))
            count = len(connection.execute(select(keys.c.owner)).all())
        self._master = master
        empty_log(self._engine)
        return count

    def back_up(self, path: Path) -> int:
        """Write a whole copy of the store, which a copy of its file alone need not be.

        Args:
            path: a new file, which only its owner will be able to read.

        Returns:
            How many data keys it has. It opens with the master key of now.

        Raises:
            BadInput: there is such a file.
            CannotStore: the disk is full or read-only; no file is left then.
        """
        if path.exists():
            raise BadInput(f"{path} is there already; name a new file for the copy of the key store")
        make_folder(path.parent)
        with storing(path), new_file(path):
            try:
                with self._engine.connect() as connection:
                    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                    connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
            except CannotStore as error:  # the engine's names the store that is copied
                raise CannotStore(
                    f"cannot write {path}: {error.__cause__}; free space or choose a folder you may write to"
                ) from error
        return len(self.owners())

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _next_generation(self, connection: Connection) -> None:
        connection.execute(update(facts).where(facts.c.name == "generation").values(value=uuid4().hex))

    def _key(self, owner: str, make: bool) -> AESGCM:
        with self._lock:
            found = self._cached.get(owner)
            if found is None:
                self._make_room(1)
                found = self._cached[owner] = AESGCM(self._secret(owner, make))
            return found

    def _make_room(self, count: int) -> None:
        if len(self._cached) + count > MOST_CACHED:
            self._cached.clear()

    def _secret(self, owner: str, make: bool = False) -> bytes:
        chosen, about = select(keys.c.wrapped).where(keys.c.owner == owner), _about(self.project_id, owner)
        with self._engine.connect() as connection:
            wrapped = connection.scalar(chosen)
        if wrapped is None and make:
            fresh = encrypt(self._wrapping, secrets.token_bytes(KEY_BYTES), about)
            with self._engine.begin() as connection:  # another process may make one at this moment
                connection.execute(
                    insert(keys).prefix_with("OR IGNORE").values(owner=owner, wrapped=fresh, created_at=now())
                )
                wrapped = connection.scalar(chosen)
        if wrapped is None:
            raise NotFound(
                f"there is no key for {owner}: it was destroyed, and what it sealed cannot be read"
            )
        return decrypt(self._wrapping, wrapped, about)


def _rows_of(connection: Connection, owners: Iterable[str]) -> dict[str, bytes]:
    """The wrapped keys of those owners that have one."""
    chosen = select(keys.c.owner, keys.c.wrapped)
    return {
        row.owner: row.wrapped
        for part in in_parts(owners)
        for row in connection.execute(chosen.where(keys.c.owner.in_(part)))
    }


def make_key_store(path: Path, master: MasterKey) -> None:
    """Make a key store with a wrapping key, a pepper and a signing key; nothing if there is one.

    Args:
        path: the database file.
        master: what wraps the wrapping key.
    """
    make_folder(path.parent)
    path.touch(mode=0o600)
    engine = connect_to(path)
    project, number, fresh = uuid4().hex, uuid4().hex, AESGCM.generate_key(256)
    own = {PROJECT: secrets.token_bytes(KEY_BYTES), PEPPER: secrets.token_bytes(KEY_BYTES)}
    own[SIGNING] = Ed25519PrivateKey.generate().private_bytes_raw()
    wrapped = master.wrap(fresh, _about(project, number))
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection)
        if connection.scalar(select(facts.c.value).where(facts.c.name == "project")) is None:
            values = {"format": KEYS_FORMAT, "project": project, "generation": uuid4().hex}
            connection.execute(
                insert(facts), [{"name": key, "value": value} for key, value in values.items()]
            )
            connection.execute(
                insert(wrapping).values(id=number, master=master.name, wrapped=wrapped, created_at=now())
            )
            connection.execute(insert(keys), list(_wrapped(own.items(), AESGCM(fresh), project)))
    engine.dispose()


def has_key_store(path: Path) -> bool:
    """True if a key store was made at `path` and not only begun."""
    if not exists(path):  # unlike Path.exists, it bears a name that is too long
        return False
    engine = connect_to(path)
    try:
        with engine.connect() as connection:
            tables = connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars().all()
            return facts.name in tables and connection.execute(select(facts)).first() is not None
    finally:
        engine.dispose()


def open_key_store(path: Path, master: MasterKey) -> KeyStore:
    """Open a key store that was made.

    Args:
        path: the database file.
        master: the master key that wraps it.

    Returns:
        The store.

    Raises:
        Corrupt: another master key wraps it, it is damaged, or a newer Millwright made it.
    """
    engine = connect_to(path)
    with engine.connect() as connection:
        made = connection.scalar(select(facts.c.value).where(facts.c.name == "format"))
    if made != KEYS_FORMAT:
        raise Corrupt(f"{path} has format {made!r}, this Millwright reads {KEYS_FORMAT}; upgrade with pip")
    return KeyStore(engine, master)


def _wrapped(owned: Iterable[tuple[str, bytes]], key: AESGCM, project: str) -> Iterable[JsonObject]:
    for owner, secret in owned:
        yield {"owner": owner, "wrapped": encrypt(key, secret, _about(project, owner)), "created_at": now()}


def _about(project: str, what: str) -> bytes:
    return f"millwright key\0{project}\0{what}".encode()
