"""One contract over every method and family: it moves what it says, learns, and is rebuilt the same."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from millwright.errors import BadInput, NotFound
from millwright.settings import FROZEN, TrainSection
from millwright.train.classifier import assemble
from millwright.train.methods import (
    METHODS,
    Bottleneck,
    build_network,
    orthogonality,
    state_depth,
    tuned_tensors,
)
from millwright.train.states import tokenize
from millwright.train.tune import Rows, features, logits, tune
from tests.train.conftest import CONFIGS, inputs_for, make_backbone, plan

SETTINGS = TrainSection(top_layers=1, rank=4, adapter_size=8)
TEXTS = [
    "card lost",
    "my card is stolen",
    "the card lost help",
    "pin forgot",
    "my pin is blocked",
    "forgot the pin",
] * 4
TRUTH = np.array([0, 0, 0, 1, 1, 1] * 4)
TUNED = [name for name in METHODS if name not in FROZEN]
QUICK = {"bert": TUNED, "roberta": ["top"]}  # RoBERTa's parts have the names of BERT's


def cases() -> Iterator[object]:
    """Every method on one family, and on the others those that look for parts of the architecture."""
    for family in CONFIGS:
        for method in TUNED:
            is_quick = method in QUICK.get(family, ["top", "lora", "adapter"])
            yield pytest.param(family, method, marks=() if is_quick else pytest.mark.slow)


@pytest.mark.parametrize(("family", "method"), cases())
def test_every_method_learns_on_every_family_and_is_rebuilt_with_the_same_answers(family, method, tmp_path):
    backbone = make_backbone(family)
    network = build_network(method, backbone, 2, SETTINGS, steps=30 * 6)
    inputs = inputs_for(network, backbone, TEXTS)
    rows = Rows(inputs, TRUTH)
    tuned, _ = tune(
        network, rows, rows, plan(method, epochs=30, learning_rate=2e-2), tmp_path, lambda _: None
    )
    network.load_state_dict(tuned, strict=False)
    learnt = logits(network, inputs, 0)
    assert (learnt.argmax(1) == TRUTH).all()
    rebuilt = assemble(["a", "b"], method, backbone, SETTINGS, 1.0, torch.float32, tuned)
    expected = torch.softmax(torch.from_numpy(learnt).double(), 1).numpy()
    assert (
        np.abs(rebuilt.probabilities(TEXTS) - expected).max() < 0.05
    )  # training runs in bfloat16 where it can


@pytest.mark.parametrize(
    ("method", "moves"),
    [
        ("head", ["head"]),
        ("top", ["head", "layer.1"]),
        ("lora", ["head", "lora_"]),
        ("private-lora", ["head", "lora_"]),
        ("adalora", ["head", "lora_"]),
        ("adapter", ["head", "down", "up"]),
    ],
)
def test_a_method_moves_what_it_says_and_nothing_else(method, moves):
    network = build_network(method, make_backbone("bert"), 2, SETTINGS, steps=24)
    names = list(tuned_tensors(network))
    assert all(any(part in name for part in moves) for name in names)
    assert all(any(part in name for name in names) for part in moves)


def test_full_moves_every_parameter():
    network = build_network("full", make_backbone("bert"), 2, SETTINGS, steps=24)
    assert len(tuned_tensors(network)) == len(list(network.parameters()))


def test_an_untrained_bottleneck_changes_nothing():
    linear = torch.nn.Linear(6, 6)
    hidden = torch.randn(3, 6)
    assert torch.equal(Bottleneck(linear, 2)(hidden), linear(hidden))


def test_adalora_reaches_its_rank_budget(tmp_path):
    backbone = make_backbone("bert")
    network = build_network("adalora", backbone, 2, SETTINGS, steps=24)
    inputs = inputs_for(network, backbone, TEXTS)
    singular = [name for name in tuned_tensors(network) if "lora_E" in name]
    before = sum(tuned_tensors(network)[name].numel() for name in singular)
    tuned, _ = tune(
        network, Rows(inputs, TRUTH), Rows([], TRUTH[:0]), plan("adalora"), tmp_path, lambda _: None
    )
    kept = sum(int((tuned[name] != 0).sum()) for name in singular)
    assert kept <= SETTINGS.rank * len(singular) < before


def test_orthonormal_factors_have_no_orthogonality_penalty():
    network = build_network("adalora", make_backbone("bert"), 2, SETTINGS, steps=24)
    for name, factor in network.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            torch.nn.init.orthogonal_(factor)
    assert orthogonality(network).item() == pytest.approx(0, abs=1e-5)


def test_more_top_layers_than_there_are_is_refused_with_the_number():
    with pytest.raises(BadInput, match="train.top_layers is 9, .* has 4 layers; set at most 4"):
        state_depth(make_backbone("bert"), TrainSection(top_layers=9))


def test_adalora_with_too_few_steps_is_refused():
    with pytest.raises(BadInput, match="at least 10 steps .* there are 4; raise train.epochs"):
        build_network("adalora", make_backbone("bert"), 2, SETTINGS, steps=4)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(NotFound, match="no method named 'lorra'.*'lora'"):
        build_network("lorra", make_backbone("bert"), 2, SETTINGS, steps=24)


@pytest.mark.parametrize("method", ["top", "adalora"])
def test_a_run_that_was_killed_ends_with_the_same_weights(method, tmp_path):
    backbone = make_backbone("bert")

    def run(folder, stop_at):
        network = build_network(method, backbone, 2, SETTINGS, steps=24)
        rows = Rows(inputs_for(network, backbone, TEXTS), TRUTH)

        def progress(done):
            if stop_at is not None and done >= stop_at:
                raise KeyboardInterrupt

        return tune(network, rows, rows, plan(method), folder, progress)

    torch.manual_seed(3)
    whole, _ = run(tmp_path / "whole", None)
    torch.manual_seed(3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 0.6)
    resumed, _ = run(tmp_path / "killed", None)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_stops_when_validation_no_longer_improves(tmp_path):
    backbone = make_backbone("bert")
    network = build_network("full", backbone, 2, SETTINGS, steps=24)
    inputs = tokenize(backbone, TEXTS)
    wrong = Rows(inputs, 1 - TRUTH)
    done = []
    tune(network, Rows(inputs, TRUTH), wrong, plan("full", epochs=20, patience=2), tmp_path, done.append)
    assert done[-1] < 1


def test_tensorboard_event_files_hold_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backbone = make_backbone("bert")
    network = build_network("top", backbone, 2, SETTINGS, steps=24)
    rows = Rows(inputs_for(network, backbone, TEXTS), TRUTH)
    tune(network, rows, rows, plan("top"), tmp_path, lambda _: None)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("train/loss")) == 24
    assert [event.step for event in events.Scalars("validation/accuracy")] == [6, 12, 18, 24]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("method", TUNED)
def test_every_method_trains_and_answers_on_a_gpu(method, tmp_path):
    backbone = make_backbone("bert")
    network = build_network(method, backbone, 2, SETTINGS, steps=2 * 6)
    inputs = inputs_for(network, backbone, TEXTS)
    assert features(network, inputs, 0).shape == (len(TEXTS), network.head.in_features)
    tuned, _ = tune(
        network, Rows(inputs, TRUTH), Rows(inputs, TRUTH), plan(method, epochs=2), tmp_path, lambda _: None
    )
    rebuilt = assemble(["a", "b"], method, backbone, SETTINGS, 1.0, torch.float32, tuned)
    assert rebuilt.probabilities(TEXTS).shape == (len(TEXTS), 2)
