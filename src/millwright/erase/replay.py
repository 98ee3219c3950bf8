"""Erases again whom a restored backup brought back, by the tombstones that outlived it."""

from collections.abc import Sequence
from pathlib import Path

from millwright.erase.erasure import Erased, erase_pseudonym
from millwright.erase.found import Person, find
from millwright.errors import BadInput
from millwright.privacy.keys import KeyStore
from millwright.privacy.receipts import check_receipt
from millwright.privacy.signing import is_signed, public_text
from millwright.privacy.vault import open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project


def replay(
    project: Project, receipts: Sequence[Path] = (), *, progress: Progress = quiet
) -> dict[str, Erased]:
    """Erase everyone who has a tombstone and of whom something from before it is here.

    Rows of predictions are deleted by themselves whenever the vault is opened; this reaches datasets,
    versions and files too.

    Args:
        project: an open project.
        receipts: receipts that were kept elsewhere, for a backup that also lost the tombstones.
        progress: called with a step's name and the fraction done.

    Returns:
        The new receipts by pseudonym; empty where nobody had come back.

    Raises:
        BadInput: a receipt is not of this project, or this project's key did not sign it.
    """
    vault, found = open_vault(project), dict[str, Erased]()
    for path in receipts:
        _take_over(vault.keys, path)
    for pseudonym, erased_at in vault.keys.tombstones().items():
        back = find(project, Person(vault.keys, pseudonym), until=erased_at)
        owned = set(back.files) - set(back.not_owned)
        if any(back.rows.values()) or owned or back.datasets or back.versions:
            found[pseudonym] = erase_pseudonym(project, vault, pseudonym, progress=progress)
    return found


def _take_over(keys: KeyStore, path: Path) -> None:
    receipt = check_receipt(path, public_text(keys.signing_key))
    stone = receipt["tombstone"]
    if stone["project"] != keys.project_id or not is_signed(stone, public_text(keys.signing_key)):
        raise BadInput(f"{path} is a receipt of another project; pass one of this one")
    if keys.tombstones().get(stone["subject"], "") < stone["erased_at"]:
        keys.destroy(stone)
