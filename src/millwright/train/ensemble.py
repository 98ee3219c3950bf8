"""A version of shards: networks that learnt apart, each from the rows of its own people, and answer together.

What the shards share is never tuned: the layers below those that moved run once for all of them.

Shape suffixes: N texts, C labels, B texts of a batch, T tokens, F features of all shards side by side, M
validation rows of a shard, K labels of a shard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from millwright.errors import Corrupt
from millwright.settings import TrainSection
from millwright.store.files import read_json, write_bytes, write_json, write_text
from millwright.train.averaging import Heads, ShardHead
from millwright.train.backbones import Backbone
from millwright.train.classifier import (
    Classifier,
    assemble,
    backbone_facts,
    backbone_of,
    head_of,
    open_classifier,
    read_tensors,
    rebuild,
    text_features,
)
from millwright.train.network import Network, lower_encoder
from millwright.train.shards import SHARDS_FORMAT, shard_file, shard_settings
from millwright.train.states import device

HELD = "validation.logits"


@dataclass(frozen=True)
class Member:
    """What one shard learnt. `key` is a digest of everything its training depended on.

    `held_MK` are logits of its validation rows before these taught it too: by them the average is calibrated.
    """

    key: str
    labels: tuple[str, ...]
    temperature: float
    held_MK: Tensor
    precision: torch.dtype
    tuned: dict[str, Tensor]


class EnsembleNetwork(nn.Module):
    """Features of all shards side by side, from tokens."""

    def __init__(self, lower: Any, shards: Sequence[Network]) -> None:
        super().__init__()
        self.lower: Any = lower  # an encoder of transformers, or None
        self.shards = nn.ModuleList(shards)
        self.width = sum(shard.width for shard in shards)

    def features(self, input_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Features [B, F] in float32 of token ids [B, T]."""
        given = input_BT
        if self.lower is not None:
            given = self.lower(input_ids=input_BT, attention_mask=mask_BT).last_hidden_state
        return torch.cat([shard.features(given, mask_BT) for shard in self._all], dim=1)

    @property
    def _all(self) -> list[Network]:
        return cast("list[Network]", list(self.shards))


@dataclass(frozen=True)
class Ensemble:
    """Shards over one backbone; `temperature` is that of their average."""

    labels: tuple[str, ...]
    method: str
    backbone: Backbone
    settings: TrainSection
    temperature: float
    members: tuple[Member, ...]
    network: EnsembleNetwork

    @property
    def tuned(self) -> dict[str, Tensor]:
        """What tells it from its backbone, by "SHARD/NAME"."""
        return named_by_shard([member.tuned for member in self.members])

    @cached_property
    def heads(self) -> Heads:
        """How the shards' features become one answer."""
        return Heads(
            tuple(_head(member, self.labels) for member in self.members), len(self.labels), self.temperature
        )

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities [N, C] of the labels, in float64; each row sums to one."""
        return self.of_features(text_features(self.network, self.backbone, texts))

    def of_features(self, feature_NF: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N, C] of features that its network made, or a conversion of it."""
        return self.heads.probabilities(feature_NF)

    def save(self, folder: Path) -> None:
        """Write a file a shard, tokenizer.json and classifier.json; CannotStore on a full disk."""
        for shard, member in enumerate(self.members):
            content = {name: tensor.contiguous().cpu() for name, tensor in member.tuned.items()}
            write_bytes(folder / shard_file(shard), save({**content, HELD: member.held_MK}))
        write_text(folder / "tokenizer.json", self.backbone.tokenizer.to_str(pretty=True))
        about = {
            "format": SHARDS_FORMAT,
            "labels": list(self.labels),
            "method": self.method,
            "temperature": self.temperature,
            "backbone": backbone_facts(self.backbone),
            "train": self.settings.model_dump(),
            "shards": [
                {
                    "key": member.key,
                    "labels": list(member.labels),
                    "temperature": member.temperature,
                    "precision": str(member.precision).removeprefix("torch."),
                }
                for member in self.members
            ],
        }
        write_json(folder / "classifier.json", about)


Trained = Classifier | Ensemble


def named_by_shard(tuned: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all shards, by "SHARD/NAME"."""
    return {f"{shard}/{name}": own[name] for shard, own in enumerate(tuned) for name in own}


def assemble_shards(
    method: str,
    backbone: Backbone,
    settings: TrainSection,
    temperature: float,
    members: Sequence[Member],
    precision: torch.dtype | None = None,
) -> Ensemble:
    """Build a version of shards for inference.

    Args:
        method: how they were tuned.
        backbone: what they were tuned from.
        settings: the [train] settings of all of them.
        temperature: that of their average.
        members: the shards in the order of their numbers.
        precision: of the encoders; the shards' own if None, float32 where they do not agree.

    Returns:
        The ensemble; its labels are those of all shards.

    Raises:
        Corrupt: the tensors of a shard are not what this method moves.
    """
    if precision is None:
        own = {member.precision for member in members}
        precision = own.pop() if len(own) == 1 else torch.float32
    networks = [
        rebuild(method, backbone, len(member.labels), shard_settings(settings, shard), member.tuned)
        for shard, member in enumerate(members)
    ]
    lower = lower_encoder(backbone, networks[0].depth) if networks[0].depth else None
    network = EnsembleNetwork(lower, networks).to(device(), precision).eval()
    labels = tuple(sorted({label for member in members for label in member.labels}))
    return Ensemble(labels, method, backbone, settings, temperature, tuple(members), network)


def in_precision(classifier: Trained, precision: torch.dtype) -> Trained:
    """The same version with its encoder in another precision; the heads stay in float32."""
    if isinstance(classifier, Ensemble):
        return assemble_shards(
            classifier.method,
            classifier.backbone,
            classifier.settings,
            classifier.temperature,
            classifier.members,
            precision,
        )
    return assemble(
        classifier.labels,
        classifier.method,
        classifier.backbone,
        classifier.settings,
        classifier.temperature,
        precision,
        classifier.tuned,
    )


def read_members(folder: Path) -> tuple[Member, ...]:
    """The shards of a version, without its backbone.

    Args:
        folder: the version's; the caller verifies its seal.

    Returns:
        The shards in the order of their numbers; none if the version is one network.

    Raises:
        Corrupt: a file is damaged.
    """
    members = []
    for shard, about in enumerate(read_json(folder / "classifier.json").get("shards", ())):
        tensors = read_tensors(folder / shard_file(shard))
        if HELD not in tensors:
            raise Corrupt(f"{folder / shard_file(shard)} lacks {HELD!r}; restore it from a backup")
        members.append(
            Member(
                about["key"],
                tuple(about["labels"]),
                float(about["temperature"]),
                tensors.pop(HELD),
                getattr(torch, about["precision"]),
                tensors,
            )
        )
    return tuple(members)


def open_trained(folder: Path) -> Trained:
    """Load what `Classifier.save` or `Ensemble.save` wrote.

    Args:
        folder: where it was written; the caller verifies its seal.

    Returns:
        The trained model.

    Raises:
        Corrupt: a file is damaged, of an unknown format, or the backbone has other weights now.
        NotFound: the backbone cannot be loaded.
    """
    about = read_json(folder / "classifier.json")
    if about.get("format") != SHARDS_FORMAT:
        return open_classifier(folder)
    if not about.get("shards"):
        raise Corrupt(f"{folder / 'classifier.json'} names no shard; restore it from a backup")
    settings = TrainSection.model_validate(about["train"])
    backbone = backbone_of(about, folder)
    return assemble_shards(about["method"], backbone, settings, about["temperature"], read_members(folder))


def _head(member: Member, labels: Sequence[str]) -> ShardHead:
    return ShardHead.of(member.labels, labels, head_of(member.tuned), member.temperature)
