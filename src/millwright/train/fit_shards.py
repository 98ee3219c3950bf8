"""Trains a version of shards: each shard alone, and last the temperature of their average.

A shard sees the rows of its own people only, and decides by them alone: labels, epochs, steps, its own
temperature, and when to stop. So a shard that lost nobody is, to the byte, what it was. What follows from
all rows is one number, the temperature of the average, and it is cheap to find again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from millwright.records import JsonObject, Row
from millwright.settings import change_settings
from millwright.train.averaging import LEAST, average
from millwright.train.calibrate import fit_temperature, softmax
from millwright.train.classifier import text_features
from millwright.train.ensemble import Ensemble, Member, assemble_shards
from millwright.train.heads import log_loss
from millwright.train.shards import deal, member_key, shard_of, shard_settings
from millwright.train.tuned import fit_tuned
from millwright.train.work import Work, labels_of, truth_of


def fit_shards(
    work: Work, method: str, known: Sequence[Member]
) -> tuple[Ensemble, JsonObject, tuple[Path, ...]]:
    """Train a version of `train.shards` shards.

    Args:
        work: the rows of all shards; its labels are those of all training rows.
        method: any but head.
        known: shards that were trained before, of which those with the same key are taken.

    Returns:
        The ensemble, what was found on the way, and the folders of the shards' runs.

    Raises:
        BadInput: a shard has too few labels to learn, or a setting does not fit the backbone or the rows.
    """
    train = work.settings.train
    parts = [_part(work, rows, method, shard) for shard, rows in enumerate(deal(work.all_rows, train))]
    before = {member.key: member for member in known}
    members, facts = list[Member](), list[JsonObject]()
    for part in parts:
        about: JsonObject = {"rows": len(part.all_rows), "labels": len(part.labels)}
        member = before.get(part.name)
        if member is None:
            tuned = fit_tuned(part, method)
            member = Member(
                part.name,
                part.labels,
                tuned.temperature,
                torch.from_numpy(tuned.held_MC),
                part.precision,
                tuned.tensors,
            )
            about.update(tuned.facts)
        members.append(member)
        facts.append({**about, "trained": part.name not in before})
    with work.stage("average", len(work.all_rows)):
        ensemble, judged = _calibrated(work, method, members)
    facts_of_all = {
        "parameters_moved": sum(tensor.numel() for tensor in ensemble.tuned.values()),
        "taught_by": sum(
            len(part.known_rows("train")) + len(part.known_rows("validation")) for part in parts
        ),
        "shards": facts,
        **judged,
    }
    return ensemble, facts_of_all, tuple(part.run_folder(method) for part in parts)


def _part(work: Work, rows: tuple[Row, ...], method: str, shard: int) -> Work:
    """The work of one shard, named by its key."""
    settings = change_settings(work.settings, "train", seed=shard_settings(work.settings.train, shard).seed)
    about = [work.backbone.reading_sha256, method, str(work.precision)]
    return replace(
        work,
        name=member_key(rows, about, settings.train),
        all_rows=rows,
        settings=settings,
        labels=labels_of(rows),
        part=f"shard {shard + 1} of {settings.train.shards}: ",
    )


def _calibrated(work: Work, method: str, members: Sequence[Member]) -> tuple[Ensemble, JsonObject]:
    """The ensemble with the temperature of its average, and how it did on validation rows.

    Validation rows have taught their own shard by now, so what it said of them before counts.
    """
    train = work.settings.train
    ensemble = assemble_shards(method, work.backbone, train, 1.0, members)
    rows = work.known_rows("validation")
    truth_N = truth_of(rows, ensemble.labels)
    if not rows:
        return ensemble, {"validation_accuracy": None, "validation_log_loss": None}
    heads = ensemble.heads
    said = heads.each(text_features(ensemble.network, work.backbone, [row.text for row in rows]))
    own_N = np.array([shard_of(row, train) for row in rows])
    for shard, (member, probability_NK) in enumerate(zip(members, said, strict=True)):
        is_held_N = (own_N == shard) & np.array([row.label in member.labels for row in rows])
        probability_NK[is_held_N] = softmax(member.held_MK.numpy(), member.temperature)
        own_N[is_held_N] = -1  # those whose label their own shard does not know stay its own: it is not asked
    log_NC = np.log(np.maximum(average(said, heads.heads, len(ensemble.labels), own_N), LEAST))
    temperature = fit_temperature(log_NC, truth_N) if len(rows) > 1 else 1.0
    judged = {
        "validation_accuracy": float((log_NC.argmax(1) == truth_N).mean()),
        "validation_log_loss": log_loss(softmax(log_NC, temperature), truth_N),
    }
    return replace(ensemble, temperature=temperature), judged
