"""The loop: a run that was killed ends with the same weights, stops when it should, tells what it did."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from millwright.errors import CannotStore, Corrupt
from millwright.settings import FROZEN, PRIVATE
from millwright.train.methods import METHODS, build_network
from millwright.train.network import whole_network
from millwright.train.states import tokenize
from millwright.train.tune import Rows, features, logits, tune
from tests.conftest import full_disk
from tests.train.conftest import inputs_for, make_backbone, plan
from tests.train.killed_run import SETTINGS, STEPS, TEXTS, TRUTH, run

ROOT = Path(__file__).parents[2]
QUICK = ("top", "lora")  # over cached states, and over tokens; the others go the same ways
OTHERS = tuple(name for name in METHODS if name not in (*QUICK, *FROZEN, *PRIVATE))
KILLED_AT = (2, 11, 21)  # before the first checkpoint, after one in mid-epoch, in the last epoch
CHECKPOINT_STEPS = 4  # so that a checkpoint stands in mid-epoch too


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The killed runs have one thread; with another number, sums come in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kill(methods: Sequence[str], folder: Path) -> None:
    """Leave a folder for each method and step as a run that SIGKILL ended left it."""
    arguments = [str(folder), ",".join(methods), ",".join(map(str, KILLED_AT)), str(CHECKPOINT_STEPS)]
    subprocess.run([sys.executable, "-m", "tests.train.killed_run", *arguments], cwd=ROOT, check=True)


def step_of_checkpoint(folder: Path) -> int:
    if not (folder / "checkpoint.safetensors").exists():
        return 0
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        return json.loads(file.metadata()["state"])["step"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("methods", [QUICK, pytest.param(OTHERS, marks=pytest.mark.slow)], ids="-".join)
def test_a_process_that_sigkill_ended_and_that_is_started_again_ends_with_the_same_weights(tmp_path, methods):
    kill(methods, tmp_path)
    for method in methods:
        whole, best_epoch = run(method, tmp_path / f"{method}-whole")
        for step in KILLED_AT:
            folder = tmp_path / f"{method}-{step}"
            before = [checkpoint for checkpoint in (0, 4, 6, 8, 12, 16, 18, 20) if checkpoint < step]
            assert step_of_checkpoint(folder) == before[-1], step
            resumed, resumed_epoch = run(method, folder)
            assert same(whole, resumed), (method, step)
            assert resumed_epoch == best_epoch, (method, step)


def test_a_run_that_ended_is_not_run_again(tmp_path):
    first, epoch = run("top", tmp_path)
    told: list[float] = []
    network = build_network("top", make_backbone("bert"), 2, SETTINGS, STEPS)
    rows = Rows(inputs_for(network, make_backbone("bert"), TEXTS), TRUTH)
    again, same_epoch = tune(network, rows, rows, plan(), tmp_path, told.append)
    assert same(first, again)
    assert (same_epoch, told) == (epoch, [])


def test_a_checkpoint_goes_on_after_an_early_stop_was_decided(tmp_path):
    backbone = make_backbone("bert")
    wrong = Rows(tokenize(backbone, TEXTS), 1 - TRUTH)

    def stopped(progress):
        network = build_network("full", backbone, 2, SETTINGS, STEPS)
        rows = Rows(tokenize(backbone, TEXTS), TRUTH)
        return tune(network, rows, wrong, plan(method="full", epochs=20, patience=2), tmp_path, progress)

    told: list[float] = []
    first, _ = stopped(told.append)
    assert told[-1] < 1
    count = len(told)
    again, _ = stopped(told.append)
    assert same(first, again)
    assert len(told) == count


@pytest.mark.parametrize(
    "harm", [lambda content: content[:1000], lambda content: b"no tensors", lambda content: b""]
)
def test_a_damaged_checkpoint_is_refused_with_what_to_do(tmp_path, harm):
    run("top", tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(
        Corrupt, match=r"checkpoint\.safetensors is damaged .*; delete it to train from the start"
    ):
        run("top", tmp_path)


def test_a_full_disk_leaves_the_checkpoint_there_was(tmp_path):
    network = build_network("top", make_backbone("bert"), 2, SETTINGS, STEPS)
    rows = Rows(inputs_for(network, make_backbone("bert"), TEXTS), TRUTH)

    def fill_up(done: float) -> None:
        if done > 0.4:
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, tune, network, rows, rows, plan(), tmp_path, fill_up)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with full_disk(20_000), pytest.raises(CannotStore, match=r"checkpoint\.safetensors: .*free space"):
        tune(network, rows, rows, plan(), tmp_path, lambda done: None)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_the_weights_kept_are_those_of_the_epoch_with_the_least_validation_loss(tmp_path):
    network = build_network("full", make_backbone("bert"), 2, SETTINGS, STEPS)
    rows = Rows(tokenize(make_backbone("bert"), TEXTS), TRUTH)
    wrong = Rows(rows.inputs[:6], 1 - TRUTH[:6])
    _, best_epoch = tune(
        network, rows, wrong, plan(method="full", epochs=6, patience=9), tmp_path, lambda done: None
    )
    losses = [event.value for event in EventAccumulator(str(tmp_path)).Reload().Scalars("validation/loss")]
    assert len(losses) == 6
    assert best_epoch == 1 + int(np.argmin(losses))


def test_without_validation_rows_the_last_epoch_counts(tmp_path):
    network = build_network("top", make_backbone("bert"), 2, SETTINGS, STEPS)
    rows = Rows(inputs_for(network, make_backbone("bert"), TEXTS), TRUTH)
    kept, best_epoch = tune(network, rows, Rows([], TRUTH[:0]), plan(patience=1), tmp_path, lambda done: None)
    assert best_epoch == 4
    now = {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}
    assert same(kept, now)


def test_each_step_is_told_once_in_order(tmp_path):
    network = build_network("top", make_backbone("bert"), 2, SETTINGS, STEPS)
    rows = Rows(inputs_for(network, make_backbone("bert"), TEXTS), TRUTH)
    told: list[float] = []
    tune(network, rows, rows, plan(batch_size=5), tmp_path, told.append)
    assert told == pytest.approx(np.arange(1, 21) / 20)  # 24 rows in batches of 5, four times


def test_training_does_not_disturb_the_chance_of_others(tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    backbone = make_backbone("bert")
    torch.manual_seed(11)
    network = build_network("lora", backbone, 2, SETTINGS, STEPS)
    rows = Rows(tokenize(backbone, TEXTS), TRUTH)
    tune(network, rows, rows, plan(method="lora"), tmp_path, lambda done: None)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("precision", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_logits_and_features_come_in_the_order_of_the_inputs_and_as_exact_as_the_precision(precision, near):
    backbone = make_backbone("bert")
    network = whole_network(backbone, 3).eval()
    network.precision = precision
    inputs = tokenize(backbone, ["pin", "where is my money please help", "card lost", "the pin is blocked"])
    assert logits(network, inputs, 0).shape == (4, 3)
    for place, ids in enumerate(inputs):
        with torch.inference_mode():
            feature = network.features(ids[None], torch.ones(1, len(ids)))
            logit = network.head(feature)
        assert features(network, inputs, 0)[place] == pytest.approx(feature[0].numpy(), abs=near)
        assert logits(network, inputs, 0)[place] == pytest.approx(logit[0].numpy(), abs=near)


def test_nothing_has_no_logits():
    assert logits(whole_network(make_backbone("bert"), 3), [], 0).shape == (0, 3)
