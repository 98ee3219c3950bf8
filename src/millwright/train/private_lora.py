"""Noisy descent: low-rank updates and the head learn from sums of clipped gradients under Gaussian noise.

At each step every person is drawn by a coin of its own and then stands with one row, drawn among its own; the
gradient of that row is cut to length CLIP, so that a person moves the sum of a step by no more than CLIP
whatever rows are its. Only the noisy sums reach the network. Steps, rate and clip are fixed: nothing is
chosen by looking at rows. Opacus makes the gradients of single rows, cuts them, and chooses the noise.

Shape suffixes: N rows, P people, C labels, D features, B rows of a step.
Source: Abadi et al. 2016, arXiv:1607.00133; Yu et al. 2022, arXiv:2110.06500, for low-rank updates; Gopi et
al. 2021, arXiv:2106.02848, for the accountant.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from millwright.errors import MissingExtra
from millwright.privacy.gaussian_mechanism import Normals, Uniforms
from millwright.train.network import Network
from millwright.train.states import batches_by_length, device
from millwright.train.tune import Rows, features, moved_parameters, padded, schedule

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

CLIP = 1.0
SAMPLE_RATE, STEPS = 0.1, 100  # each person in ten steps, on average
NAME_SCALE = 5.0
HEAD_RATE = 0.1  # the noise of a step is the same whatever the rate, and the steps are few
ITEMS_A_BATCH = 2_048
EPSILON_TOLERANCE = 0.01  # so far below what was asked for the accountant may end, as a share


@dataclass(frozen=True)
class Descent:
    """How the network descends, and how much noise there is, as a multiple of CLIP."""

    learning_rate: float
    noise_multiplier: float
    sample_rate: float = SAMPLE_RATE
    steps: int = STEPS


def need_opacus() -> Any:
    """The module opacus; MissingExtra with the pip line where it is not installed."""
    try:
        import opacus
    except ImportError:
        raise MissingExtra("private-lora needs Opacus; run: pip install opacus") from None
    return opacus


@cache
def noise_for(epsilon: float, delta: float) -> float:
    """The noise multiplier with which all steps together are (epsilon, delta)-differentially private.

    Args:
        epsilon: over 0.
        delta: in (0, 1).

    Returns:
        Deviation of the noise over CLIP, by Opacus's accountant of privacy loss variables.

    Raises:
        MissingExtra: Opacus is not installed.
    """
    need_opacus()
    from opacus.accountants.utils import get_noise_multiplier

    multiplier: float = get_noise_multiplier(
        target_epsilon=epsilon,
        target_delta=delta,
        sample_rate=SAMPLE_RATE,
        steps=STEPS,
        accountant="prv",
        epsilon_tolerance=EPSILON_TOLERANCE * epsilon,
        eps_error=EPSILON_TOLERANCE * epsilon / 2,
    )
    return multiplier


def start_head(network: Network, name_inputs: Sequence[Tensor], pad_id: int) -> Tensor:
    """Set the head to what the labels' names say, which are public: each weight points at its own name.

    Args:
        network: its body untouched yet.
        name_inputs: what the network reads of each label's name, in the order of labels.
        pad_id: the padding token's id.

    Returns:
        The centre [D] of the names' features, about which the head may learn.
    """
    name_CD = features(network, name_inputs, pad_id).astype(np.float64)
    centre_D = name_CD.mean(0)
    away_CD = name_CD - centre_D
    away_CD *= NAME_SCALE / np.maximum(np.linalg.norm(away_CD, axis=1, keepdims=True), 1e-9)
    weight, bias = torch.from_numpy(away_CD).float(), torch.from_numpy(-away_CD @ centre_D).float()
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return torch.from_numpy(centre_D).float()


def descend(
    network: Network,
    rows: Rows,
    person_N: Sequence[str],
    descent: Descent,
    pad_id: int,
    centre_D: Tensor,
    chance: tuple[Normals, Uniforms],
    progress: Callable[[float], None],
) -> None:
    """Move what requires a gradient in the network, which ends in evaluation mode.

    Args:
        network: on the CPU; moved to the GPU where there is one.
        rows: of the people who teach.
        person_N: who each row is of.
        descent: rates, steps, noise.
        pad_id: the padding token's id.
        centre_D: what the head's gradients take features about; what all texts share would fill the clip.
        chance: draws the noise and the people; the secure ones where a promise is made.
        progress: called with the fraction done.

    Raises:
        MissingExtra: Opacus is not installed.
    """
    need_opacus()
    from opacus.grad_sample import GradSampleHooks

    network.to(device()).eval()
    for module in network.modules():  # the body is as if it served: no dropout
        module.training = any(own.requires_grad for own in module.parameters(recurse=False))
    hooks = GradSampleHooks(network, loss_reduction="sum")
    centre_D = centre_D.to(device())
    centring = network.head.register_forward_pre_hook(lambda _, given: (given[0] - centre_D,))
    _shift_bias(network, centre_D)
    optimizer = _optimizer(network, descent)
    rates = [group["lr"] for group in optimizer.param_groups]
    normals, uniforms = chance
    drawer = people_drawer(person_N, descent.sample_rate, uniforms)
    expected = descent.sample_rate * len(set(person_N))
    for step in range(descent.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(step, descent.steps)
        sum_gradients(network, optimizer, rows, drawer(), pad_id)
        noisy_step(optimizer, descent.noise_multiplier * CLIP, expected, normals)
        progress((step + 1) / descent.steps)
    hooks.remove_hooks()
    centring.remove()
    _shift_bias(network, -centre_D)
    network.eval()


def people_drawer(person_N: Sequence[str], rate: float, uniforms: Uniforms) -> Callable[[], np.ndarray]:
    """What draws the rows of a step: each person by a coin of its own, then one row among its own.

    Args:
        person_N: who each row is of.
        rate: the chance of a person to be drawn.
        uniforms: draws numbers in [0, 1).

    Returns:
        A function without arguments; its places are no two of one person.
    """
    _, place_N, rows_P = np.unique(np.asarray(person_N, dtype=str), return_inverse=True, return_counts=True)
    order_N, start_P = np.argsort(place_N, kind="stable"), np.concatenate([[0], rows_P.cumsum()[:-1]])

    def draw() -> np.ndarray:
        """Places of rows of one step."""
        coin_P, row_P = uniforms(len(rows_P)), uniforms(len(rows_P))
        places: np.ndarray = order_N[start_P + (row_P * rows_P).astype(np.int64)][coin_P < rate]
        return places

    return draw


def sum_gradients(
    network: Network, optimizer: "DPOptimizer", rows: Rows, drawn: np.ndarray, pad_id: int
) -> None:
    """Add up the clipped gradients of single rows, in `summed_grad` of what moves.

    Args:
        network: with the hooks of Opacus.
        optimizer: cuts each row's gradient, over all that moves together, to its `max_grad_norm`.
        rows: among which the drawn ones are.
        drawn: their places; none leaves no sum.
        pad_id: the padding token's id.
    """
    for batch in batches_by_length([len(rows.inputs[place]) for place in drawn], ITEMS_A_BATCH):
        places = drawn[batch]
        input_BT, mask_BT = padded([rows.inputs[place] for place in places], pad_id, torch.float32)
        logit_BC = network(input_BT, mask_BT)
        truth_B = torch.from_numpy(rows.truth_N[places]).to(device())
        loss = nn.functional.cross_entropy(logit_BC, truth_B, reduction="sum")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Full backward hook is firing")  # what came needs no gradient
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.clip_and_accumulate()
        for parameter in optimizer.params:
            parameter.grad_sample = None


def noisy_step(optimizer: "DPOptimizer", deviation: float, expected: float, normals: Normals) -> None:
    """Put noise on the sums, divide by the people expected, whoever came, and step.

    Noise is added in double precision, so that single precision rounds what is noisy already.

    Args:
        optimizer: holds the sums; they are gone afterwards.
        deviation: of the noise.
        expected: people of a step.
        normals: draws standard normal numbers.
    """
    for parameter in optimizer.params:
        drawn = torch.from_numpy(normals(parameter.numel())).reshape(parameter.shape).to(parameter.device)
        total = 0.0 if parameter.summed_grad is None else parameter.summed_grad.double()
        parameter.grad = ((total + deviation * drawn) / expected).to(parameter.dtype)
        parameter.summed_grad = None
    optimizer.original_optimizer.step()
    optimizer.original_optimizer.zero_grad()


def _shift_bias(network: Network, by_D: Tensor) -> None:
    """Let the head say of features less `by_D` what it says of them now."""
    with torch.no_grad():
        network.head.bias.add_(network.head.weight @ by_D)


def _optimizer(network: Network, descent: Descent) -> "DPOptimizer":
    from opacus.optimizers import DPOptimizer

    body, head = moved_parameters(network)
    groups = [{"params": body, "lr": descent.learning_rate}, {"params": head, "lr": HEAD_RATE}]
    return DPOptimizer(
        torch.optim.Adam([group for group in groups if group["params"]]),
        noise_multiplier=descent.noise_multiplier,
        max_grad_norm=CLIP,
        expected_batch_size=None,
        loss_reduction="sum",
    )
