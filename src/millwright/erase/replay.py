"""Erases again whom a restored backup brought back, by the tombstones that outlived it."""

from collections.abc import Sequence
from pathlib import Path

from millwright.erase.erasure import Erased, erase_pseudonyms
from millwright.erase.found import find
from millwright.erase.people import People
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
        BadInput: a receipt is not of this project, or this project's key did not sign it; or somebody who
            came back is under a legal hold: the others are erased then.
    """
    vault = open_vault(project)
    for path in receipts:
        _take_over(vault.keys, path)
    stones = vault.keys.tombstones()
    found = find(project, People(vault.keys, tuple(stones)), until=stones)
    back = [person for person, about in found.items() if any(about.rows.values()) or about.is_in_data]
    if not back:
        return {}
    erased, refused = erase_pseudonyms(project, vault, back, progress=progress)
    for error in refused.values():  # under a legal hold, since the others are here
        raise error
    return {person: erased[person] for person in back}


def _take_over(keys: KeyStore, path: Path) -> None:
    receipt = check_receipt(path, public_text(keys.signing_key))
    stone = receipt["tombstone"]
    if stone["project"] != keys.project_id or not is_signed(stone, public_text(keys.signing_key)):
        raise BadInput(f"{path} is a receipt of another project; pass one of this one")
    if keys.tombstones().get(stone["subject"], "") < stone["erased_at"]:
        keys.destroy(stone)
