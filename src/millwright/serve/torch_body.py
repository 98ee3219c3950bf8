"""Runs a version's own network with PyTorch: on a GPU, and wherever there is no converted runtime."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from millwright.records import JsonObject
from millwright.serve.runtime_record import TORCH, TORCH_BFLOAT16
from millwright.settings import TrainSection
from millwright.store.files import read_json
from millwright.train.classifier import backbone_facts, read_tensors, text_features
from millwright.train.ensemble import Trained, in_precision, named_by_shard, open_trained, read_members
from millwright.train.network import POOLS
from millwright.train.shards import WEIGHTS
from millwright.train.states import device


class TorchBody:
    """Features of texts by the network that was trained; `runtime` says in which precision."""

    streams = 1  # PyTorch spreads one batch over all cores by itself

    def __init__(self, classifier: Trained, chosen: str = TORCH) -> None:
        self.runtime = torch_runtime(chosen, device())
        self.classifier = (
            in_precision(classifier, torch.bfloat16) if self.runtime == TORCH_BFLOAT16 else classifier
        )

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Features [N, D] in float32, in the order of the texts."""
        return text_features(self.classifier.network, self.classifier.backbone, texts)


def torch_runtime(chosen: str, on: torch.device) -> str:
    """How PyTorch runs a version: in bfloat16 if that was chosen and on a GPU, else as it was trained."""
    return TORCH_BFLOAT16 if chosen == TORCH_BFLOAT16 and on.type == "cuda" else TORCH


def open_torch_body(folder: Path, chosen: str = TORCH) -> tuple[TorchBody, str]:
    """Load a version's body, and the key that it shares with versions that have the same one."""
    classifier = open_trained(folder)
    return TorchBody(classifier, chosen), body_key(classifier)


def body_key(classifier: Trained) -> str:
    """16 hex digits, the same for versions whose networks differ in their heads alone."""
    backbone = backbone_facts(classifier.backbone)
    return _key(backbone, classifier.method, classifier.settings, classifier.tuned)


def read_body_key(folder: Path) -> str:
    """What `body_key` says of the version in a folder, without its backbone, which may be gone.

    Args:
        folder: the version's.

    Returns:
        16 hex digits.

    Raises:
        Corrupt: a file of it is damaged.
    """
    about = read_json(folder / "classifier.json")
    members = [member.tuned for member in read_members(folder)]
    tuned = named_by_shard(members) if members else read_tensors(folder / WEIGHTS)
    return _key(about["backbone"], about["method"], TrainSection.model_validate(about["train"]), tuned)


def _key(backbone: JsonObject, method: str, settings: TrainSection, tuned: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(f"{backbone['sha256']} {backbone['max_tokens']} {POOLS}".encode())
    moved = {name: tensor for name, tensor in tuned.items() if not _is_of_head(name)}
    if moved:
        # Without what came later, so that a body that an earlier release converted keeps its name.
        shape = {"method": method, "train": settings.model_dump(exclude={"shards"})}
        digest.update(json.dumps(shape, sort_keys=True).encode())
    for name, tensor in sorted(moved.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _is_of_head(name: str) -> bool:
    """True for tensors of heads, those of shards too: "SHARD/head.weight"."""
    return name.rpartition("/")[2].startswith("head.")
