"""Converts a version's body for OpenVINO, in float32 or quantised to int8, into sealed folders.

int8 is post-training quantisation by NNCF, calibrated on training rows, with SmoothQuant (Xiao et al.
2022, arXiv:2211.10438). The inputs of the second product of each feed-forward block have heavy tails, and one
scale for all of them cost more agreement with float32 than all the rest together: there the weights alone are
quantised beforehand, and the inputs as they come, with a scale for every few of a token's.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from millwright.errors import MissingExtra
from millwright.records import Row
from millwright.serve.openvino_body import BODY_FORMAT, import_openvino
from millwright.store.files import sealed_folder, write_json
from millwright.train.ensemble import Trained, in_precision
from millwright.train.network import Featuring
from millwright.train.states import tokenize

# Whichever is reached first: long texts cost minutes, and 300 rows agreed hardly better than 100.
CALIBRATION_ROWS, CALIBRATION_TOKENS = 100, 8_000
SMOOTHING = 0.8  # of SmoothQuant; agreed best with float32 on Banking77 among .15, .5, .8, .95


def convert_body(classifier: Trained, folder: Path) -> None:
    """Write a body for OpenVINO in float32; it can run in bfloat16 too.

    Args:
        classifier: whose body to convert.
        folder: the sealed folder to make.

    Raises:
        MissingExtra: OpenVINO is not installed.
        CannotStore: the disk is full or read-only.
    """
    _write(_converted(classifier), classifier, folder, ())


def quantise_body(classifier: Trained, rows: Sequence[Row], folder: Path) -> None:
    """Write a body for OpenVINO in int8.

    Args:
        classifier: whose body to convert.
        rows: training rows; the first by id calibrate, up to 100 and to 8,000 tokens.
        folder: the sealed folder to make. It names the rows.

    Raises:
        MissingExtra: OpenVINO or NNCF is not installed.
        CannotStore: the disk is full or read-only.
    """
    import_openvino()  # first: it keeps NNCF from sending usage data
    try:
        import nncf
    except ImportError:
        raise MissingExtra("NNCF is missing; run: pip install nncf") from None
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own set_log_level silences everybody's handlers
    first = sorted(rows, key=lambda row: row.id)[:CALIBRATION_ROWS]
    token_ids = tokenize(classifier.backbone, [row.text for row in first])
    chosen = first[: sum(total <= CALIBRATION_TOKENS for total in accumulate(map(len, token_ids))) or 1]
    inputs = [
        (ids[None].numpy(), torch.ones(1, len(ids), dtype=torch.int64).numpy())
        for ids in token_ids[: len(chosen)]
    ]
    converted = _converted(classifier)
    alphas = nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF draws bars there
        quantised: Any = nncf.quantize(
            converted,
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=_feed_forward_outputs(classifier, converted)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas),
        )
        quantised = nncf.compress_weights(
            quantised,
            mode=nncf.CompressWeightsMode.INT8_SYM,
            ignored_scope=nncf.IgnoredScope(types=["Gather"], validate=False),  # embeddings are looked up
        )
    _write(quantised, classifier, folder, tuple(row.id for row in chosen))


def in_float32(classifier: Trained) -> Trained:
    """The same version with its whole network in float32."""
    return in_precision(classifier, torch.float32)


class _Features(nn.Module):
    """A network without its head, as the converter wants it."""

    def __init__(self, network: Featuring) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Features [B, D] of token ids and their mask [B, T]."""
        return self.network.features(ids, mask)


def _converted(classifier: Trained) -> Any:
    openvino = import_openvino()
    network = in_float32(classifier).network.cpu().eval()
    example = torch.ones(2, 8, dtype=torch.int64)
    any_shape = openvino.PartialShape([-1, -1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of branches on shapes; the parity test watches
        return openvino.convert_model(
            _Features(network), example_input=(example, example), input=[any_shape, any_shape]
        )


def _feed_forward_outputs(classifier: Trained, model: Any) -> list[str]:
    """The products, by name, whose results leave the feed-forward blocks."""
    path = re.escape(classifier.backbone.family.sublayer_outputs[1])
    wanted = re.compile(rf".*\.\d+\.{path}/.*")
    names = (op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "MatMul")
    return [name for name in names if wanted.fullmatch(name)]


def _write(model: Any, classifier: Trained, folder: Path, rows: tuple[str, ...]) -> None:
    with sealed_folder(folder) as target:
        import_openvino().save_model(model, str(target / "model.xml"), compress_to_fp16=False)
        about = {
            "format": BODY_FORMAT,
            "backbone": classifier.backbone.name,
            "pad_id": classifier.backbone.pad_id,
            "features": classifier.network.width,
            "rows": list(rows),
        }
        write_json(target / "body.json", about)
