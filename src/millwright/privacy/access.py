"""Keys for the HTTP service: hashed, scoped, expiring, limited in rate.

A key is "mw_ID_SECRET" with 256 random bits of secret, so a plain SHA-256 of it cannot be guessed back; the
database has nothing else. Scopes: what a key may do; "admin" may do everything but what EXPRESS names.
"""

import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, insert, select, update

from millwright.errors import BadInput, Forbidden, MillwrightError, TooOften, Unauthorised, choice, one_of
from millwright.privacy.audit import record
from millwright.project import Project
from millwright.store.database import hour_of, now
from millwright.store.tables import api_keys

ADMIN, UNMASK = "admin", "unmask"
SCOPES = ("predict", "feedback", "review", ADMIN, UNMASK)
CLOSED = (ADMIN, UNMASK)  # to everybody, also where no key was ever made
EXPRESS = (UNMASK,)  # given by its own name alone: who may run the service need not see what people wrote
PREFIX = "mw"
ID_DIGITS = 12
READ_SECONDS = 1.0
NOTE_SECONDS = 60.0
NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()  # compared with where there is no such key


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; never the key itself."""

    id: str
    name: str
    scopes: tuple[str, ...]
    requests_per_minute: int | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


def create_key(
    project: Project,
    name: str,
    scopes: Sequence[str],
    *,
    days: int | None = None,
    requests_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        project: an open project.
        name: for whom it is.
        scopes: what it may do.
        days: how long it lasts; for ever if None.
        requests_per_minute: the most requests, in the long run and at once; without a limit if None.

    Returns:
        The key's line, and the key, which is shown this once.

    Raises:
        BadInput: the name is empty, a scope is unknown, or a limit is not over 0.
    """
    if not name.strip():
        raise BadInput("a key needs a name; say for whom it is", field="name")
    if not scopes:
        raise BadInput(f"a key needs a scope; give one or more of {', '.join(SCOPES)}", field="scopes")
    for scope in scopes:
        choice("scope", scope, SCOPES, field="scopes")
    for field_name, value in (("days", days), ("requests_per_minute", requests_per_minute)):
        if value is not None and value < 1:
            raise BadInput(f"{field_name} must be 1 or more, got {value}; leave it out for no limit")
    own = secrets.token_hex(ID_DIGITS // 2)
    token = f"{PREFIX}_{own}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=own,
        name=name.strip(),
        scopes=tuple(sorted(set(scopes))),
        requests_per_minute=requests_per_minute,
        created_at=now(),
        expires_at=None if days is None else hour_of(datetime.now(UTC) + timedelta(days=days)),
        revoked_at=None,
        last_used_at=None,
    )
    with project.database.begin() as connection:
        connection.execute(
            insert(api_keys).values(**{**vars(key), "scopes": list(key.scopes)}, sha256=_hash(token))
        )
        record(project, "key created", details={"key": own, "scopes": " ".join(key.scopes)})
    return key, token


def list_keys(project: Project) -> list[ApiKey]:
    """Every key, oldest first, revoked and expired ones too."""
    with project.database.connect() as connection:
        return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at))]


def revoke_key(project: Project, key_id: str) -> None:
    """Let a key open nothing any more; servers take notice within about a second.

    Args:
        project: an open project.
        key_id: its id.

    Raises:
        NotFound: no key has this id.
    """
    one_of("key", key_id, [key.id for key in list_keys(project)])
    with project.database.begin() as connection:
        own = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        connection.execute(own.values(revoked_at=now()))
        record(project, "key revoked", details={"key": key_id})


def renew_key(project: Project, key_id: str, *, overlap_hours: int = 24) -> tuple[ApiKey, str]:
    """Make a key with the name, scopes and rate of another one, which ends when the hours are over.

    Args:
        project: an open project.
        key_id: the id of the key to replace.
        overlap_hours: how long both open the service; 0 ends the old one at once.

    Returns:
        The new key's line, and the key, which is shown this once.

    Raises:
        NotFound: no key has this id.
        BadInput: it was revoked or has expired, or the hours are below 0.
    """
    if overlap_hours < 0:
        raise BadInput(f"overlap_hours must be 0 or more, got {overlap_hours}; 0 ends the old key at once")
    known = {key.id: key for key in list_keys(project)}
    old = known[one_of("key", key_id, known)]
    if not _is_live(old, now()):
        raise BadInput(f"{key_id} was revoked or has expired; make a new one with `millwright keys create`")
    made = create_key(project, old.name, old.scopes, requests_per_minute=old.requests_per_minute)
    ends = hour_of(datetime.now(UTC) + timedelta(hours=overlap_hours))
    if old.expires_at is None or ends < old.expires_at:
        with project.database.begin() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_at=ends))
            record(project, "key renewed", details={"key": key_id, "successor": made[0].id})
    return made


def has_keys_for_service(project: Project) -> bool:
    """True if there is a key that opens the service now."""
    return any(_is_live(key, now()) for key in list_keys(project))


@dataclass
class _Bucket:
    """What is left of a key's rate: it fills up evenly, to a minute's worth at the most."""

    left: float
    filled_at: float


@dataclass
class Guard:
    """Decides who may do what. Where no key was ever made, all but the routes of CLOSED scopes are open."""

    project: Project
    clock: Callable[[], float] = time.monotonic
    _keys: dict[str, tuple[ApiKey, str]] = field(default_factory=dict)
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _used: dict[str, str] = field(default_factory=dict)
    _read_at: float = -math.inf
    _noted_at: float = -math.inf

    @property
    def is_stale(self) -> bool:
        """True if keys should be read again."""
        return self.clock() - self._read_at >= READ_SECONDS

    @property
    def is_open(self) -> bool:
        """True where no key was ever made, so that requests need none."""
        return not self._keys

    def read(self) -> None:
        """Read the keys from the database."""
        read_at = self.clock()
        with self.project.database.connect() as connection:
            rows = connection.execute(select(api_keys)).all()
        self._read_at = read_at  # not before: where keys cannot be read, nobody may pass for having none
        self._keys = {row.id: (_key(row), row.sha256) for row in rows}

    @property
    def has_uses_to_note(self) -> bool:
        """True if it should be noted when keys were used last."""
        return bool(self._used) and self.clock() - self._noted_at >= NOTE_SECONDS

    def note_uses(self) -> None:
        """Write into the database when each key was used last; what another process's lock keeps from it
        is written the next time. Another thread may let requests through meanwhile.
        """
        used, self._used, self._noted_at = self._used, {}, self.clock()
        try:
            with self.project.database.begin() as connection:
                for own, hour in used.items():
                    connection.execute(update(api_keys).where(api_keys.c.id == own).values(last_used_at=hour))
        except MillwrightError:  # a full disk will be told by what matters more
            self._used = {**used, **self._used}

    def check(self, token: str | None, scope: str) -> ApiKey | None:
        """Let a request through or raise.

        Args:
            token: what came with the request.
            scope: what it wants to do; "" wants nothing but a key.

        Returns:
            The key; None if none came and none is needed.

        Raises:
            Unauthorised: no key, an unknown, expired or revoked one.
            Forbidden: the key has not the scope.
            TooOften: the key has used up its rate.
        """
        if token is None:
            if not self._keys and scope not in CLOSED:
                return None
            need = f"an {scope} key" if scope in CLOSED else "a key"
            raise Unauthorised(
                f"this needs {need}; send Authorization: Bearer KEY, see `millwright keys create`"
            )
        own = token.split("_")[1] if token.count("_") >= 2 else ""
        key, sha256 = self._keys.get(own, (None, NOBODY))
        is_right = hmac.compare_digest(_hash(token), sha256)
        if key is None or not is_right or not _is_live(key, now()):
            raise Unauthorised("the key is unknown, expired or revoked; ask for another one")
        if scope and scope not in key.scopes and (ADMIN not in key.scopes or scope in EXPRESS):
            raise Forbidden(f"the key may {', '.join(key.scopes)}, this needs {scope}; use a key that may")
        self._spend(key)
        self._used[key.id] = now()
        return key

    def _spend(self, key: ApiKey) -> None:
        if key.requests_per_minute is None:
            return
        now_s, most = self.clock(), float(key.requests_per_minute)
        bucket = self._buckets.setdefault(key.id, _Bucket(most, now_s))
        bucket.left = min(most, bucket.left + (now_s - bucket.filled_at) * most / 60)
        bucket.filled_at = now_s
        if bucket.left < 1:
            wait = math.ceil((1 - bucket.left) * 60 / most)
            raise TooOften(f"the key may ask {most:.0f} times a minute; try again in {wait} s", wait)
        bucket.left -= 1


def _is_live(key: ApiKey, hour: str) -> bool:
    return key.revoked_at is None and (key.expires_at is None or hour < key.expires_at)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _key(row: Row[Any]) -> ApiKey:
    fields = {name: value for name, value in row._mapping.items() if name != "sha256"}
    return ApiKey(**{**fields, "scopes": tuple(row.scopes)})
