"""Runs a version's own network with PyTorch: on a GPU, and wherever there is no converted runtime."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from millwright.train.classifier import Classifier, open_classifier
from millwright.train.network import POOLS, pad
from millwright.train.states import batches_by_length, device, tokenize


class TorchBody:
    """Features of texts by the network that was trained, in the precision it was trained for."""

    streams = 1  # PyTorch spreads one batch over all cores by itself

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Features [N, D] in float32, in the order of the texts."""
        network, backbone = self.classifier.network, self.classifier.backbone
        token_ids = tokenize(backbone, texts)
        feature_ND = np.empty((len(texts), network.head.in_features), np.float32)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids]):
                ids_BT, mask_BT = pad([token_ids[place] for place in batch], backbone.pad_id)
                feature_BD = network.features(ids_BT.to(device()), mask_BT.to(device()))
                feature_ND[batch] = feature_BD.float().cpu().numpy()
        return feature_ND


def open_torch_body(folder: Path) -> tuple[TorchBody, str]:
    """Load a version's body, and the key that it shares with versions that have the same one."""
    classifier = open_classifier(folder)
    return TorchBody(classifier), body_key(classifier)


def body_key(classifier: Classifier) -> str:
    """16 hex digits, the same for versions whose networks differ in their heads alone."""
    digest = hashlib.sha256(f"{classifier.backbone.sha256} {classifier.backbone.max_tokens} {POOLS}".encode())
    moved = {name: tensor for name, tensor in classifier.tuned.items() if not name.startswith("head.")}
    if moved:
        shape = {"method": classifier.method, "train": classifier.settings.model_dump()}
        digest.update(json.dumps(shape, sort_keys=True).encode())
    for name, tensor in sorted(moved.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
