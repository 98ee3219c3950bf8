"""The network that is trained and served: an encoder, pooled states, one linear head.

The features of a text are means over its tokens, each scaled to length one: of the last state, of the state
two layers below, and, where the network reads tokens, of the first state, the words by themselves. What the
second and the third add is measured by benchmarks/heads.py. What a method moves is marked by
`requires_grad`; see methods.py.

Shape suffixes: B texts, T tokens, H hidden width, D = 3 H features, C labels.
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from millwright.train.backbones import Backbone, Family

POOLED_BELOW = 2  # how many layers below the last the second pooled state lies
POOLS = "first, two below, last"  # part of the names of what is cached and converted


class StatesInPlaceOfTokens(nn.Module):
    """Stands where the embeddings stood and hands on the cached states that came as `inputs_embeds`."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        past_key_values_length: int = 0,
    ) -> Tensor:
        """Return `inputs_embeds` [B, T, H] unchanged."""
        assert inputs_embeds is not None
        return inputs_embeds


class Featuring(Protocol):
    """What makes features of token ids."""

    @property
    def width(self) -> int:
        """How many features a text has."""

    def features(self, input_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Features [B, D] in float32 of token ids [B, T] and their mask."""


class Network(nn.Module):
    """Logits from tokens, or from the states that the layers below `depth` made of them.

    `words` says whether the first state is among the features; a network that is trained over cached states
    never sees it. `precision` is that of its products while it is trained.
    """

    def __init__(
        self, encoder: Any, features: int, labels: int, depth: int = 0, *, words: bool = True
    ) -> None:
        super().__init__()
        self.words = words
        self.encoder: Any = encoder
        self.head = nn.Linear(features, labels)
        self.depth = depth
        self.precision = torch.float32

    @property
    def width(self) -> int:
        """How many features a text has, D."""
        return self.head.in_features

    def forward(self, input_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits [B, C] of token ids [B, T], or of states [B, T, H] where `depth` is over 0."""
        logits: Tensor = self.head(self.features(input_BT, mask_BT))
        return logits

    def features(self, input_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Features [B, D] in float32 of token ids or states."""
        given = {"inputs_embeds" if self.depth else "input_ids": input_BT}
        out = self.encoder(**given, attention_mask=mask_BT, output_hidden_states=True)
        states = [out.last_hidden_state]
        if len(out.hidden_states) > POOLED_BELOW:
            states.insert(0, out.hidden_states[-1 - POOLED_BELOW])
        if self.words:
            states.insert(0, out.hidden_states[0])
        return torch.cat([mean_pool(state, mask_BT) for state in states], dim=1)


def mean_pool(state_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the tokens that are not padding, scaled to length one: [B, H] in float32."""
    weight_BT1 = mask_BT.unsqueeze(-1).float()
    mean_BH = (state_BTH.float() * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)
    return nn.functional.normalize(mean_BH, dim=1)


def feature_count(backbone: Backbone, words: bool = True) -> int:
    """How many features a text has, D; `words` as of the network."""
    return backbone.hidden * (1 + (backbone.layers >= POOLED_BELOW) + words)


def whole_network(backbone: Backbone, labels: int, *, words: bool = True) -> Network:
    """A network over a copy of the whole encoder, reading tokens."""
    return Network(_copied(backbone), feature_count(backbone, words), labels, words=words)


def frozen_network(backbone: Backbone, where: torch.device, precision: torch.dtype) -> Network:
    """A whole network that is only ever asked for features; weights that need no conversion are shared."""
    known = {
        id(weight): nn.Parameter(weight.to(where, precision), requires_grad=False)
        for weight in backbone.model.parameters()
    }
    network = Network(copy.deepcopy(backbone.model, known), feature_count(backbone), labels=1)
    return network.to(where, precision).eval()


def upper_network(backbone: Backbone, labels: int, depth: int) -> Network:
    """A network over copies of the layers from `depth` up, reading cached states."""
    encoder = _cut(backbone, depth, backbone.layers)
    encoder.embeddings = StatesInPlaceOfTokens()
    if hasattr(encoder, "embeddings_project"):  # of ELECTRA, which has done it before its first layer
        encoder.embeddings_project = nn.Identity()
    return Network(encoder, feature_count(backbone, words=False), labels, depth, words=False)


def lower_encoder(backbone: Backbone, depth: int) -> Any:
    """The embeddings and the first `depth` layers; its last hidden state is what `upper_network` reads."""
    encoder = _cut(backbone, 0, depth)
    if backbone.family.final_norm:
        setattr(encoder, backbone.family.final_norm, nn.Identity())
    return encoder


def pad(items: Sequence[Tensor], fill: float) -> tuple[Tensor, Tensor]:
    """Stack tensors [t, ...] of different length into [B, T, ...] and a mask [B, T] of what is real."""
    stacked = nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=fill)
    length_B = torch.tensor([len(item) for item in items])
    return stacked, (torch.arange(stacked.shape[1]) < length_B[:, None]).long()


def layers_of(encoder: nn.Module, family: Family) -> nn.ModuleList:
    """The encoder's list of layers."""
    found = encoder.get_submodule(family.layers)
    assert isinstance(found, nn.ModuleList)
    return found


def _copied(backbone: Backbone) -> Any:
    """The encoder without its dropout, which gains nothing in trainings of a few passes and costs time."""
    encoder = copy.deepcopy(backbone.model)
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder


def _cut(backbone: Backbone, first: int, last: int) -> Any:
    encoder = _copied(backbone)
    parent, _, name = backbone.family.layers.rpartition(".")
    kept = nn.ModuleList(list(layers_of(encoder, backbone.family))[first:last])
    setattr(encoder.get_submodule(parent), name, kept)
    return encoder
