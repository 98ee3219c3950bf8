"""Tunes a network on rows: starts the head, stops early, calibrates, then lets validation rows teach too.

Shape suffixes: N rows, M validation rows, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from millwright.records import JsonObject
from millwright.settings import TrainSection
from millwright.train.calibrate import fit_temperature, softmax
from millwright.train.heads import DEFAULT_STRENGTH, fit_head, log_loss
from millwright.train.methods import METHODS, build_network, state_depth, tuned_tensors
from millwright.train.network import Network
from millwright.train.states import cached_states, tokenize
from millwright.train.tune import Plan, Rows, features, logits, tune
from millwright.train.work import Work

EPOCHS, BATCH_SIZE = 4, 32
# Of so many rows a pass fewer and batches twice as large end as well, in less than half the time.
MANY_ROWS, EPOCHS_OF_MANY, BATCH_SIZE_OF_MANY = 5_000, 3, 64


@dataclass(frozen=True)
class Tuned:
    """What tuning moved, the temperature that fits it, and what was found.

    `held_MC` are logits of validation rows before these taught too.
    """

    tensors: dict[str, Tensor]
    temperature: float
    held_MC: np.ndarray
    facts: JsonObject


def fit_tuned(work: Work, method: str) -> Tuned:
    """Tune by any method but head; the checkpoints stay until `drop_checkpoints`.

    Args:
        work: its training rows teach, its validation rows say when to stop and calibrate, then teach too.
        method: a key of METHODS.

    Returns:
        What moved. It is a function of rows, settings and backbone alone.

    Raises:
        BadInput: a setting does not fit the backbone or the number of rows.
    """
    train_texts, train_truth = work.rows("train")
    held_texts, held_truth = work.rows("validation")
    texts = train_texts + held_texts
    settings, cut = work.settings.train, len(train_texts)
    plan = _plan(method, settings, cut, work.backbone.pad_id)
    steps = plan.epochs * -(-cut // plan.batch_size)
    network = build_network(method, work.backbone, len(work.labels), settings, steps)
    network.precision = work.precision
    inputs = inputs_of(work, texts, network.depth)
    train, validation = Rows(inputs[:cut], train_truth), Rows(inputs[cut:], held_truth)
    run = work.run_folder(method)
    with work.stage("first head", cut):
        _start_head(network, train, plan.pad_id)
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    with work.stage("tune", cut):
        tuned, best_epoch = tune(network, train, validation, plan, run, work.teller("tune"))
    network.load_state_dict(tuned, strict=False)
    logit_MC = (
        logits(network, validation.inputs, plan.pad_id) if held_texts else np.zeros((0, len(work.labels)))
    )
    temperature = fit_temperature(logit_MC, held_truth) if len(held_truth) > 1 else 1.0
    moved = sum(tensor.numel() for tensor in tuned_tensors(network).values())
    if held_texts:
        # Epochs and temperature are chosen, so validation rows have done their work and may teach.
        everything = Rows(inputs, np.concatenate([train_truth, held_truth]))
        tuned = _tune_from(head, work, everything, replace(plan, epochs=best_epoch), run / "all")
    facts = {
        "learning_rate": plan.learning_rate,
        "batch_size": plan.batch_size,
        "best_epoch": best_epoch,
        "parameters_moved": moved,
        "validation_accuracy": float((logit_MC.argmax(1) == held_truth).mean()) if held_texts else None,
        "validation_log_loss": log_loss(softmax(logit_MC, temperature), held_truth) if held_texts else None,
        "taught_by": len(texts),
    }
    return Tuned(tuned, temperature, logit_MC.astype(np.float32), facts)


def _plan(method: str, settings: TrainSection, rows: int, pad_id: int) -> Plan:
    """What the settings leave open fits the number of rows; the rate grows with the batch."""
    return Plan(
        method=method,
        learning_rate=rate_of(method, settings, rows),
        epochs=settings.epochs or (EPOCHS_OF_MANY if rows >= MANY_ROWS else EPOCHS),
        patience=settings.patience,
        batch_size=_batch_size(settings, rows),
        label_smoothing=settings.label_smoothing,
        seed=settings.seed,
        pad_id=pad_id,
    )


def rate_of(method: str, settings: TrainSection, rows: int) -> float:
    """The learning rate that a method starts with on so many training rows."""
    grown = _batch_size(settings, rows) / BATCH_SIZE
    return settings.learning_rate or METHODS[method].learning_rate * grown


def _batch_size(settings: TrainSection, rows: int) -> int:
    return settings.batch_size or (BATCH_SIZE_OF_MANY if rows >= MANY_ROWS else BATCH_SIZE)


def drop_checkpoints(runs: Sequence[Path]) -> None:
    """Delete the checkpoints of trainings whose result is kept, in the folders of their runs."""
    for run in runs:
        for done in run.rglob("checkpoint.safetensors"):
            done.unlink()


def _tune_from(head: dict[str, Tensor], work: Work, rows: Rows, plan: Plan, run: Path) -> dict[str, Tensor]:
    """Tune a network anew on all rows, from a head that is solved already."""
    steps = plan.epochs * -(-len(rows.truth_N) // plan.batch_size)
    network = build_network(plan.method, work.backbone, len(work.labels), work.settings.train, max(steps, 10))
    network.precision = work.precision
    network.head.load_state_dict(head)
    nobody = Rows([], rows.truth_N[:0])
    with work.stage("tune on all", len(rows.truth_N)):
        tuned, _ = tune(network, rows, nobody, plan, run, work.teller("tune on all"))
    return tuned


def _start_head(network: Network, rows: Rows, pad_id: int) -> None:
    """Solve the head for the untouched backbone first, so that early steps don't distort the layers."""
    feature = features(network, rows.inputs, pad_id)
    weight, bias = fit_head(feature, rows.truth_N, network.head.out_features, DEFAULT_STRENGTH)
    network.head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})


def inputs_of(work: Work, texts: list[str], depth: int) -> list[Tensor]:
    """What a network of this depth reads of texts: their tokens, or cached states [T, H]."""
    if not depth:
        return tokenize(work.backbone, texts)
    assert depth == state_depth(work.backbone, work.settings.train)
    with work.stage("states", len(texts)):
        states, _ = cached_states(
            work.backbone,
            texts,
            depth,
            work.precision,
            work.kept / "cache",
            work.teller("states"),
            work.settings.train.cache_bytes,
        )
    return states
