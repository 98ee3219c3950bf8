"""float32 originals of the weights that move, where the network itself multiplies in bfloat16.

A step of training is too small for bfloat16's eight bits, so the originals take the steps and the network
gets them rounded.
"""

import torch
from torch import Tensor

from millwright.train.network import Network


class Masters:
    """The weights that move, by name. Invariant: after `give_back` the network holds them, rounded."""

    def __init__(self, network: Network, halved: bool) -> None:
        if halved:
            network.encoder.to(torch.bfloat16)
        self._working = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.weights = {
            name: weight.detach().float().requires_grad_() if weight.dtype == torch.bfloat16 else weight
            for name, weight in self._working.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take float32 tensors by name, and give them to the network."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                self.weights[name].copy_(tensor)
        self.give_back()

    def take_gradients(self) -> None:
        """Move the network's gradients to the originals."""
        for name, working in self._working.items():
            if self.weights[name] is not working and working.grad is not None:
                self.weights[name].grad = working.grad.float()
                working.grad = None

    def give_back(self) -> None:
        """Round the originals into the network."""
        with torch.no_grad():
            for name, working in self._working.items():
                if self.weights[name] is not working:
                    working.copy_(self.weights[name])

    def tensors(self) -> dict[str, Tensor]:
        """The originals, detached."""
        return {name: weight.detach() for name, weight in self.weights.items()}
