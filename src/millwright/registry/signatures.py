"""Signs what serves and checks it: without the project's keys nobody can put another model in one's place.

Versions, the bodies converted of them and the records that say who runs which are sealed folders. A seal
finds damage; a signature over the seal finds who changes both. They stand in `.millwright/signatures/`, apart
from the folders, since what a version holds must not depend on whose project it is in.
"""

from pathlib import Path

from millwright.errors import Corrupt
from millwright.privacy.signing import is_signed, public_text, signed
from millwright.privacy.vault import open_keys
from millwright.project import Project
from millwright.records import JsonObject
from millwright.store.files import SEAL, make_folder, read_json, sha256_file, verify, write_json

SIGNATURE_FORMAT = 1
VERSIONS, BODIES, RUNTIMES = "versions", "bodies", "runtimes"  # the folders of sealed folders
CALLED = {VERSIONS: "version", BODIES: "body", RUNTIMES: "runtime"}


def sign(project: Project, kind: str, name: str) -> None:
    """Sign a sealed folder, in place of an earlier signature.

    Args:
        project: an open project.
        kind: VERSIONS, BODIES or RUNTIMES.
        name: the folder's name.

    Raises:
        NotFound: the master key is missing.
        CannotStore: the signature cannot be written.
    """
    keys = open_keys(project)
    try:
        content = {"format": SIGNATURE_FORMAT, "project": keys.project_id, **_about(project, kind, name)}
        statement = signed(content, keys.signing_key)
    finally:
        keys.close()
    make_folder(_path(project, kind, name).parent)
    write_json(_path(project, kind, name), statement)


def verify_signed(project: Project, kind: str, name: str) -> Path:
    """Compare a sealed folder with its seal, and the seal with the project's signature.

    Args:
        project: an open project.
        kind: VERSIONS, BODIES or RUNTIMES.
        name: the folder's name.

    Returns:
        The folder.

    Raises:
        Corrupt: a file was truncated, edited, added or removed; or the seal is not the one that was signed.
        NotFound: the master key is missing, so nobody can tell whose signature it is.
    """
    folder, path = _folder(project, kind, name), _path(project, kind, name)
    verify(folder)
    if not path.exists():
        raise Corrupt(f"{_named(kind, name)} has no signature: {_unsigned(kind, name)}")
    statement, keys = read_json(path), open_keys(project)
    try:
        public, own = public_text(keys.signing_key), keys.project_id
    finally:
        keys.close()
    about = {**_about(project, kind, name), "project": own}
    if not is_signed(statement, public) or any(statement.get(key) != about[key] for key in about):
        raise Corrupt(
            f"{_named(kind, name)} is not what this project signed: its files and their seal were changed, "
            f"or it came from another project; {_remedy(kind)}"
        )
    return folder


def verify_version(project: Project, name: str) -> Path:
    """`verify_signed` for a version."""
    return verify_signed(project, VERSIONS, name)


def has_signature(project: Project, kind: str, name: str) -> bool:
    """True if a signature stands there, whosever it is."""
    return _path(project, kind, name).exists()


def drop_signature(project: Project, kind: str, name: str) -> None:
    """Forget the signature of what was deleted."""
    _path(project, kind, name).unlink(missing_ok=True)


def _about(project: Project, kind: str, name: str) -> JsonObject:
    return {CALLED[kind]: name, "seal_sha256": sha256_file(_folder(project, kind, name) / SEAL)}


def _named(kind: str, name: str) -> str:
    return name if kind == VERSIONS else f"{kind}/{name}"


def _unsigned(kind: str, name: str) -> str:
    if kind == VERSIONS:
        return (
            "it was put there by hand, or by an older Millwright; if you trust it, "
            f"`millwright versions sign {name}`"
        )
    return f"it was put there by hand, or its making was interrupted; {_remedy(kind)}"


def _remedy(kind: str) -> str:
    if kind == VERSIONS:
        return "restore it from a backup or train it again"
    return "promote the version again, then it is made anew"


def _folder(project: Project, kind: str, name: str) -> Path:
    return project.kept / kind / name


def _path(project: Project, kind: str, name: str) -> Path:
    folder = project.kept / "signatures"
    return (folder if kind == VERSIONS else folder / kind) / f"{name}.json"
