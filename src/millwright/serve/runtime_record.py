"""What was measured of the ways to run a version, and which was chosen: `.millwright/runtimes/VERSION/`.

Records and the converted bodies that they name are signed, as versions are.
"""

import platform
import re
import shutil
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from millwright.errors import Corrupt
from millwright.machine import cores
from millwright.project import Project
from millwright.registry.signatures import RUNTIMES, drop_signature, has_signature, sign, verify_signed
from millwright.store.files import read_json, sealed_folder, write_json

RUNTIME_FORMAT = 1
TORCH, TORCH_BFLOAT16 = "torch", "torch-bfloat16"  # the first in the precision of training
INT8 = "openvino-int8"
OPENVINO = ("openvino-float32", "openvino-bfloat16", INT8)
PROCESSOR_NUMBERS = ("cpu family", "model", "CPU implementer", "CPU part")  # two of x86, two of ARM
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")  # NVIDIA's, Jetson's, AMD's, WSL's


@dataclass(frozen=True)
class Machine:
    """What speeds and answers of runtimes depend on; of older records the processor alone.

    `cores` are those that a process may use, `gpu` is the name of the one that PyTorch runs on, `openvino`
    and `nncf` are the versions of the packages; each None where there is none.
    """

    processor: str
    cores: int | None = None
    gpu: str | None = None
    openvino: str | None = None
    nncf: str | None = None

    def __str__(self) -> str:
        """As people read it."""
        found = [self.processor]
        if self.cores is not None:
            found.append(f"{self.cores} core{'' if self.cores == 1 else 's'}")
        if self.gpu is not None:
            found.append(self.gpu)
        if self.openvino is not None:
            found.append(f"OpenVINO {self.openvino}")
        if self.nncf is not None:
            found.append(f"NNCF {self.nncf}")
        return ", ".join(found)


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
    machine: Machine
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
    tree["machine"] = Machine(**tree["machine"]) if "machine" in tree else Machine(tree.pop("processor"))
    return RuntimeRecord(**{**tree, "candidates": tuple(Candidate(**one) for one in tree["candidates"])})


def candidates_on(gpu: str | None, wanted: str) -> tuple[str, ...]:
    """Names of the runtimes that are to be measured.

    Args:
        gpu: the name of the machine's GPU, None without one.
        wanted: what `serve.runtime` says.

    Returns:
        The one that is named; of "auto" PyTorch, with a GPU in bfloat16 too, else OpenVINO in each precision.
    """
    if wanted != "auto":
        return (wanted,)
    return (TORCH, TORCH_BFLOAT16) if gpu else (TORCH, *OPENVINO)


def this_machine() -> Machine:
    """What a record of now would say of the machine."""
    return Machine(_processor(), cores(), _gpu(), _version("openvino"), _version("nncf"))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> str | None:
    """The name of the GPU that PyTorch runs on; PyTorch is imported only where a driver of one is."""
    if not any(Path(path).exists() for path in GPU_DRIVERS):
        return None
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def _processor() -> str:
    """The name of this machine's processor, with the numbers that tell apart those of one name."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return platform.processor() or "unknown"
    said: dict[str, str] = dict(re.findall(r"^(.*?)\s*: (.*)$", first, re.MULTILINE))
    numbers = ", ".join(f"{name} {said[name]}" for name in PROCESSOR_NUMBERS if name in said)
    return said.get("model name", "unknown") + (f" ({numbers})" if numbers else "")


def _folder(project: Project, version: str) -> Path:
    return project.kept / RUNTIMES / version
