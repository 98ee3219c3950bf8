"""Runs a version's own network with PyTorch: on a GPU, and wherever there is no converted runtime."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from millwright.train.classifier import text_features
from millwright.train.ensemble import Trained, open_trained


class TorchBody:
    """Features of texts by the network that was trained, in the precision it was trained for."""

    streams = 1  # PyTorch spreads one batch over all cores by itself

    def __init__(self, classifier: Trained) -> None:
        self.classifier = classifier

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Features [N, D] in float32, in the order of the texts."""
        return text_features(self.classifier.network, self.classifier.backbone, texts)


def open_torch_body(folder: Path) -> tuple[TorchBody, str]:
    """Load a version's body, and the key that it shares with versions that have the same one."""
    classifier = open_trained(folder)
    return TorchBody(classifier), body_key(classifier)


def body_key(classifier: Trained) -> str:
    """16 hex digits, the same for versions whose networks differ in their heads alone."""
    digest = hashlib.sha256(f"{classifier.backbone.sha256} {classifier.backbone.max_tokens}".encode())
    moved = {name: tensor for name, tensor in classifier.tuned.items() if not _is_of_head(name)}
    if moved:
        # Without what came later, so that a body that an earlier release converted keeps its name.
        train = classifier.settings.model_dump(exclude={"shards"})
        shape = {"method": classifier.method, "train": train}
        digest.update(json.dumps(shape, sort_keys=True).encode())
    for name, tensor in sorted(moved.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _is_of_head(name: str) -> bool:
    """True for tensors of heads, those of shards too: "SHARD/head.weight"."""
    return name.rpartition("/")[2].startswith("head.")
