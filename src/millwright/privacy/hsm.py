"""A master key in a hardware security module, by PKCS#11: the key never leaves it.

Named "pkcs11:LIBRARY?token=TOKEN&key=KEY": the module's library, the label of its token, the label of an AES
key on it. The user's PIN is read from PKCS11_PIN. What wraps is AES-GCM, done by the module.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from millwright.errors import BadInput, Corrupt, MissingExtra, NotFound, Unavailable

PIN = "PKCS11_PIN"
NONCE_BYTES, TAG_BITS = 12, 128
FORM = '"pkcs11:LIBRARY?token=TOKEN&key=KEY"'
_ONE_SESSION = threading.Lock()  # of a process: who logs out does so for all of its sessions


@dataclass(frozen=True)
class HsmKey:
    """An AES key on a token of a module."""

    library: str
    token: str
    key: str
    pin: str = field(repr=False)

    @property
    def name(self) -> str:
        """Where the key is."""
        return f"pkcs11:{self.token}/{self.key}"

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Encrypt a key; see MasterKey."""
        nonce = os.urandom(NONCE_BYTES)
        with self._own() as (own, mechanism, params):
            wrapped: bytes = own.encrypt(
                key, mechanism=mechanism, mechanism_param=params(nonce, about, TAG_BITS)
            )
        return nonce + wrapped

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Decrypt a key; see MasterKey."""
        nonce, content = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        with self._own() as (own, mechanism, params):
            try:
                key: bytes = own.decrypt(
                    content, mechanism=mechanism, mechanism_param=params(nonce, about, TAG_BITS)
                )
            except RuntimeError as error:  # modules differ in what they say of a tag that is wrong
                raise Corrupt(
                    f"{self.name} refuses to unwrap the key ({type(error).__name__}): another key wrapped "
                    "it, or it was changed; name the one that wrapped it"
                ) from None
        return key

    @contextmanager
    def _own(self) -> Iterator[tuple[Any, Any, Any]]:
        """The key in an open session, the mechanism, and what makes its parameters."""
        pkcs11 = _import_pkcs11()
        with _ONE_SESSION:
            try:
                token = pkcs11.lib(self.library).get_token(token_label=self.token)
                session = token.open(user_pin=self.pin)
            except (RuntimeError, OSError) as error:
                raise Unavailable(
                    f"cannot open the token {self.token!r} of {self.library} ({type(error).__name__}); check "
                    f"the library, the token's label and {PIN}"
                ) from None
            with session:
                try:
                    own = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self.key)
                except (pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned) as error:
                    raise NotFound(
                        f"the token {self.token!r} must have one secret key labelled {self.key!r} "
                        f"({type(error).__name__}); make an AES key of that label"
                    ) from None
                yield own, pkcs11.Mechanism.AES_GCM, pkcs11.GCMParams


def hsm_key(rest: str) -> HsmKey:
    """The key that a setting names.

    Args:
        rest: what follows "pkcs11:".

    Returns:
        The key; nothing was asked of the module yet.

    Raises:
        BadInput: it has not the form above.
        NotFound: the environment has no PIN.
    """
    library, _, query = rest.partition("?")
    given = {name: values[0] for name, values in parse_qs(query).items() if len(values) == 1}
    if not library or set(given) != {"token", "key"}:
        raise BadInput(
            f"privacy.master_key = 'pkcs11:{rest}' names no key; write {FORM}", field="privacy.master_key"
        )
    if not os.environ.get(PIN):
        raise NotFound(f"the environment has no {PIN}; set it to the PIN of the user of {given['token']!r}")
    return HsmKey(library, given["token"], given["key"], os.environ[PIN])


def _import_pkcs11() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise MissingExtra(
            "privacy.master_key names a key in a module, and python-pkcs11 is missing; run: pip install "
            "python-pkcs11"
        ) from None
    return pkcs11
