"""A file of lines at rest under the project's key: pieces of it, each sealed, each after its length.

What holds the file together is whoever names it by the hash of its plain content: a piece that was left out,
moved or repeated gives another hash.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from millwright.errors import Corrupt
from millwright.privacy.keys import PROJECT
from millwright.privacy.master import decrypt, encrypt
from millwright.privacy.vault import Vault

MARK = b"\x89MWL1\r\n\x1a"  # no line of JSON begins so
LENGTH_BYTES = 4
Seal = Callable[[bytes], bytes]


class LinesKey:
    """Seals and opens files of one project; its key is fetched when it is first needed."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def seal(self, piece: bytes) -> bytes:
        """A piece of a file as it stands on disk, at least one byte of it."""
        sealed = encrypt(self._key(), piece, self._about())
        return len(sealed).to_bytes(LENGTH_BYTES, "little") + sealed

    def unseal(self, content: bytes) -> bytes:
        """What a sealed file says; a file that was not sealed is returned as it is.

        Args:
            content: all of the file.

        Returns:
            The plain content.

        Raises:
            Corrupt: it was cut or changed, or another project sealed it.
        """
        if not content.startswith(MARK):
            return content
        key, about, pieces, start = self._key(), self._about(), list[bytes](), len(MARK)
        while start < len(content):
            size = int.from_bytes(content[start : start + LENGTH_BYTES], "little")
            start += LENGTH_BYTES
            if size > len(content) - start:
                raise Corrupt("a sealed file was cut; restore it from a backup or make it again")
            pieces.append(decrypt(key, content[start : start + size], about))
            start += size
        return b"".join(pieces)

    def _key(self) -> AESGCM:
        return self._vault.keys.data_key(PROJECT)

    def _about(self) -> bytes:
        return f"millwright lines\0{self._vault.keys.project_id}\x001".encode()
