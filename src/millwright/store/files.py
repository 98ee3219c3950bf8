"""Files that are whole or absent: written under a temporary name, synced, renamed.

A sealed folder has a `seal.json` with the sha256 of every file in it; `verify` finds what was
truncated, edited, added or removed since. Only JSON, JSON Lines, safetensors and text are written.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from millwright.errors import CannotStore, Corrupt

SEAL = "seal.json"
SEAL_FORMAT = 1
MOST_SECRET = 1_000  # bytes
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # of file systems without them


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part; who may read it stays so.

    Args:
        path: the file; its folder is made if missing.
        content: all of it.

    Raises:
        CannotStore: the disk is full or the folder is read-only; the old file still stands.
    """
    make_folder(path.parent)
    with storing(path), part_of(path) as temporary:
        with temporary.open("wb") as file:
            if path.exists():
                os.chmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """The temporary name of a file that is being written; nothing stands there afterwards."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_secret(path: Path, text: str) -> None:
    """Write a new file that only its owner may read; what stands there already is never replaced.

    Args:
        path: where.
        text: the secret, without the end of its line.

    Raises:
        CannotStore: the file is there, or the disk is full or read-only; nothing new stands there then.
    """
    make_folder(path.parent)
    with storing(path), part_of(path) as temporary:
        with new_file(temporary), temporary.open("w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, it replaces nothing
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with new_file(path):
                temporary.replace(path)


@contextmanager
def new_file(path: Path) -> Iterator[None]:
    """Make an empty file that only its owner may read, to be filled; where that fails it is gone again.

    Args:
        path: where; FileExistsError if something stands there, which stays as it is.

    Yields:
        Nothing: the file is there, and closed.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_secret(path: Path) -> tuple[bytes, int]:
    """What `write_secret` wrote, and the file's mode; bounded, since a device has no end."""
    with path.open("rb") as file:
        return file.read(MOST_SECRET), os.fstat(file.fileno()).st_mode


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON as `write_bytes` does."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON artefact.

    Args:
        path: the file.

    Returns:
        What stands in it.

    Raises:
        Corrupt: it is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Corrupt(f"{path} is missing; restore it from a backup or make it again") from None
    except OSError as error:
        raise Corrupt(f"{path} cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:
        raise Corrupt(f"{path} is damaged ({error}); restore it from a backup or make it again") from None


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write at `path` into CannotStore."""
    try:
        yield
    except OSError as error:
        if isinstance(error, (FileNotFoundError, IsADirectoryError)):
            raise
        raise _cannot_store(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing; CannotStore if the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # also that there is no such folder, as below /proc
        raise _cannot_store(path, error) from error


def _cannot_store(path: Path, error: OSError) -> CannotStore:
    reason = error.strerror or str(error)
    return CannotStore(f"cannot write {path}: {reason}; free space or choose a folder you may write to")


@contextmanager
def sealed_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder; on success seal it and rename it to `target`.

    Args:
        target: where the folder will stand; if it stands already, the new one is dropped, since
            sealed folders never change. Only a damaged one is replaced.

    Yields:
        The temporary folder, beside `target`.

    Raises:
        CannotStore: the disk is full or read-only; nothing stands at `target` then.
    """
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    make_folder(temporary)
    try:
        with storing(target):
            yield temporary
            hashes = {
                str(path.relative_to(temporary)): sha256_file(path)
                for path in sorted(temporary.rglob("*"))
                if path.is_file()
            }
            write_json(temporary / SEAL, {"format": SEAL_FORMAT, "sha256": hashes})
            if target.exists() and not is_whole(target):
                shutil.rmtree(target)
            if not target.exists():
                temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """True if a sealed folder is what was sealed; see `verify`."""
    try:
        verify(folder)
    except Corrupt:
        return False
    return True


def verify(folder: Path) -> None:
    """Compare a sealed folder with its seal.

    Args:
        folder: the folder.

    Raises:
        Corrupt: a file was truncated, edited, added or removed; the message names it.
    """
    seal = read_json(folder / SEAL)
    if not isinstance(seal, dict) or seal.get("format") != SEAL_FORMAT:
        raise Corrupt(
            f"{folder / SEAL} has format {seal.get('format') if isinstance(seal, dict) else seal!r}, "
            f"this Millwright reads {SEAL_FORMAT}; open it with the version that wrote it"
        )
    if not isinstance(seal.get("sha256"), dict):
        raise Corrupt(f"{folder / SEAL} lists no hashes; restore it from a backup or make it again")
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {SEAL}
    for name, sha256 in seal["sha256"].items():
        if name not in there:
            raise Corrupt(f"{folder / name} is missing; restore it from a backup or make it again")
        if sha256_file(folder / name) != sha256:
            raise Corrupt(
                f"{folder / name} is not what was written (its sha256 differs from the seal); "
                "restore it from a backup or make it again"
            )
    if added := sorted(there - set(seal["sha256"])):
        raise Corrupt(f"{folder / added[0]} was added after the folder was sealed; remove it")
