"""Noisy descent: what a person moves, who is drawn, what the noise hides, what is learnt."""

import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from millwright.errors import MissingExtra
from millwright.privacy.sampled_gaussian import Release, epsilon_of_all, most_found
from millwright.settings import TrainSection
from millwright.train.methods import build_network, tuned_tensors
from millwright.train.private_lora import (
    CLIP,
    SAMPLE_RATE,
    STEPS,
    Descent,
    descend,
    noise_for,
    noisy_step,
    people_drawer,
    start_head,
    sum_gradients,
)
from millwright.train.tune import Rows, logits
from tests.train.conftest import inputs_for, make_backbone

SETTINGS = TrainSection(rank=2)
TEXTS = ["card lost please", "my card is stolen", "forgot my pin", "the pin is blocked please help"] * 3
TRUTH = np.array([0, 0, 1, 1] * 3)
LOUD, RUNS = 40.0, 250


class HeadOfMeans(nn.Module):
    """A head on the mean of the states that come; small enough to be taught a thousand times."""

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        mean_BH = (input_BTH * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
        logit_BC: Tensor = self.head(mean_BH)
        return logit_BC


def optimizer_of(network: nn.Module, rate: float = 1.0) -> DPOptimizer:
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return DPOptimizer(
        torch.optim.SGD(moving, rate),
        noise_multiplier=1.0,
        max_grad_norm=CLIP,
        expected_batch_size=None,
        loss_reduction="sum",
    )


def cut_gradients(network: nn.Module, rows: Rows, places: Sequence[int]) -> Tensor:
    """Each row's gradient by itself, cut to length CLIP, all that moves in one line: [B, ...]."""
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = []
    for place in places:
        item = rows.inputs[place][None]
        loss = nn.functional.cross_entropy(
            network(item, torch.ones(1, item.shape[1])), torch.tensor(rows.truth_N[[place]])
        )
        line = torch.cat([one.flatten() for one in torch.autograd.grad(loss, moving)])
        found.append(line * min(1.0, CLIP / max(line.norm().item(), 1e-9)))
    return torch.stack(found)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_sum_is_that_of_each_rows_gradient_cut_by_itself(family):
    backbone = make_backbone(family)
    network = build_network("private-lora", backbone, 2, SETTINGS, STEPS)
    assert network.depth == 2  # over cached states
    chance = torch.Generator().manual_seed(0)
    for name, tensor in tuned_tensors(network).items():  # low-rank updates that start at nothing move nothing
        size = 3.0 if name.startswith("head") else 0.3
        tensor.copy_(torch.randn(tensor.shape, generator=chance) * size)
    rows = Rows(inputs_for(network, backbone, TEXTS), 1 - TRUTH)
    drawn = np.array([0, 2, 3, 7, 9])
    each = cut_gradients(network.eval(), rows, drawn.tolist())
    assert each.norm(dim=1).max() == pytest.approx(CLIP, rel=1e-5)  # some are cut
    for module in network.modules():
        module.training = bool(list(module.parameters(recurse=False)))
    GradSampleHooks(network, loss_reduction="sum")
    optimizer = optimizer_of(network)
    sum_gradients(network, optimizer, rows, drawn, backbone.pad_id)
    found = torch.cat([parameter.summed_grad.flatten() for parameter in optimizer.params])
    assert torch.allclose(found, each.sum(0), atol=1e-4)
    sum_gradients(network, optimizer, rows, np.array([5]), backbone.pad_id)
    more = torch.cat([parameter.summed_grad.flatten() for parameter in optimizer.params])
    assert (more - found).norm() <= CLIP * (1 + 1e-5)  # one person more


def test_a_step_is_the_sum_and_its_noise_over_the_people_expected():
    network = HeadOfMeans(3, 2)
    optimizer = optimizer_of(network, rate=0.5)
    weight, bias = optimizer.params
    weight.summed_grad, bias.summed_grad = torch.full((2, 3), 6.0), None  # none: nobody was drawn
    noise = iter([np.arange(6.0), np.array([1.0, -1.0])])
    noisy_step(optimizer, deviation=2.0, expected=4.0, normals=lambda count: next(noise))
    assert torch.allclose(weight, -0.5 * (6 + 2 * torch.arange(6.0).reshape(2, 3)) / 4)
    assert torch.allclose(bias, -0.5 * torch.tensor([2.0, -2.0]) / 4)
    assert weight.summed_grad is None


def test_people_are_drawn_by_coins_of_their_own_and_stand_with_one_row_each():
    person_N = ["a", "b", "a", "c", "a", "d"]
    draw = people_drawer(person_N, 0.3, np.random.default_rng(0).random)
    times, rounds = np.zeros(6), 6_000
    for _ in range(rounds):
        drawn = draw()
        assert len({person_N[place] for place in drawn}) == len(drawn)
        times[drawn] += 1
    expected = rounds * 0.3 * np.array([1 / 3, 1, 1 / 3, 1, 1 / 3, 1])
    assert np.abs(times - expected).max() < 5 * math.sqrt(rounds * 0.3 * 0.7)
    pairs = [set(draw()) for _ in range(rounds)]
    both = sum({1, 3} <= pair for pair in pairs)
    assert both == pytest.approx(rounds * 0.09, abs=5 * math.sqrt(rounds * 0.09))


def canary_scores(with_canary: bool, descent: Descent, runs: int, seed: int) -> np.ndarray:
    """What heads say of a canary's label, taught with and without it among few others."""
    chance = np.random.default_rng(seed)
    inputs = [torch.eye(3)[[place % 2]] for place in range(4)]
    truth, person = [0, 1, 0, 1], ["a", "b", "c", "d"]
    if with_canary:
        inputs, truth, person = [*inputs, LOUD * torch.eye(3)[[2]]], [*truth, 1], [*person, "canary"]
    scores = []
    for _ in range(runs):
        network = HeadOfMeans(3, 2)
        rows = Rows(inputs, np.array(truth))
        drawn = (chance.standard_normal, chance.random)
        descend(network, rows, person, descent, 0, torch.zeros(3), drawn, lambda done: None)
        weight = network.head.weight.detach().numpy()
        scores.append(weight[1, 2] - weight[0, 2])
    return np.array(scores)


def found_and_accused(descent: Descent) -> tuple[float, float]:
    """Rates at which the best threshold finds the canary and sees it where it is not."""
    inside, outside = canary_scores(True, descent, RUNS, 1), canary_scores(False, descent, RUNS, 2)
    threshold = np.quantile(outside, 0.9)
    return float((inside > threshold).mean()), float((outside > threshold).mean())


def most(noise_multiplier: float, accused: float) -> float:
    delta = 0.01
    release = Release(0.0, noise_multiplier, 0.6, 3)
    return most_found(epsilon_of_all([release], delta), delta, accused) + 4 * math.sqrt(0.25 / RUNS)


def test_a_canary_is_found_no_more_often_than_promised():
    found, accused = found_and_accused(Descent(0.1, 5.0, sample_rate=0.6, steps=3))
    assert found <= most(5.0, accused)


def test_the_check_of_the_promise_can_fail():
    found, accused = found_and_accused(Descent(0.1, 0.1, sample_rate=0.6, steps=3))
    assert found > most(5.0, accused)


def test_what_descends_learns_and_moves_nothing_but_updates_and_the_head():
    backbone = make_backbone("bert")
    network = build_network("private-lora", backbone, 2, TrainSection(rank=2, top_layers=1), STEPS)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = inputs_for(network, backbone, TEXTS)
    centre_D = start_head(network, inputs_for(network, backbone, ["card lost", "pin"]), backbone.pad_id)
    chance = np.random.default_rng(0)
    descent = Descent(2e-3, 0.5, sample_rate=0.5, steps=30)
    people = [str(place) for place in range(len(TEXTS))]
    sources = (chance.standard_normal, chance.random)
    descend(network, Rows(inputs, TRUTH), people, descent, 0, centre_D, sources, lambda done: None)
    assert (logits(network, inputs, 0).argmax(1) == TRUTH).mean() > 0.9
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(tuned_tensors(network))
    assert {name.split(".")[5] for name in moved if "lora" in name} == {"1"}  # the last of two layers


def test_names_start_the_head_each_at_its_own_label():
    backbone = make_backbone("bert")
    network = build_network("private-lora", backbone, 3, SETTINGS, STEPS)
    names = inputs_for(network, backbone, ["card lost", "pin", "transfer money"])
    start_head(network, names, backbone.pad_id)
    assert logits(network, names, 0).argmax(1).tolist() == [0, 1, 2]


def test_the_centre_is_no_part_of_what_the_head_says_in_the_end():
    chance, heads = np.random.default_rng(3), []
    inputs = [torch.from_numpy(chance.normal(size=(2, 3))).float() for _ in range(12)]
    for centre_D, moved in ((torch.zeros(3), inputs), (torch.full((3,), 4.0), [one + 4 for one in inputs])):
        network, same = HeadOfMeans(3, 2), np.random.default_rng(4)
        rows, people = Rows(moved, TRUTH), [str(place) for place in range(12)]
        drawn = (same.standard_normal, same.random)
        descend(network, rows, people, Descent(0.1, 1.0), 0, centre_D, drawn, lambda done: None)
        heads.append([network(one[None], torch.ones(1, 2)).detach().numpy() for one in moved])
    assert np.array(heads[0]) == pytest.approx(np.array(heads[1]), abs=1e-3)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_noise_keeps_the_promise_and_is_no_more_than_needed(epsilon):
    found = epsilon_of_all([Release(0.0, noise_for(epsilon, 1e-6), SAMPLE_RATE, STEPS)], 1e-6)
    assert epsilon <= found <= 1.15 * epsilon  # Renyi's bound is above what Opacus finds, and not by far


def test_without_opacus_the_error_has_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(MissingExtra, match=r"run: pip install opacus"):
        descend(HeadOfMeans(2, 2), Rows([], TRUTH[:0]), [], Descent(0.1, 1.0), 0, None, None, print)  # type: ignore[arg-type]
