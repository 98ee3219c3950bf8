"""Measures on this machine how a version can run, and keeps the choice beside the version.

A candidate may serve if its arg-max agrees with float32 on at least 99.5 % of rows that taught nothing
and its accuracy on validation rows is not lower beyond noise; the fastest of those is taken. What was
measured is kept in `.millwright/runtimes/VERSION/`, converted bodies in `.millwright/bodies/`.

Shape suffixes: N rows, D features, C labels.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from millwright.data.dataset import Dataset, read_dataset
from millwright.data.prepare import dataset_folder
from millwright.errors import BadInput, MillwrightError
from millwright.project import Project
from millwright.records import Row
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import version_manifest
from millwright.serve.convert import convert_body, in_float32, quantise_body
from millwright.serve.engine import Body
from millwright.serve.openvino_body import OpenVinoBody
from millwright.serve.runtime_record import (
    TORCH,
    Candidate,
    RuntimeRecord,
    body_folder,
    processor,
    write_runtime,
)
from millwright.serve.torch_body import TorchBody, body_key
from millwright.train.classifier import Classifier
from millwright.train.states import device

LEAST_AGREEMENT = 0.995
NOISE = 0.05  # a candidate is worse if an exact paired test says so at this level
MOST_JUDGED, MOST_HELD = 3_000, 1_000
TIMED_BATCH = 32
OPENVINO = ("openvino-float32", "openvino-bfloat16", "openvino-int8")
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Trial:
    """A version, the rows that judge it, and what float32 says of them."""

    classifier: Classifier
    judged: tuple[str, ...]
    held: tuple[Row, ...]
    truth_N: np.ndarray
    exact_judged_N: np.ndarray
    exact_held_N: np.ndarray


def choose_runtime(project: Project, version: str, progress: Progress = lambda _stage, _done: None) -> str:
    """Measure every way to run a version, keep the figures and the fastest that may serve.

    Args:
        project: an open project; `serve.runtime` names a runtime, or "auto".
        version: a version's name.
        progress: called with "runtime" and the fraction done.

    Returns:
        The runtime's name.

    Raises:
        BadInput: `serve.runtime` names one that cannot run this version, or that may not serve it.
        CannotStore: the disk is full or read-only.
    """
    started = time.perf_counter()
    classifier = load_classifier(project, version)
    dataset = read_dataset(dataset_folder(project), version_manifest(project, version)["dataset"]["id"])
    trial = _trial(classifier, dataset)
    wanted = str(project.settings.serve.runtime)
    names = (TORCH, *OPENVINO) if wanted == "auto" and device().type == "cpu" else (_forced(wanted),)
    candidates = []
    for place, name in enumerate(names):
        progress("runtime", place / len(names))
        candidates.append(_measure(project, trial, dataset, name))
    progress("runtime", 1.0)
    able = [candidate for candidate in candidates if candidate.refused is None]
    if not able and wanted != "auto":
        raise BadInput(
            f"serve.runtime is {wanted!r}, which cannot serve {version}: {candidates[0].refused}; "
            "set it to 'auto'",
            field="serve.runtime",
        )
    chosen = max(able, key=lambda candidate: candidate.texts_per_second).name if able else TORCH
    body = None if chosen == TORCH else _body_name(classifier, chosen)
    seconds = round(time.perf_counter() - started, 2)
    write_runtime(project, RuntimeRecord(version, chosen, body, tuple(candidates), processor(), seconds))
    return chosen


def _forced(wanted: str) -> str:
    return TORCH if wanted == "auto" else wanted


def _trial(classifier: Classifier, dataset: Dataset) -> _Trial:
    held = tuple(row for row in dataset.split("validation") if row.label in classifier.labels)[:MOST_HELD]
    # Validation rows teach in the end, and a model is surer of what taught it; whether two runtimes
    # agree needs no label, so the texts of test rows may judge that.
    judged = dataset.split("test")[:MOST_JUDGED] or held or dataset.split("train")[:MOST_HELD]
    texts = tuple(row.text for row in judged)
    exact = in_float32(classifier)
    number = {label: place for place, label in enumerate(classifier.labels)}
    return _Trial(
        classifier,
        texts,
        held,
        np.array([number[row.label] for row in held], dtype=np.int64),
        exact.probabilities(texts).argmax(1),
        exact.probabilities([row.text for row in held]).argmax(1),
    )


def _measure(project: Project, trial: _Trial, dataset: Dataset, name: str) -> Candidate:
    try:
        body = _body(project, trial.classifier, dataset, name)
        body.features(trial.judged[:TIMED_BATCH])  # what is set up once is not timed
    except MillwrightError as error:
        return Candidate(name, refused=str(error))
    except Exception as error:  # a foreign converter may raise anything; the version then runs otherwise
        return Candidate(name, refused=f"could not be made: {type(error).__name__}: {error}")
    feature_ND, speed = _timed(body, trial.judged)
    agreement = float((_arg_max(trial.classifier, feature_ND) == trial.exact_judged_N).mean())
    measured = Candidate(name, round(speed, 1), agreement)
    if agreement < LEAST_AGREEMENT:
        return replace(measured, refused=f"agrees with float32 on {agreement:.2%} of rows, 99.5 % are needed")
    if not trial.held:
        return measured
    held_ND = body.features([row.text for row in trial.held])
    right_N = _arg_max(trial.classifier, held_ND) == trial.truth_N
    exact_N = trial.exact_held_N == trial.truth_N
    measured = replace(measured, accuracy=float(right_N.mean()))
    lost, won = int((exact_N & ~right_N).sum()), int((right_N & ~exact_N).sum())
    if lost and binomtest(lost, lost + won, alternative="greater").pvalue <= NOISE:
        return replace(measured, refused=f"is right on {lost} validation rows fewer than float32, {won} more")
    return measured


def _body(project: Project, classifier: Classifier, dataset: Dataset, name: str) -> Body:
    if name == TORCH:
        return TorchBody(classifier)
    folder = body_folder(project, _body_name(classifier, name))
    if name == "openvino-int8":
        quantise_body(classifier, dataset.split("train"), folder)
    else:
        convert_body(classifier, folder)
    return OpenVinoBody(folder, classifier.backbone.tokenizer, name.removeprefix("openvino-"))


def _body_name(classifier: Classifier, runtime: str) -> str:
    return f"{body_key(classifier)}-{'int8' if runtime == 'openvino-int8' else 'float32'}"


def _timed(body: Body, texts: Sequence[str]) -> tuple[np.ndarray, float]:
    """Features [N, D], and texts a second with as many batches under way as the body has streams."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [order[start : start + TIMED_BATCH] for start in range(0, len(order), TIMED_BATCH)]
    start = time.perf_counter()
    with ThreadPoolExecutor(body.streams) as threads:
        found = list(threads.map(lambda batch: body.features([texts[place] for place in batch]), batches))
    seconds = time.perf_counter() - start
    feature_ND = np.empty((len(texts), found[0].shape[1]), np.float32)
    for batch, feature_BD in zip(batches, found, strict=True):
        feature_ND[batch] = feature_BD
    return feature_ND, len(texts) / seconds


def _arg_max(classifier: Classifier, feature_ND: np.ndarray) -> np.ndarray:
    weight_CD = classifier.tuned["head.weight"].float().numpy()
    best_N: np.ndarray = (feature_ND @ weight_CD.T + classifier.tuned["head.bias"].float().numpy()).argmax(1)
    return best_N
