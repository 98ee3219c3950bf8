"""A trained model: texts in, calibrated probabilities out. Saved as safetensors and JSON.

Shape suffixes: N texts, C labels, B texts of a batch, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor

from millwright.errors import Corrupt
from millwright.records import JsonObject
from millwright.settings import TrainSection
from millwright.store.files import read_json, write_bytes, write_json, write_text
from millwright.train.backbones import Backbone, load_backbone
from millwright.train.calibrate import softmax
from millwright.train.methods import build_network, tuned_tensors
from millwright.train.network import Featuring, Network, layers_of, pad, whole_network
from millwright.train.states import batches_by_length, device, tokenize

CLASSIFIER_FORMAT = 2
REBUILT_STEPS = 1_000  # AdaLoRA's schedule does not matter once trained, its shapes do not depend on it


@dataclass(frozen=True)
class Classifier:
    """A network with its labels, tokenizer and temperature. `tuned` is what tells it from its backbone."""

    labels: tuple[str, ...]
    method: str
    backbone: Backbone
    settings: TrainSection
    temperature: float
    precision: torch.dtype
    tuned: dict[str, Tensor]
    network: Network

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities [N, C] of the labels, in float64; each row sums to one."""
        return softmax(self.logits(texts), self.temperature)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """What the head says [N, C], before the temperature."""
        logit_NC = np.zeros((len(texts), len(self.labels)))
        token_ids = tokenize(self.backbone, texts)
        with torch.inference_mode():
            for batch in batches_by_length([len(ids) for ids in token_ids]):
                ids_BT, mask_BT = pad([token_ids[index] for index in batch], self.backbone.pad_id)
                feature_BD = self.network.features(ids_BT.to(device()), mask_BT.to(device()))
                logit_NC[batch] = self.network.head(feature_BD).double().cpu().numpy()
        return logit_NC

    def of_features(self, feature_ND: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N, C] of features [N, D] that its network made, or a conversion of it."""
        weight_CD, bias_C = head_of(self.tuned)
        return softmax(feature_ND @ weight_CD.T + bias_C, self.temperature)

    def save(self, folder: Path) -> None:
        """Write weights.safetensors, tokenizer.json and classifier.json; CannotStore on a full disk."""
        weights = save({name: tensor.contiguous().cpu() for name, tensor in self.tuned.items()})
        write_bytes(folder / "weights.safetensors", weights)
        write_text(folder / "tokenizer.json", self.backbone.tokenizer.to_str(pretty=True))
        about = {
            "format": CLASSIFIER_FORMAT,
            "labels": list(self.labels),
            "method": self.method,
            "temperature": self.temperature,
            "precision": str(self.precision).removeprefix("torch."),
            "backbone": backbone_facts(self.backbone),
            "train": self.settings.model_dump(),
        }
        write_json(folder / "classifier.json", about)


def assemble(
    labels: Sequence[str],
    method: str,
    backbone: Backbone,
    settings: TrainSection,
    temperature: float,
    precision: torch.dtype,
    tuned: dict[str, Tensor],
) -> Classifier:
    """Build a classifier for inference from a backbone and the tensors that training moved.

    Args:
        labels: in the order of the head's rows.
        method: how it was tuned.
        backbone: what it was tuned from.
        settings: the [train] settings it was tuned with.
        temperature: what logits are divided by.
        precision: of the encoder; the head stays in float32.
        tuned: every tensor that training moved, by its name in the network.

    Returns:
        The classifier, low-rank updates merged.

    Raises:
        Corrupt: `tuned` is not what this method moves.
    """
    network = rebuild(method, backbone, len(labels), settings, tuned)
    if network.depth:
        network = _with_lower_layers(network, backbone, len(labels))
    network.encoder.to(device(), precision)
    network.head.to(device())
    return Classifier(
        tuple(labels), method, backbone, settings, temperature, precision, tuned, network.eval()
    )


def rebuild(
    method: str, backbone: Backbone, labels: int, settings: TrainSection, tuned: dict[str, Tensor]
) -> Network:
    """The network that was tuned, low-rank updates merged; of the method top its upper layers alone.

    Args:
        method: how it was tuned.
        backbone: what it was tuned from.
        labels: how many labels its head has.
        settings: the [train] settings it was tuned with.
        tuned: every tensor that training moved, by its name in the network.

    Returns:
        The network, on the CPU and in float32.

    Raises:
        Corrupt: `tuned` is not what this method moves.
    """
    network = build_network(method, backbone, labels, settings, REBUILT_STEPS)
    expected = tuned_tensors(network)
    if {name: tensor.shape for name, tensor in expected.items()} != {
        name: t.shape for name, t in tuned.items()
    }:
        raise Corrupt(
            f"the weights do not fit method {method!r} on backbone {backbone.name!r}; train a new version"
        )
    network.load_state_dict(tuned, strict=False)
    if method in ("lora", "adalora", "private-lora"):
        network.encoder = network.encoder.merge_and_unload()
    return network


def open_classifier(folder: Path) -> Classifier:
    """Load what `Classifier.save` wrote.

    Args:
        folder: where it was written; the caller verifies its seal.

    Returns:
        The classifier.

    Raises:
        Corrupt: a file is damaged, of an unknown format, or the backbone has other weights now.
        NotFound: the backbone cannot be loaded.
    """
    about = read_json(folder / "classifier.json")
    check_format(about, CLASSIFIER_FORMAT, folder)
    backbone = backbone_of(about, folder)
    tuned = read_tensors(folder / "weights.safetensors")
    settings = TrainSection.model_validate(about["train"])
    precision: torch.dtype = getattr(torch, about["precision"])
    return assemble(
        about["labels"], about["method"], backbone, settings, about["temperature"], precision, tuned
    )


def check_format(about: JsonObject, wanted: int, folder: Path) -> None:
    """Refuse a classifier.json that another release wrote, with a Corrupt that names its folder."""
    if about.get("format") != wanted:
        raise Corrupt(
            f"{folder / 'classifier.json'} has format {about.get('format')!r}, this Millwright reads "
            f"{wanted}; open it with the version that wrote it"
        )


def backbone_facts(backbone: Backbone) -> JsonObject:
    """What classifier.json says of a backbone."""
    return {"name": backbone.name, "sha256": backbone.sha256, "max_tokens": backbone.max_tokens}


def backbone_of(about: JsonObject, folder: Path) -> Backbone:
    """Load the backbone that a classifier.json names, with the version's own tokenizer.

    NotFound if it is gone, Corrupt if its weights have changed.
    """
    backbone = load_backbone(about["backbone"]["name"], about["backbone"]["max_tokens"], folder)
    if backbone.sha256 != about["backbone"]["sha256"]:
        raise Corrupt(
            f"backbone {backbone.name!r} has other weights than those {folder.name} was trained on; "
            "restore them or train a new version"
        )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return replace(backbone, tokenizer=tokenizer)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a version's file, by name; Corrupt if it is damaged."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise Corrupt(f"{path} is damaged ({error}); restore it from a backup") from None
    return tensors


def head_of(tuned: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Weights [C, D] and bias [C] of the head among tuned tensors, in float32."""
    weight_CD, bias_C = (tuned[f"head.{part}"].float().cpu().numpy() for part in ("weight", "bias"))
    return weight_CD, bias_C


def text_features(network: Featuring, backbone: Backbone, texts: Sequence[str]) -> np.ndarray:
    """Features [N, D] of texts in float32, in their order."""
    token_ids = tokenize(backbone, texts)
    feature_ND = np.empty((len(texts), network.width), np.float32)
    with torch.inference_mode():
        for batch in batches_by_length([len(ids) for ids in token_ids]):
            ids_BT, mask_BT = pad([token_ids[place] for place in batch], backbone.pad_id)
            feature_BD = network.features(ids_BT.to(device()), mask_BT.to(device()))
            feature_ND[batch] = feature_BD.float().cpu().numpy()
    return feature_ND


def _with_lower_layers(upper: Network, backbone: Backbone, labels: int) -> Network:
    network = whole_network(backbone, labels, words=upper.words)
    own = layers_of(network.encoder, backbone.family)
    for place, layer in enumerate(layers_of(upper.encoder, backbone.family), start=upper.depth):
        own[place].load_state_dict(layer.state_dict())
    if backbone.family.final_norm:
        norm = upper.encoder.get_submodule(backbone.family.final_norm)
        network.encoder.get_submodule(backbone.family.final_norm).load_state_dict(norm.state_dict())
    network.head.load_state_dict(upper.head.state_dict())
    return network
