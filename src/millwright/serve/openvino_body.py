"""Runs a converted backbone with OpenVINO on the CPU. Needs neither PyTorch nor transformers.

Shape suffixes: N texts, B texts of a batch, T tokens, D features.
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from millwright.errors import Corrupt, MissingExtra, one_of
from millwright.machine import cores
from millwright.modalities.text import bare
from millwright.store.files import read_json

BODY_FORMAT = 1
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}  # int8: what is not quantised runs so
CALL_TOKENS = 48  # what one more call costs, as the tokens that the network reads in that time
STEP_TOKENS = 4  # lengths are padded to multiples of this: each new shape costs a set-up
SHAPES_KEPT = 50_000
INPUTS_A_SCALE = 128  # where inputs are quantised as they come; 32 takes longer and agrees no better


class OpenVinoBody:
    """Features of texts by a compiled network; `streams` threads may run it at once."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, precision: str) -> None:
        """Load and compile.

        Args:
            folder: what `convert.py` wrote, verified: model.xml, model.bin, body.json.
            tokenizer: cuts, and does not pad.
            precision: a key of PRECISIONS.

        Raises:
            Corrupt: it has an unknown format.
            MissingExtra: OpenVINO is not installed, or cannot run the network on this processor.
        """
        about = read_json(folder / "body.json")
        if about.get("format") != BODY_FORMAT:
            raise Corrupt(
                f"{folder / 'body.json'} has format {about.get('format')!r}, this Millwright reads "
                f"{BODY_FORMAT}; promote the version again"
            )
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[one_of("precision", precision, PRECISIONS)],
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": cores(),  # OpenVINO heeds the cores a process is bound to, and no quota
            "ENABLE_CPU_PINNING": False,  # the server's own thread needs the same cores
            "CPU_RUNTIME_CACHE_CAPACITY": str(SHAPES_KEPT),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(INPUTS_A_SCALE),
        }
        self.tokenizer = tokenizer
        self.pad_id = int(about["pad_id"])
        self.width = int(about["features"])
        self._own = threading.local()
        try:
            self._compiled = (
                import_openvino().Core().compile_model(str(folder / "model.xml"), "CPU", settings)
            )
            # OpenVINO's binding sets itself up in the first call; two threads in it at once wait for ever.
            one_BT = np.ones((1, STEP_TOKENS), np.int64)
            self._infer(one_BT, one_BT)
        except RuntimeError as error:  # what OpenVINO raises, whatever it is
            why = " ".join(str(error).split())
            raise MissingExtra(f"OpenVINO cannot run {folder.name} on this processor ({why})") from None
        self.streams = int(self._compiled.get_property("NUM_STREAMS"))

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Features [N, D] in float32, in the order of the texts."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast([bare(text) for text in texts])]
        feature_ND = np.empty((len(ids), self.width), np.float32)
        for group in groups_by_length([len(one) for one in ids]):
            steps = -(-max(len(ids[place]) for place in group) // STEP_TOKENS) * STEP_TOKENS
            ids_BT = np.full((len(group), steps), self.pad_id, np.int64)
            mask_BT = np.zeros((len(group), steps), np.int64)
            for row, place in enumerate(group):
                ids_BT[row, : len(ids[place])] = ids[place]
                mask_BT[row, : len(ids[place])] = 1
            feature_ND[group] = self._infer(ids_BT, mask_BT)
        return feature_ND

    def _infer(self, ids_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        feature_BD: np.ndarray = self._own.request.infer([ids_BT, mask_BT], share_inputs=True)[0]
        return feature_BD


def groups_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Cut texts, longest first, into groups wherever that saves more padding than a call costs."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    groups: list[list[int]] = []
    saved = 0
    for place in order:
        if groups:
            saved += lengths[groups[-1][0]] - lengths[place]
        if not groups or saved > CALL_TOKENS:
            groups.append([])
            saved = 0
        groups[-1].append(place)
    return groups


def import_openvino() -> Any:
    """The module `openvino`, kept from sending usage data to its maker."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail
    try:
        import openvino
    except ImportError:
        raise MissingExtra("OpenVINO is missing; run: pip install openvino") from None
    return openvino
