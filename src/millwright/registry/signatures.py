"""Signs versions and checks them: without the project's keys nobody can put another model in one's place.

A seal finds damage; a signature over the seal finds who changes both. They stand beside the versions, in
`.millwright/signatures/VERSION.json`, since what a version holds must not depend on whose project it is in.
"""

from pathlib import Path

from millwright.errors import Corrupt
from millwright.privacy.signing import is_signed, public_text, signed
from millwright.privacy.vault import open_keys
from millwright.project import Project
from millwright.store.files import SEAL, make_folder, read_json, sha256_file, verify, write_json

SIGNATURE_FORMAT = 1


def sign_version(project: Project, name: str) -> None:
    """Sign a sealed version, in place of an earlier signature.

    Args:
        project: an open project.
        name: a version's name.

    Raises:
        NotFound: the master key is missing.
        CannotStore: the signature cannot be written.
    """
    keys = open_keys(project)
    try:
        content = {"format": SIGNATURE_FORMAT, "project": keys.project_id, **_about(project, name)}
        statement = signed(content, keys.signing_key)
    finally:
        keys.close()
    make_folder(_path(project, name).parent)
    write_json(_path(project, name), statement)


def verify_version(project: Project, name: str) -> Path:
    """Compare a version with its seal, and the seal with the project's signature.

    Args:
        project: an open project.
        name: a version's name.

    Returns:
        The version's folder.

    Raises:
        Corrupt: a file was truncated, edited, added or removed; or the seal is not the one that was signed.
        NotFound: the master key is missing, so nobody can tell whose signature it is.
    """
    folder, path = project.kept / "versions" / name, _path(project, name)
    verify(folder)
    if not path.exists():
        raise Corrupt(
            f"{name} has no signature: it was put there by hand, or by an older Millwright; if you trust it, "
            f"`millwright versions sign {name}`"
        )
    statement, keys = read_json(path), open_keys(project)
    try:
        public, own = public_text(keys.signing_key), keys.project_id
    finally:
        keys.close()
    told = {key: statement.get(key) for key in ("version", "seal_sha256", "project")}
    if not is_signed(statement, public) or told != {**_about(project, name), "project": own}:
        raise Corrupt(
            f"{name} is not what this project signed: its files and their seal were changed, or it came from "
            "another project; restore it from a backup or train it again"
        )
    return folder


def drop_signature(project: Project, name: str) -> None:
    """Forget the signature of a version that was deleted."""
    _path(project, name).unlink(missing_ok=True)


def _about(project: Project, name: str) -> dict[str, str]:
    return {"version": name, "seal_sha256": sha256_file(project.kept / "versions" / name / SEAL)}


def _path(project: Project, name: str) -> Path:
    return project.kept / "signatures" / f"{name}.json"
