"""Compares what users send now with what they sent when the champion was promoted, and remembers.

False alarms are bounded over all checks since a promotion: the k-th may spend alpha / (k (k + 1)), which
adds up to alpha, and a check spends only when enough is new since the last one.

Shape suffixes: N texts, D features, C labels.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import insert

from millwright.data.dataset import open_dataset
from millwright.drift.estimate import estimated_accuracy
from millwright.drift.records import DriftRecord, DriftTest
from millwright.drift.samples import LEAST, WINDOW, Reference, find_samples
from millwright.drift.two_samples import classifier_test, confidence_test, label_test, mmd_test
from millwright.errors import BadInput
from millwright.privacy.sealed import stream_named
from millwright.privacy.vault import Vault, open_vault
from millwright.project import Project
from millwright.records import Interval, Row
from millwright.registry.versions import version_manifest
from millwright.serve.engine import Answering
from millwright.serve.features import features_of
from millwright.serve.loading import Loader
from millwright.settings import refuse_spans
from millwright.store.database import now
from millwright.store.tables import drifts
from millwright.webhooks import DRIFT, announce

MOST_HELD_OUT = 2_000
ALPHA = 0.05


def check_drift(project: Project, window: int = WINDOW, reference: Reference = "traffic") -> DriftRecord:
    """Compare the newest predictions with those that followed the champion's promotion.

    Args:
        project: a project with a champion.
        window: how many predictions make a sample, at most; a subject counts once a day.
        reference: "traffic" takes the first predictions after the promotion, "data" the rows that the
            champion's training held out.

    Returns:
        The check; the last one again, and nothing is spent, while fewer than half a window is new.

    Raises:
        BadInput: there are too few predictions yet, or `window` is too small.
        NotFound: there is no champion.
    """
    refuse_spans(project.settings, "`millwright drift`")
    if window < LEAST:
        raise BadInput(f"window must be at least {LEAST} predictions, got {window}; pass more")
    found = find_samples(project, window, reference)
    version, current = found.version, found.current
    if not found.is_new:
        return found.earlier[-1]
    vault = open_vault(project)
    held_out = _held_out(project, version)
    if not found.before and len(held_out) < LEAST:
        raise BadInput(
            f"{version} was measured on {len(held_out)} held-out rows, {LEAST} are needed; compare with "
            "traffic"
        )
    model, window_texts = Loader(project).load(version), _texts(vault, current)
    texts = _texts(vault, found.before) if found.before else [row.text for row in held_out]
    made, confidence_M = _compare(model, texts, window_texts)
    measured, estimated = _accuracies(model, held_out, confidence_M)
    number = len(found.earlier) + 1
    spent = ALPHA / (number * (number + 1))
    tests = tuple(
        DriftTest(name, statistic, p_value, p_value <= spent / len(made))
        for name, (statistic, p_value) in made.items()
    )
    record = DriftRecord(
        version, reference, len(texts), len(window_texts), current[-1].id, number, spent, tests,
        any(test.is_drifting for test in tests), now(), measured, estimated,
    )  # fmt: skip
    with project.database.begin() as connection:
        connection.execute(insert(drifts).values(record=asdict(record), checked_at=record.checked_at))
        if record.is_drifting:
            announce(project, connection, DRIFT, asdict(record))
    return record


def _compare(
    model: Answering, before: Sequence[str], after: Sequence[str]
) -> tuple[dict[str, tuple[float, float]], np.ndarray]:
    """Statistic and p-value of each test, by name, and how sure the champion is of the later sample.

    It answers both samples anew.
    """
    feature_ND = features_of(model, [*before, *after])
    probability_NC, cut = model.probabilities(feature_ND), len(before)
    label_N = probability_NC.argmax(axis=1)
    made = {
        "classifier on features": classifier_test(feature_ND[:cut], feature_ND[cut:]),
        "mean embedding of features": mmd_test(feature_ND[:cut], feature_ND[cut:]),
        "confidences": confidence_test(probability_NC[:cut], probability_NC[cut:]),
        "labels": label_test(label_N[:cut], label_N[cut:], len(model.labels)),
    }
    return made, probability_NC[cut:].max(1)


def _accuracies(
    model: Answering, held_out: Sequence[Row], confidence_M: np.ndarray
) -> tuple[float | None, Interval | None]:
    """Accuracy on held-out rows, and what that and confidences make of the window."""
    if len(held_out) < LEAST:
        return None, None
    probability_NC = model.probabilities(features_of(model, [row.text for row in held_out]))
    best_N = probability_NC.argmax(1)
    right_N = np.array([model.labels[best] == row.label for best, row in zip(best_N, held_out, strict=True)])
    return float(right_N.mean()), estimated_accuracy(probability_NC.max(1), right_N, confidence_M)


def _texts(vault: Vault, rows: Sequence[Any]) -> list[str]:
    return [given.text for given in stream_named(vault, [row.id for row in rows])]


def _held_out(project: Project, version: str) -> list[Row]:
    """At most MOST_HELD_OUT rows that the version's training held out."""
    dataset = version_manifest(project, version)["dataset"]["id"]
    return list(open_dataset(project, dataset).split("test")[:MOST_HELD_OUT])
