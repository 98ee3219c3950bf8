"""Receipts: what was found of a person, what was done with it, signed; anyone can check one without us."""

from pathlib import Path

from millwright.errors import BadInput, Corrupt
from millwright.privacy.keys import KeyStore
from millwright.privacy.signing import fingerprint, is_signed, signed
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.files import read_json, write_json

RECEIPT_FORMAT = 1
RECEIPT, TOMBSTONE = "erasure receipt", "tombstone"


def receipt_folder(project: Project) -> Path:
    """Where a project's receipts stand."""
    return project.kept / "receipts"


def write_receipt(project: Project, keys: KeyStore, content: JsonObject) -> Path:
    """Sign a receipt and write it; its name is the erasure's id.

    Args:
        project: an open project.
        keys: whose signing key signs.
        content: what the receipt says, with "id".

    Returns:
        The file.
    """
    path = receipt_folder(project) / f"{content['id']}.json"
    about = {"format": RECEIPT_FORMAT, "kind": RECEIPT, "project": keys.project_id}
    write_json(path, signed({**about, **content}, keys.signing_key))
    return path


def make_tombstone(keys: KeyStore, subject: str, erased_at: str) -> JsonObject:
    """The signed statement that a person was erased, which outlives backups that bring the person back."""
    about = {"format": RECEIPT_FORMAT, "kind": TOMBSTONE, "project": keys.project_id}
    return signed({**about, "subject": subject, "erased_at": erased_at}, keys.signing_key)


def check_receipt(path: Path, public_key: str | None = None) -> JsonObject:
    """Read a receipt and check its signature and that of the tombstone in it.

    Args:
        path: the receipt's file.
        public_key: the key that must have signed it; the one that it names itself if None, which shows
            that nothing was changed, but not who wrote it.

    Returns:
        The receipt.

    Raises:
        BadInput: it is no receipt, of an unknown format, or `public_key` is no key.
        Corrupt: it was changed since it was signed, or another key signed it.
    """
    try:
        tree = read_json(path)
    except Corrupt as error:
        raise BadInput(f"{error}") from None
    if not isinstance(tree, dict) or tree.get("kind") != RECEIPT:
        raise BadInput(f"{path} is no receipt; pass a file that `millwright subject erase` wrote")
    if tree.get("format") != RECEIPT_FORMAT:
        raise BadInput(f"{path} has format {tree.get('format')!r}, this Millwright reads {RECEIPT_FORMAT}")
    if not is_signed(tree, public_key) or not _has_own_tombstone(tree):
        whose = "its signer" if public_key is None else f"the key {fingerprint(public_key)}"
        raise Corrupt(f"{path} is not what {whose} signed; take the receipt from where it was kept")
    return tree


def _has_own_tombstone(receipt: JsonObject) -> bool:
    stone, names = receipt.get("tombstone"), ("project", "subject")
    if not isinstance(stone, dict) or any(receipt.get(name) != stone.get(name) for name in names):
        return False
    return is_signed(stone, receipt["public_key"])
