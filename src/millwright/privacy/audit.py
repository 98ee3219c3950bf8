"""The audit log: a file that only grows, each line chained to the one before it by its hash.

`hash_i = SHA256(hash_(i-1) || canonical JSON of line i without its hash)`; before the first line stand 32
zero bytes. A changed or removed line breaks the chain. A cut tail does not: that is found by an anchor, a
signed statement of how many lines there were and what the last hash was, which is kept elsewhere.

No personal data stands in it: subjects are named by keyed pseudonyms, reasons and texts are left out.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from filelock import FileLock

from millwright.errors import BadInput, Corrupt
from millwright.privacy.signing import canonical, is_signed, signed
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.database import now
from millwright.store.files import make_folder, storing

ANCHOR_FORMAT = 1
START = bytes(32)
LINE_KEYS = {"number", "at", "action", "subject", "details", "hash"}
Details = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True)
class AuditLine:
    """One line: what was done when, to whom by pseudonym, and the hash that chains it."""

    number: int
    at: str
    action: str
    subject: str | None
    details: Details
    hash: str


@dataclass(frozen=True)
class ChainState:
    """How far the chain holds: the number of lines and the last one's hash in hex."""

    lines: int
    hash: str


def audit_file(project: Project) -> Path:
    """Where a project's audit log stands."""
    return project.kept / "audit.jsonl"


def record(
    project: Project, action: str, *, subject: str | None = None, details: Details | None = None
) -> AuditLine:
    """Append a line; it is on disk when this returns.

    Args:
        project: an open project.
        action: what was done, in the past tense.
        subject: the pseudonym of the person whom it concerns.
        details: names and counts; nothing that a person wrote.

    Returns:
        The line.

    Raises:
        CannotStore: the disk is full or read-only; nothing was appended.
        Corrupt: the last line cannot be read, so nothing can be chained to it.
    """
    path = audit_file(project)
    make_folder(path.parent)
    with storing(path), FileLock(f"{path}.lock"), path.open("a+b") as file:
        last = _last_line(file.fileno(), path)
        number, before = (last.number + 1, bytes.fromhex(last.hash)) if last else (1, START)
        said = {
            "number": number,
            "at": now(),
            "action": action,
            "subject": subject,
            "details": dict(details or {}),
        }
        line = AuditLine(number, str(said["at"]), action, subject, dict(details or {}), _hash(before, said))
        start = file.seek(0, os.SEEK_END)
        try:
            file.write(canonical(vars(line)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), start)
            raise
    return line


def read_audit(project: Project) -> list[AuditLine]:
    """Every line, oldest first; raises Corrupt where `verify_chain` does."""
    return _chain(audit_file(project))


def verify_chain(path: Path) -> ChainState:
    """Walk the chain.

    Args:
        path: an audit log; none is an empty one.

    Returns:
        Where the chain ends.

    Raises:
        Corrupt: a line was changed, removed, added or cut; the message says which is the first.
    """
    return _end(_chain(path))


def make_anchor(project: Project, project_id: str, key: Ed25519PrivateKey) -> JsonObject:
    """A signed statement of where the chain ends now, to be kept elsewhere.

    Args:
        project: an open project.
        project_id: which project, whatever its folder is called.
        key: the project's signing key.

    Returns:
        The anchor as JSON.

    Raises:
        Corrupt: the chain is broken already.
    """
    state = verify_chain(audit_file(project))
    content = {"format": ANCHOR_FORMAT, "kind": "audit anchor", "project": project_id, "at": now()}
    return signed({**content, "lines": state.lines, "hash": state.hash}, key)


def check_anchor(path: Path, anchor: JsonObject, public_key: str | None) -> ChainState:
    """Check that a log still has all that it had when an anchor was made.

    Args:
        path: the audit log.
        anchor: what `make_anchor` returned.
        public_key: the key that must have signed it; the one that it names itself if None.

    Returns:
        Where the chain ends now.

    Raises:
        BadInput: the anchor is not one, or its signature is not that key's.
        Corrupt: the log is broken, was cut, or was written anew since.
    """
    if (
        not isinstance(anchor, dict)
        or anchor.get("kind") != "audit anchor"
        or anchor.get("format") != ANCHOR_FORMAT
    ):
        raise BadInput("the file is no audit anchor; pass one that `millwright audit anchor` wrote")
    if not is_signed(anchor, public_key):
        raise BadInput(
            "the anchor's signature is not that of the key; take the anchor from where it was kept"
        )
    lines = _chain(path)
    state = _end(lines)
    if state.lines < anchor["lines"]:
        raise Corrupt(
            f"{path} has {state.lines} lines and had {anchor['lines']} at {anchor['at']}: its tail was cut; "
            "restore it from a backup"
        )
    if _end(lines[: anchor["lines"]]).hash != anchor["hash"]:
        raise Corrupt(
            f"{path} was written anew: line {anchor['lines']} is not the one of {anchor['at']}; restore it "
            "from a backup"
        )
    return state


def _chain(path: Path) -> list[AuditLine]:
    """The lines of a log, each checked against the one before it."""
    chain: list[AuditLine] = []
    for place, content in enumerate(_lines(path), start=1):
        line, before = _parsed(content, path, place), bytes.fromhex(_end(chain).hash)
        said = {key: value for key, value in vars(line).items() if key != "hash"}
        if line.number != place or canonical(vars(line)) != content or _hash(before, said) != line.hash:
            raise Corrupt(
                f"{path} breaks at line {place}: it is not what was written after line {place - 1}; compare "
                "it with a copy kept elsewhere"
            )
        chain.append(line)
    return chain


def _end(chain: Sequence[AuditLine]) -> ChainState:
    return ChainState(len(chain), chain[-1].hash if chain else START.hex())


def _hash(before: bytes, said: JsonObject) -> str:
    return hashlib.sha256(before + canonical(said)).hexdigest()


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        count = content.count(b"\n") + 1
        raise Corrupt(
            f"{path} breaks at line {count}: its end is missing; compare it with a copy kept elsewhere"
        )
    return content.split(b"\n")[:-1]


def _parsed(content: bytes, path: Path, place: int) -> AuditLine:
    try:
        tree = json.loads(content)
        if set(tree) != LINE_KEYS or len(bytes.fromhex(tree["hash"])) != len(START):
            raise ValueError(content)
        return AuditLine(**tree)
    except (ValueError, TypeError):
        raise Corrupt(f"{path} breaks at line {place}: it is no line of an audit log; restore it") from None


def _last_line(number: int, path: Path) -> AuditLine | None:
    """The last whole line; what a kill left of an unfinished one is cut off, as nobody was told of it."""
    size, content = os.fstat(number).st_size, b""
    while size and content.count(b"\n") < 2:
        start = max(0, size - 4_096)
        content = os.pread(number, size - start, start) + content
        size = start
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        os.ftruncate(number, os.fstat(number).st_size - len(torn))
    if not whole:
        return None
    return _parsed(whole.rpartition(b"\n")[2], path, 0)
