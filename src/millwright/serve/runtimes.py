"""Measures on this machine how a version can run, and keeps the choice beside the version.

A candidate may serve if its arg-max agrees with float32 on at least 99.5 % of rows that taught nothing
and its accuracy on validation rows is not lower beyond noise; the fastest of those is taken. What was
measured is kept in `.millwright/runtimes/VERSION/`, converted bodies in `.millwright/bodies/`.

Shape suffixes: N rows, M validation rows, D features, C labels.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from millwright.data.dataset import Dataset, open_dataset
from millwright.errors import BadInput, MillwrightError
from millwright.progress import Progress, quiet
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
from millwright.train.fit import truth_of
from millwright.train.states import device

LEAST_AGREEMENT = 0.995
NOISE = 0.05  # a candidate is worse if an exact paired test says so at this level
MOST_TIMED, MOST_JUDGED, MOST_HELD = 256, 3_000, 500
ROUNDS, BATCH = 3, 32
OPENVINO = ("openvino-float32", "openvino-bfloat16", "openvino-int8")


@dataclass(frozen=True)
class _Judge:
    """The rows that a runtime must answer as float32 does, and what float32 says of them."""

    texts: tuple[str, ...]
    exact_N: np.ndarray
    held: tuple[Row, ...]
    exact_is_right_M: np.ndarray


def choose_runtime(project: Project, version: str, progress: Progress = quiet) -> str:
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
    dataset = open_dataset(project, version_manifest(project, version)["dataset"]["id"])
    wanted = str(project.settings.serve.runtime)
    names = _named(wanted)
    bodies: dict[str, Body] = {}
    refused = []
    for place, name in enumerate(names):
        progress("runtime", place / (len(names) + 1))
        try:
            bodies[name] = _body(project, classifier, dataset, name)
        except MillwrightError as error:
            refused.append(Candidate(name, refused=str(error)))
        except Exception as error:  # a foreign converter may raise anything; the version then runs otherwise
            refused.append(Candidate(name, refused=f"could not be made: {type(error).__name__}: {error}"))
    progress("runtime", len(names) / (len(names) + 1))
    speeds = _speeds(bodies, [row.text for row in dataset.rows[:MOST_TIMED]])
    timed = [Candidate(name, speed) for name, speed in speeds.items()]
    judged, chosen = _first_that_agrees(bodies, classifier, dataset, timed)
    candidates = [*judged, *refused]
    progress("runtime", 1.0)
    if chosen is None and wanted not in ("auto", TORCH):  # PyTorch is what was trained and measured
        raise BadInput(
            f"serve.runtime is {wanted!r}, which cannot serve {version}: {candidates[0].refused}; "
            "set it to 'auto'",
            field="serve.runtime",
        )
    runtime = chosen or TORCH
    body = None if runtime == TORCH else _body_name(classifier, runtime)
    seconds = round(time.perf_counter() - started, 2)
    write_runtime(project, RuntimeRecord(version, runtime, body, tuple(candidates), processor(), seconds))
    return runtime


def _named(wanted: str) -> tuple[str, ...]:
    if wanted != "auto":
        return (wanted,)
    return (TORCH, *OPENVINO) if device().type == "cpu" else (TORCH,)


def _speeds(bodies: Mapping[str, Body], texts: Sequence[str]) -> dict[str, float]:
    """Texts a second of each body, the best of some rounds in turn: others may use the machine meanwhile."""
    best = dict.fromkeys(bodies, 0.0)
    for turn in range(1 + ROUNDS):
        for name, body in bodies.items():
            start = time.perf_counter()
            _features(body, texts)
            if turn:  # the first round sets up what is set up once
                best[name] = max(best[name], round(len(texts) / (time.perf_counter() - start), 1))
    return best


def _first_that_agrees(
    bodies: Mapping[str, Body], classifier: Classifier, dataset: Dataset, timed: Sequence[Candidate]
) -> tuple[list[Candidate], str | None]:
    """Judge candidates from the fastest on, until one may serve; their figures, and its name."""
    judge, judged = _judge(classifier, dataset), {candidate.name: candidate for candidate in timed}
    for candidate in sorted(timed, key=lambda one: -one.texts_per_second):
        judged[candidate.name] = _judged(candidate, bodies[candidate.name], classifier, judge)
        if judged[candidate.name].refused is None:
            return list(judged.values()), candidate.name
    return list(judged.values()), None


def _judge(classifier: Classifier, dataset: Dataset) -> _Judge:
    held = tuple(row for row in dataset.split("validation") if row.label in classifier.labels)[:MOST_HELD]
    # Validation rows teach in the end, and a model is surer of what taught it; whether two runtimes
    # agree needs no label, so the texts of test rows may judge that.
    rows = dataset.split("test")[:MOST_JUDGED] or held or dataset.split("train")[:MOST_HELD]
    exact = in_float32(classifier)
    texts = tuple(row.text for row in rows)
    exact_M = exact.probabilities([row.text for row in held]).argmax(1)
    return _Judge(
        texts, exact.probabilities(texts).argmax(1), held, exact_M == truth_of(held, classifier.labels)
    )


def _judged(candidate: Candidate, body: Body, classifier: Classifier, judge: _Judge) -> Candidate:
    agreement = float((_arg_max(classifier, _features(body, judge.texts)) == judge.exact_N).mean())
    measured = replace(candidate, agreement=agreement)
    if agreement < LEAST_AGREEMENT:
        return replace(measured, refused=f"agrees with float32 on {agreement:.2%} of rows, 99.5 % are needed")
    if not judge.held:
        return measured
    said_M = _arg_max(classifier, _features(body, [row.text for row in judge.held]))
    right_M = said_M == truth_of(judge.held, classifier.labels)
    measured = replace(measured, accuracy=float(right_M.mean()))
    lost = int((judge.exact_is_right_M & ~right_M).sum())
    won = int((right_M & ~judge.exact_is_right_M).sum())
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


def _features(body: Body, texts: Sequence[str]) -> np.ndarray:
    """Features [N, D], with as many batches of like length under way as the body has streams."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    with ThreadPoolExecutor(body.streams) as threads:
        found = list(threads.map(lambda batch: body.features([texts[place] for place in batch]), batches))
    feature_ND = np.empty((len(texts), found[0].shape[1]), np.float32)
    for batch, feature_BD in zip(batches, found, strict=True):
        feature_ND[batch] = feature_BD
    return feature_ND


def _arg_max(classifier: Classifier, feature_ND: np.ndarray) -> np.ndarray:
    weight_CD = classifier.tuned["head.weight"].float().numpy()
    best_N: np.ndarray = (feature_ND @ weight_CD.T + classifier.tuned["head.bias"].float().numpy()).argmax(1)
    return best_N
