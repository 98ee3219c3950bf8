"""Measures on this machine how a version can run, and keeps the choice beside the version.

A candidate may serve if its arg-max agrees with float32 on at least 99.5 % of validation and test rows
together and its accuracy on validation rows is not lower beyond noise; the fastest of those is taken. What
was measured is kept in `.millwright/runtimes/VERSION/`, converted bodies in `.millwright/bodies/`. Speeds are
those of a network without its head: a version that differs from the champion in its head alone takes the
champion's, and only its own agreement is measured. What float32 says is found by cached features where the
body is the backbone's; what a runtime says is run each time.

Shape suffixes: N rows, M validation rows, D features, C labels.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from millwright.data.dataset import Dataset, open_dataset
from millwright.errors import BadInput, Corrupt, MillwrightError
from millwright.machine import cores
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.proportions import chance_of_at_least
from millwright.registry.classifiers import load_model
from millwright.registry.signatures import BODIES, sign, verify_signed
from millwright.registry.versions import CHAMPION, alias, version_manifest
from millwright.serve.convert import convert_body, in_float32, quantise_body
from millwright.serve.engine import Body
from millwright.serve.openvino_body import OpenVinoBody
from millwright.serve.runtime_record import (
    INT8,
    OPENVINO,
    TORCH,
    TORCH_BFLOAT16,
    Candidate,
    RuntimeRecord,
    candidates_on,
    read_runtime,
    this_machine,
    write_runtime,
)
from millwright.serve.torch_body import TorchBody, body_key
from millwright.settings import PRIVATE
from millwright.train.answers import answers
from millwright.train.ensemble import Trained
from millwright.train.span_model import SpanModel
from millwright.train.work import truth_of

LEAST_AGREEMENT = 0.995
NOISE = 0.05  # a candidate is worse if an exact paired test says so at this level
MOST_TIMED, MOST_HELD, MOST_TEST = 128, 500, 1_000
MOST_TEST_AGAIN = 500  # where the champion's rows judged the body before
LIKE_LENGTH = 1.25  # texts whose mean lengths differ by less share their speeds
ROUNDS, BATCH = 3, 32
FAR_BEHIND = 0.6  # of the fastest
Make = Callable[[str], Body | Candidate]


@dataclass(frozen=True)
class _Judge:
    """Texts that a runtime must answer as float32 does, those of M validation rows first.

    `exact_N` is what float32 says of them, `truth_M` what the validation rows are labelled.
    """

    texts: tuple[str, ...]
    exact_N: np.ndarray
    truth_M: np.ndarray


def choose_runtime(
    project: Project, version: str, progress: Progress = quiet, model: Trained | SpanModel | None = None
) -> str:
    """Measure every way to run a version, keep the figures and the fastest that may serve.

    Where `serve.runtime` is "torch", or spans are found, there is nothing to choose, so nothing is measured.

    Args:
        project: an open project; `serve.runtime` names a runtime, or "auto".
        version: a version's name.
        progress: called with "runtime" and the fraction done.
        model: the version's, where its maker still has it; loaded when not given.

    Returns:
        The runtime's name.

    Raises:
        BadInput: `serve.runtime` names one that cannot run this version, or that may not serve it.
        CannotStore: the disk is full or read-only.
    """
    started = time.perf_counter()
    classifier, wanted = model or load_model(project, version), str(project.settings.serve.runtime)
    machine = this_machine()
    if isinstance(classifier, SpanModel) and wanted not in ("auto", TORCH):
        raise BadInput(
            f"serve.runtime is {wanted!r}, and {version} finds spans, which PyTorch runs; set it to 'auto'",
            field="serve.runtime",
        )
    if isinstance(classifier, SpanModel) or wanted == TORCH:
        progress("runtime", 1.0)
        return _kept(project, RuntimeRecord(version, TORCH, None, (Candidate(TORCH),), machine, 0.0))
    dataset = open_dataset(project, version_manifest(project, version)["dataset"]["id"])
    names, network = candidates_on(machine.gpu, wanted), body_key(classifier)
    texts = [row.text for row in dataset.rows[:MOST_TIMED]]
    length = sum(map(len, texts)) / len(texts)
    make = cache(lambda name: _made(project, classifier, dataset, name))
    known = _measured_before(project, version, names, network, length)
    if known is None:
        timed = _timed(make, names, texts, progress)
    else:
        timed = [Candidate(one.name, one.texts_per_second) for one in known.candidates if one.name in names]
    progress("runtime", len(names) / (len(names) + 1))
    judge = _judge(project, classifier, dataset, MOST_TEST_AGAIN if known else MOST_TEST)
    candidates, chosen = _first_that_agrees(make, classifier, judge, timed)
    progress("runtime", 1.0)
    if chosen is None and wanted not in ("auto", TORCH):  # PyTorch is what was trained and measured
        raise BadInput(
            f"serve.runtime is {wanted!r}, which cannot serve {version}: {candidates[0].refused}; "
            "set it to 'auto'",
            field="serve.runtime",
        )
    runtime = chosen or TORCH
    record = RuntimeRecord(
        version,
        runtime,
        body=_body_name(classifier, runtime) if runtime in OPENVINO else None,
        candidates=tuple(candidates),
        machine=machine,
        seconds=round(time.perf_counter() - started, 2),
        network=network,
        text_length=known.text_length if known else length,
        speeds_of=(known.speeds_of or known.version) if known else None,
    )
    return _kept(project, record)


def _kept(project: Project, record: RuntimeRecord) -> str:
    write_runtime(project, record)
    return record.runtime


def _measured_before(
    project: Project, version: str, names: Sequence[str], network: str, length: float
) -> RuntimeRecord | None:
    """The champion's record if its speeds hold here too: same network, machine and length of texts."""
    champion = alias(project, CHAMPION)
    if champion is None or champion == version:
        return None
    try:
        record = read_runtime(project, champion)
    except Corrupt:  # a promotion does not need it
        return None
    if record is None or (record.network, record.machine) != (network, this_machine()):
        return None
    timed = {one.name for one in record.candidates if one.texts_per_second}
    if not timed.issuperset(names) or not record.text_length:  # what could not be made then may be made now
        return None
    ratio = length / record.text_length
    return record if 1 / LIKE_LENGTH <= ratio <= LIKE_LENGTH else None


def _made(project: Project, classifier: Trained, dataset: Dataset, name: str) -> Body | Candidate:
    """The body of a runtime, or why there is none."""
    try:
        return _body(project, classifier, dataset, name)
    except MillwrightError as error:
        return Candidate(name, refused=str(error))
    except Exception as error:  # a foreign converter may raise anything; the version then runs otherwise
        return Candidate(name, refused=f"could not be made: {type(error).__name__}: {error}")


def _timed(make: Make, names: Sequence[str], texts: Sequence[str], progress: Progress) -> list[Candidate]:
    """Every runtime with its speed, and after them those that could not be made."""
    bodies: dict[str, Body] = {}
    refused = []
    for place, name in enumerate(names):
        progress("runtime", place / (len(names) + 1))
        made = make(name)
        if isinstance(made, Candidate):
            refused.append(made)
        else:
            bodies[name] = made
    return [*(Candidate(name, speed) for name, speed in _speeds(bodies, texts).items()), *refused]


def _speeds(bodies: Mapping[str, Body], texts: Sequence[str]) -> dict[str, float]:
    """Texts a second of each body, the best of some rounds in turn: others may use the machine meanwhile.

    Those that are far behind after a round are not timed further.
    """
    best = dict.fromkeys(bodies, 0.0)
    for turn in range(1 + ROUNDS):
        for name, body in bodies.items():
            if turn > 1 and best[name] < FAR_BEHIND * max(best.values()):
                continue
            start = time.perf_counter()
            _features(body, texts)
            if turn:  # the first round sets up what is set up once
                best[name] = max(best[name], round(len(texts) / (time.perf_counter() - start), 1))
    return best


def _first_that_agrees(
    make: Make, classifier: Trained, judge: _Judge, timed: Sequence[Candidate]
) -> tuple[list[Candidate], str | None]:
    """Judge candidates from the fastest on, until one may serve; their figures, and its name."""
    judged = {candidate.name: candidate for candidate in timed}
    for candidate in sorted(timed, key=lambda one: -one.texts_per_second):
        body = make(candidate.name)
        judged[candidate.name] = (
            body if isinstance(body, Candidate) else _judged(candidate, body, classifier, judge)
        )
        if judged[candidate.name].refused is None:
            return list(judged.values()), candidate.name
    return list(judged.values()), None


def _judge(project: Project, classifier: Trained, dataset: Dataset, most: int) -> _Judge:
    held = tuple(row for row in dataset.split("validation") if row.label in classifier.labels)[:MOST_HELD]
    # Validation rows teach in the end, and a model is surer of what taught it; whether two runtimes
    # agree needs no label, so the texts of test rows judge that too.
    rows = [*held, *dataset.split("test")[:most]] or dataset.split("train")[:MOST_HELD]
    exact, most_bytes = in_float32(classifier), project.settings.train.cache_bytes
    return _Judge(
        tuple(row.text for row in rows),
        answers(exact, rows, project.kept, most_bytes).argmax(1),
        truth_of(held, classifier.labels),
    )


def _judged(candidate: Candidate, body: Body, classifier: Trained, judge: _Judge) -> Candidate:
    said_N = classifier.of_features(_features(body, judge.texts)).argmax(1)
    agreement = float((said_N == judge.exact_N).mean())
    measured = replace(candidate, agreement=agreement)
    if agreement < LEAST_AGREEMENT:
        return replace(measured, refused=f"agrees with float32 on {agreement:.2%} of rows, 99.5 % are needed")
    held = len(judge.truth_M)
    if not held:
        return measured
    right_M, exact_is_right_M = said_N[:held] == judge.truth_M, judge.exact_N[:held] == judge.truth_M
    measured = replace(measured, accuracy=float(right_M.mean()))
    lost = int((exact_is_right_M & ~right_M).sum())
    won = int((right_M & ~exact_is_right_M).sum())
    if lost and chance_of_at_least(lost, lost + won) <= NOISE:
        return replace(measured, refused=f"is right on {lost} validation rows fewer than float32, {won} more")
    return measured


def _body(project: Project, classifier: Trained, dataset: Dataset, name: str) -> Body:
    if name in (TORCH, TORCH_BFLOAT16):
        return TorchBody(classifier, name)
    if name == INT8 and classifier.method in PRIVATE:
        raise BadInput("its scales would be taken from rows, which differential privacy does not allow")
    body = _body_name(classifier, name)
    try:
        folder = verify_signed(project, BODIES, body)
    except Corrupt:  # it was never made, its making was interrupted, or somebody changed it
        folder = project.kept / BODIES / body
        shutil.rmtree(folder, ignore_errors=True)
        if name == INT8:
            quantise_body(classifier, dataset.split("train"), folder)
        else:
            convert_body(classifier, folder)
        sign(project, BODIES, body)
    return OpenVinoBody(folder, classifier.backbone.tokenizer, name.removeprefix("openvino-"))


def _body_name(classifier: Trained, runtime: str) -> str:
    return f"{body_key(classifier)}-{'int8' if runtime == INT8 else 'float32'}"


def _features(body: Body, texts: Sequence[str]) -> np.ndarray:
    """Features [N, D], with as many batches of like length under way as in service."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    with ThreadPoolExecutor(min(cores(), body.streams)) as threads:
        found = list(threads.map(lambda batch: body.features([texts[place] for place in batch]), batches))
    feature_ND = np.empty((len(texts), found[0].shape[1]), np.float32)
    for batch, feature_BD in zip(batches, found, strict=True):
        feature_ND[batch] = feature_BD
    return feature_ND
