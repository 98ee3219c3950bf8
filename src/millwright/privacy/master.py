"""Where the master key lives, which wraps the key that wraps all others: a file, the environment, or a KMS.

A master key is named in `privacy.master_key`: "file:PATH", "env:NAME", "transit:URL/KEY" for HashiCorp
Vault's transit engine, whose token is read from VAULT_TOKEN, or "pkcs11:…" for a module (`hsm.py`). The first
two hold 64 hexadecimal digits.
"""

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from millwright.errors import BadInput, Corrupt, NotFound, Unavailable
from millwright.privacy.hsm import FORM, hsm_key
from millwright.records import JsonObject
from millwright.store.files import read_secret, write_secret

KEY_BYTES, NONCE_BYTES = 32, 12
TRANSIT_SECONDS = 10.0
FORMS = f'"file:PATH", "env:NAME" or "transit:https://HOST:PORT/KEY", or {FORM}'


class MasterKey(Protocol):
    """What can wrap and unwrap a key. `name` tells one master key from another and is no secret."""

    @property
    def name(self) -> str:
        """By which the key store remembers what wrapped a key."""
        ...

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Encrypt a key; `about` is bound to it and must be given again."""
        ...

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Decrypt what `wrap` returned; Corrupt if it was changed, or another key or `about` wrapped it."""
        ...


@dataclass(frozen=True)
class LocalKey:
    """A master key in memory, from a file or the environment; wraps with AES-256-GCM."""

    secret: bytes

    @property
    def name(self) -> str:
        """A hash of the key."""
        return f"local:{hashlib.sha256(self.secret).hexdigest()[:16]}"

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Encrypt a key; see MasterKey."""
        return encrypt(AESGCM(self.secret), key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Decrypt a key; see MasterKey."""
        return decrypt(AESGCM(self.secret), wrapped, about)


@dataclass(frozen=True)
class TransitKey:
    """A master key that never leaves HashiCorp Vault; its transit engine wraps and unwraps over HTTP."""

    address: str
    key: str
    token: str

    @property
    def name(self) -> str:
        """Where the key is."""
        return f"transit:{self.address}/{self.key}"

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Encrypt a key with the newest version of the key in Vault; see MasterKey."""
        body = {"plaintext": _base64(key), "associated_data": _base64(about)}
        return str(self._ask("encrypt", body)["ciphertext"]).encode()

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Decrypt a key; see MasterKey."""
        body = {"ciphertext": wrapped.decode(), "associated_data": _base64(about)}
        return base64.b64decode(self._ask("decrypt", body)["plaintext"])

    def _ask(self, action: str, body: JsonObject) -> JsonObject:
        import httpx  # here, since few master keys are asked for over a network

        url = f"{self.address}/v1/transit/{action}/{self.key}"
        try:
            answer = httpx.post(
                url, json=body, headers={"X-Vault-Token": self.token}, timeout=TRANSIT_SECONDS
            )
            if answer.status_code == 400 and action == "decrypt":
                raise Corrupt(f"{self.name} refuses to unwrap the key: another key wrapped it; name that one")
            data: JsonObject = answer.raise_for_status().json()["data"]
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise Unavailable(
                f"{url} answered {status}; check the key's name and that VAULT_TOKEN may use it"
            ) from None
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise Unavailable(f"cannot reach {url} ({type(error).__name__}); start it, or mend it") from None
        return data


def read_master_key(spec: str, folder: Path) -> MasterKey:
    """The master key that a setting names.

    Args:
        spec: the value of `privacy.master_key`.
        folder: the project's folder, from which a relative path is meant.

    Returns:
        The key.

    Raises:
        BadInput: the setting has none of the four forms, what it names is no key, or others than its
            owner may read the file.
        NotFound: there is no such file or variable.
    """
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return LocalKey(_read_file(folder / Path(rest).expanduser()))
    if kind == "env" and rest:
        return LocalKey(_read_variable(rest))
    if kind == "transit" and rest:
        return _transit(rest)
    if kind == "pkcs11":
        return hsm_key(rest)
    raise BadInput(f"privacy.master_key = {spec!r} names no key; write {FORMS}", field="privacy.master_key")


def make_master_key(spec: str, folder: Path) -> MasterKey:
    """Make the file that a setting names and return its key; a variable or a KMS must have one already.

    Args:
        spec: the value of `privacy.master_key`.
        folder: the project's folder.

    Returns:
        The key.

    Raises:
        BadInput: as `read_master_key`.
        CannotStore: the file cannot be written.
    """
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest and not (folder / Path(rest).expanduser()).exists():
        write_key_file(folder / Path(rest).expanduser())
    return read_master_key(spec, folder)


def write_key_file(path: Path) -> None:
    """Write a new key that only its owner may read; what stands there already is never replaced."""
    write_secret(path, secrets.token_hex(KEY_BYTES))


def encrypt(key: AESGCM, content: bytes, about: bytes) -> bytes:
    """A nonce of 96 random bits, then AES-256-GCM of `content` with its tag; `about` is bound to it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.encrypt(nonce, content, about)


def decrypt(key: AESGCM, sealed: bytes, about: bytes) -> bytes:
    """What `encrypt` was given; Corrupt if a byte of it, the key or `about` is another."""
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        raise Corrupt(
            "a sealed value was changed, moved, or sealed with another key; restore it from a backup"
        ) from None


def _read_file(path: Path) -> bytes:
    try:
        read, mode = read_secret(path)
        content = read.decode("ascii")
    except FileNotFoundError:
        raise NotFound(
            f"no master key at {path}; put it back from where you keep it: without it nothing can be read"
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as a key ({error}); name a file of 64 hex digits") from None
    if mode & 0o077:
        raise BadInput(
            f"{path} has mode {mode & 0o777:04o}, so others than its owner may use the master key; "
            f"run chmod 600 {path}"
        )
    return _key_of(content, str(path))


def _read_variable(name: str) -> bytes:
    if name not in os.environ:
        raise NotFound(
            f"the environment has no {name}, which privacy.master_key names; set it to 64 hex digits"
        )
    return _key_of(os.environ[name], name)


def _key_of(content: str, where: str) -> bytes:
    try:
        secret = bytes.fromhex(content.strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise BadInput(
            f"{where} holds no key; it must be 64 hex digits, as `openssl rand -hex 32` writes them"
        )
    return secret


def _transit(rest: str) -> TransitKey:
    address, _, key = rest.rpartition("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc or not key:
        raise BadInput(f"privacy.master_key = 'transit:{rest}' names no key; write {FORMS}")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise BadInput(f"privacy.master_key sends keys to {address} in the clear; use https")
    token = os.environ.get("VAULT_TOKEN")
    if not token:
        raise NotFound("the environment has no VAULT_TOKEN; set it to a token that may use the transit key")
    return TransitKey(address, key, token)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
