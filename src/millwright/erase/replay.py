"""Erases again whom a restored backup brought back, by the tombstones that outlived it."""

from collections.abc import Sequence
from pathlib import Path

from millwright.erase.cases import finished
from millwright.erase.erasure import Erased, erase_pseudonyms
from millwright.erase.found import Found, find
from millwright.erase.people import People
from millwright.errors import BadInput
from millwright.privacy.consent import consents_since
from millwright.privacy.keys import KeyStore
from millwright.privacy.receipts import check_receipt, receipt_folder
from millwright.privacy.signing import is_signed, public_text
from millwright.privacy.vault import open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.store.files import read_json


def replay(
    project: Project, receipts: Sequence[Path] = (), *, progress: Progress = quiet
) -> dict[str, Erased]:
    """Erase everyone who has a tombstone and of whom something from before it is here.

    Rows in files have no hour: they count, but for those of people who consented to training after they were
    erased, and for files that the last receipt left to the user. Rows of predictions are deleted by
    themselves whenever the vault is opened; this reaches datasets, versions and files too.

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
    back = [person for person, about in found.items() if _is_back(project, person, about, stones[person])]
    if not back:
        return {}
    erased, refused = erase_pseudonyms(project, vault, back, progress=progress)
    for error in refused.values():  # under a legal hold, since the others are here
        raise error
    return {person: erased[person] for person in back}


def _is_back(project: Project, person: str, about: Found, hour: str) -> bool:
    """True if something of a person is here that was erased at an hour."""
    if any(about.rows.values()) or about.datasets or about.versions:
        return True
    if not about.owned_files or consents_since(project, person, hour):
        return False
    return bool(about.owned_files - _left_to_user(project, person))


def _left_to_user(project: Project, person: str) -> set[str]:
    """What the last receipt of a person left to the user, if it is here."""
    for name in finished(project, person)[-1:]:
        path = receipt_folder(project) / f"{name}.json"
        if path.exists():
            return set(read_json(path)["left_to_you"])
    return set()


def _take_over(keys: KeyStore, path: Path) -> None:
    receipt = check_receipt(path, public_text(keys.signing_key))
    stone = receipt["tombstone"]
    if stone["project"] != keys.project_id or not is_signed(stone, public_text(keys.signing_key)):
        raise BadInput(f"{path} is a receipt of another project; pass one of this one")
    if keys.tombstones().get(stone["subject"], "") < stone["erased_at"]:
        keys.destroy(stone)
