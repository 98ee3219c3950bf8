"""What was measured of the ways to run a version, and which was chosen: `.millwright/runtimes/VERSION/`.

Records and the converted bodies that they name are signed, as versions are.
"""

import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from millwright.errors import Corrupt
from millwright.project import Project
from millwright.registry.signatures import (
    BODIES,
    RUNTIMES,
    drop_signature,
    has_signature,
    sign,
    verify_signed,
)
from millwright.store.files import read_json, sealed_folder, write_json

RUNTIME_FORMAT = 1
TORCH = "torch"


@dataclass(frozen=True)
class Candidate:
    """What was measured of one way to run a version; `refused` says why it may not serve.

    `agreement` is the share of rows on which its arg-max is that of float32, `accuracy` that on
    validation rows; both None for those slower than the one that was taken, which nobody judged.
    """

    name: str
    texts_per_second: float = 0.0
    agreement: float | None = None
    accuracy: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class RuntimeRecord:
    """The runtime that serves a version, the converted body it runs, and how it was chosen.

    `network` is the key that versions share whose networks differ in their heads alone, `text_length` the
    mean number of characters of the texts that were timed; `speeds_of` names the version with which they
    were, None if that is this one. Records of earlier releases have none of the three.
    """

    version: str
    runtime: str
    body: str | None
    candidates: tuple[Candidate, ...]
    processor: str
    seconds: float
    network: str | None = None
    text_length: float | None = None
    speeds_of: str | None = None


def write_runtime(project: Project, record: RuntimeRecord) -> None:
    """Keep a record in place of an older one of the same version, and sign it."""
    folder = _folder(project, record.version)
    drop_signature(project, RUNTIMES, record.version)  # first: a signature must never stand by another record
    shutil.rmtree(folder, ignore_errors=True)
    with sealed_folder(folder) as target:
        write_json(target / "runtime.json", {"format": RUNTIME_FORMAT, **asdict(record)})
    sign(project, RUNTIMES, record.version)


def read_runtime(project: Project, version: str) -> RuntimeRecord | None:
    """The record of a version; None if its runtimes were never measured, or nobody signed what was.

    Earlier releases signed no records; without one a version is served by PyTorch.

    Args:
        project: an open project.
        version: a version's name.

    Returns:
        The record.

    Raises:
        Corrupt: it is not what this project signed, or has an unknown format.
        NotFound: the master key is missing, so nobody can tell who signed it.
    """
    if not (_folder(project, version).exists() and has_signature(project, RUNTIMES, version)):
        return None
    folder = verify_signed(project, RUNTIMES, version)
    tree = read_json(folder / "runtime.json")
    if tree.pop("format", None) != RUNTIME_FORMAT:
        raise Corrupt(f"{folder / 'runtime.json'} has an unknown format; promote {version} again")
    return RuntimeRecord(**{**tree, "candidates": tuple(Candidate(**one) for one in tree["candidates"])})


def is_measured(project: Project, version: str) -> bool:
    """True if a version's runtimes were measured on this processor, and the settings want what was chosen.

    What is not as it was signed was not measured, so that the next promotion makes it anew.
    """
    try:
        record = read_runtime(project, version)
        if record is not None and record.body is not None:
            verify_signed(project, BODIES, record.body)
    except Corrupt:
        return False
    wanted = project.settings.serve.runtime
    if record is None or record.processor != processor():
        return False
    was_timed = any(one.texts_per_second for one in record.candidates)
    return wanted == record.runtime or (wanted == "auto" and was_timed)


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _folder(project: Project, version: str) -> Path:
    return project.kept / RUNTIMES / version
