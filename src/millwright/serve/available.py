"""Whether the packages of a runtime are here; known before anything is trained, and without PyTorch."""

from importlib.util import find_spec

from millwright.errors import MissingExtra
from millwright.serve.openvino_body import import_openvino
from millwright.serve.runtime_record import INT8, OPENVINO
from millwright.settings import Settings


def check_runtime(settings: Settings) -> None:
    """Refuse settings that force a runtime which this installation cannot have.

    That a runtime answers as float32 does shows only when a version is measured; this asks for its packages.

    Args:
        settings: `serve.runtime` matters; "auto" takes what there is and is never refused.

    Raises:
        MissingExtra: OpenVINO (or for int8 NNCF) is not installed, or OpenVINO cannot run on this processor.
    """
    wanted = settings.serve.runtime
    why = _why_missing(wanted)
    if why is not None:
        raise MissingExtra(
            f"serve.runtime is {wanted!r}, which cannot be had here: {why}, or set serve.runtime to 'auto'"
        )


def _why_missing(runtime: str) -> str | None:
    """Why this installation cannot have a runtime, and what to do; None if it can, as always "auto"."""
    if runtime not in OPENVINO:
        return None
    try:
        devices = import_openvino().Core().available_devices
    except MissingExtra as missing:
        return str(missing)
    if "CPU" not in devices:
        return f"OpenVINO cannot run on the processor, only on {devices}"
    if runtime == INT8 and find_spec("nncf") is None:
        return "NNCF is missing; run: pip install nncf"
    return None
