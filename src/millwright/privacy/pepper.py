"""The project's pepper: the secret without which a pseudonym cannot be computed again."""

import hmac
import os
from contextlib import suppress
from pathlib import Path

from millwright.errors import Corrupt
from millwright.store.files import make_folder, storing

PEPPER_BYTES = 32


def read_pepper(kept: Path) -> bytes:
    """The pepper of a project, made at first use: a file that only its owner may read.

    Args:
        kept: the project's `.millwright`.

    Returns:
        32 random bytes, the same ever after.

    Raises:
        Corrupt: the file does not hold 32 bytes in hexadecimal.
        CannotStore: it can neither be read nor made.
    """
    path = kept / "pepper"
    make_folder(kept)
    with storing(path):
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            text = _make(path)
    try:
        pepper = bytes.fromhex(text)
    except ValueError:
        pepper = b""
    if len(pepper) != PEPPER_BYTES:
        raise Corrupt(
            f"{path} must hold {PEPPER_BYTES} bytes in hexadecimal and does not; restore it from a backup, "
            "or remove it: pseudonyms then change"
        )
    return pepper


def _make(path: Path) -> str:
    temporary = path.with_name(f".pepper.{os.getpid()}.{os.urandom(4).hex()}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(os.urandom(PEPPER_BYTES).hex())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # a link, unlike a rename, never replaces what another process made
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_text(encoding="ascii")


def keyed_hash(pepper: bytes, entity: str, value: str) -> bytes:
    """HMAC-SHA256 of a value and its kind; case, and space at the ends and between words, do not count."""
    return hmac.digest(pepper, f"{entity}\0{' '.join(value.casefold().split())}".encode(), "sha256")
