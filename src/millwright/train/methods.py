"""What each method of tuning moves. The loop that moves it is in tune.py, the same for all.

| method  | what moves                                   | source                                   |
| head    | the head alone, solved and not descended     | heads.py                                 |
| private-head | the same, of noisy statistics           | private_head.py                          |
| private-lora | low-rank updates of the last layers' attention, by noisy sums | private_lora.py    |
| top     | the last layers, over cached states          |                                          |
| full    | everything                                   |                                          |
| lora    | low-rank updates of the attention            | Hu et al. 2021, arXiv:2106.09685         |
| adalora | the same, with a budget shared by importance | Zhang et al. 2023, arXiv:2303.10512      |
| adapter | bottlenecks after each sublayer              | Houlsby et al. 2019, arXiv:1902.00751    |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from millwright.errors import BadInput, one_of
from millwright.settings import TrainSection
from millwright.train.backbones import Backbone
from millwright.train.network import POOLED_BELOW, Network, layers_of, upper_network, whole_network

ADALORA_WARMUP, ADALORA_FINAL, ADALORA_EVERY = 0.1, 0.3, 10


@dataclass(frozen=True)
class Method:
    """How a network is built for a method, and the peak learning rate that fits it."""

    build: Callable[[Backbone, int, TrainSection, int], Network]
    learning_rate: float


class Bottleneck(nn.Module):
    """A linear layer followed by a residual bottleneck that starts as the identity."""

    def __init__(self, linear: nn.Linear, size: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.out_features, size)
        self.up = nn.Linear(size, linear.out_features)
        nn.init.normal_(self.down.weight, std=0.02)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor) -> Tensor:
        """Output of the linear layer plus what the bottleneck adds."""
        out = self.linear(hidden)
        added: Tensor = out + self.up(nn.functional.gelu(self.down(out)))
        return added


def build_network(
    method: str, backbone: Backbone, labels: int, settings: TrainSection, steps: int
) -> Network:
    """A network in which what `method` moves requires a gradient, and nothing else does.

    Args:
        method: a key of METHODS.
        backbone: the pretrained encoder; it is copied, not changed.
        labels: how many labels.
        settings: the [train] settings.
        steps: how many steps training will take (AdaLoRA's budget depends on it).

    Returns:
        The network; its `depth` says whether it reads tokens (0) or cached states.

    Raises:
        NotFound: no such method.
        BadInput: a setting does not fit the backbone.
    """
    with torch.random.fork_rng(devices=[]):  # what is new in a network is random, and the seed's
        torch.manual_seed(settings.seed)
        network = METHODS[one_of("method", method, METHODS)].build(backbone, labels, settings, steps)
    network.head.requires_grad_(True)
    return network


def state_depth(backbone: Backbone, settings: TrainSection) -> int:
    """How many lower layers the method top runs once and caches."""
    if settings.top_layers > backbone.layers:
        raise BadInput(
            f"train.top_layers is {settings.top_layers}, backbone {backbone.name!r} has {backbone.layers} "
            f"layers; set at most {backbone.layers}, or use the method full",
            field="train.top_layers",
        )
    return max(0, backbone.layers - max(settings.top_layers, POOLED_BELOW))


def _head(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    return _frozen(whole_network(backbone, labels))


def _top(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    depth = state_depth(backbone, settings)
    network = _frozen(upper_network(backbone, labels, depth) if depth else whole_network(backbone, labels))
    for layer in list(layers_of(network.encoder, backbone.family))[-settings.top_layers :]:
        layer.requires_grad_(True)
    if backbone.family.final_norm:
        network.encoder.get_submodule(backbone.family.final_norm).requires_grad_(True)
    return network


def _full(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    return whole_network(backbone, labels).requires_grad_(True)


def _lora(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    from peft import LoraConfig  # here, since it costs a second that other methods need not pay

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.05,
        target_modules=list(backbone.family.attention),
    )
    return _peft(backbone, labels, config)


def _private_lora(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    """Low-rank updates of the last layers, over cached states; no dropout, which would be noise on noise."""
    from peft import LoraConfig, get_peft_model

    depth = state_depth(backbone, settings)
    network = upper_network(backbone, labels, depth) if depth else whole_network(backbone, labels)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        target_modules=list(backbone.family.attention),
        layers_to_transform=list(range(backbone.layers - depth))[-settings.top_layers :],
        layers_pattern=backbone.family.layers.rpartition(".")[2],
    )
    network.encoder = get_peft_model(_frozen(network).encoder, config)
    return network


def _adalora(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    if steps < 10:
        raise BadInput(
            f"adalora needs at least 10 steps to share its budget, there are {steps}; "
            "raise train.epochs or use lora",
            field="train.epochs",
        )
    from peft import AdaLoraConfig

    config = AdaLoraConfig(
        init_r=max(settings.rank + 1, round(1.5 * settings.rank)),
        target_r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.05,
        target_modules=list(backbone.family.attention),
        tinit=round(ADALORA_WARMUP * steps),
        tfinal=round(ADALORA_FINAL * steps),
        deltaT=min(ADALORA_EVERY, max(1, steps // 20)),
        total_step=steps,
    )
    return _peft(backbone, labels, config)


def _peft(backbone: Backbone, labels: int, config: Any) -> Network:
    from peft import get_peft_model

    network = _frozen(whole_network(backbone, labels))
    network.encoder = get_peft_model(network.encoder, config)
    return network


def _adapter(backbone: Backbone, labels: int, settings: TrainSection, steps: int) -> Network:
    network = _frozen(whole_network(backbone, labels))
    for layer in layers_of(network.encoder, backbone.family):
        for path in backbone.family.sublayer_outputs:
            parent, _, name = path.rpartition(".")
            linear = layer.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            setattr(layer.get_submodule(parent), name, Bottleneck(linear, settings.adapter_size))
    return network


def _frozen(network: Network) -> Network:
    return network.requires_grad_(False)


METHODS = {
    "head": Method(_head, 0.0),
    "private-head": Method(_head, 0.0),
    "private-lora": Method(_private_lora, 2e-4),
    "top": Method(_top, 3e-4),
    "full": Method(_full, 2e-4),
    "lora": Method(_lora, 2e-3),
    "adalora": Method(_adalora, 4e-3),
    "adapter": Method(_adapter, 1e-3),
}


def tuned_tensors(network: Network) -> dict[str, Tensor]:
    """What a version must keep to be rebuilt: all that moves."""
    return {name: tensor.detach() for name, tensor in network.named_parameters() if tensor.requires_grad}


def orthogonality(network: Network) -> Tensor:
    """How far AdaLoRA's factors are from orthonormal, averaged over them (equation 4 of its paper)."""
    found = []
    for name, factor in network.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
            found.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
    return torch.stack(found).mean()
