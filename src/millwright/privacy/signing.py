"""Ed25519 signatures over canonical JSON, so that anyone with the public key can check them without us."""

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from millwright.errors import BadInput
from millwright.records import JsonObject

SIGNATURE, PUBLIC_KEY = "signature", "public_key"


def canonical(content: Any) -> bytes:
    """The one way to write JSON that is hashed or signed: keys sorted, no spaces, UTF-8, no NaN."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def signed(content: JsonObject, key: Ed25519PrivateKey) -> JsonObject:
    """`content` with the signer's public key and the signature over everything else.

    Args:
        content: JSON without the keys "public_key" and "signature".
        key: the signer's private key.

    Returns:
        A new object.
    """
    named = {**content, PUBLIC_KEY: public_text(key)}
    signature = base64.b64encode(key.sign(canonical(named))).decode()
    return {**named, SIGNATURE: signature}


def is_signed(content: object, public_key: str | None = None) -> bool:
    """True if the signature is that of `public_key`, or of the key that the content names if None.

    Args:
        content: what `signed` returned, perhaps changed since; nobody signed what is no JSON object.
        public_key: as `public_text` writes it.

    Returns:
        Whether nothing of the content was changed since it was signed with that key.

    Raises:
        BadInput: `public_key` is not a public key.
    """
    trusted = _public(public_key) if public_key is not None else None
    if not isinstance(content, dict):
        return False
    named = content.get(PUBLIC_KEY)
    if not isinstance(named, str) or (public_key is not None and named.strip() != public_key.strip()):
        return False
    unsigned = {name: value for name, value in content.items() if name != SIGNATURE}
    written = content.get(SIGNATURE)
    try:
        signature = base64.b64decode(str(written), validate=True)
        (trusted or _public(named)).verify(signature, canonical(unsigned))
    except (InvalidSignature, ValueError, BadInput):
        return False
    return base64.b64encode(signature).decode() == written  # base64 can write the same bytes in 16 ways


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key in 44 characters of base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def fingerprint(public_key: str) -> str:
    """32 hex digits by which people compare public keys."""
    return hashlib.sha256(public_key.strip().encode()).hexdigest()[:32]


def _public(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
    except ValueError:
        raise BadInput(
            f"{text[:60]!r} is not a public key; pass the 44 characters that `millwright receipt key` prints",
            field="key",
        ) from None
