"""From a dataset to a trained classifier: chooses the method, runs it, calibrates, records the cost."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from millwright.data.dataset import Dataset
from millwright.errors import BadInput
from millwright.progress import Progress
from millwright.records import JsonObject, Row
from millwright.settings import SPANS, Settings
from millwright.train.backbones import Backbone, load_backbone
from millwright.train.calibrate import fit_temperature, softmax
from millwright.train.classifier import Classifier, assemble
from millwright.train.cost import Clock
from millwright.train.cross_validation import cross_validate
from millwright.train.events import Events
from millwright.train.heads import DEFAULT_STRENGTH, choose_strength, fit_head, log_loss
from millwright.train.label_names import FEW_ROWS_A_LABEL, may_teach, words_of
from millwright.train.methods import METHODS, build_network, state_depth, tuned_tensors
from millwright.train.network import Network
from millwright.train.states import cached_features, cached_states, checked_precision, device, tokenize
from millwright.train.tune import Plan, Rows, features, logits, tune

AUTO_ROWS_A_LABEL = 100
AUTO_GOOD_ENOUGH = 0.9
AUTO_MOST_TOKENS = 1_000_000
AUTO_MOST_CROSS_VALIDATED = 5_000


@dataclass(frozen=True)
class Fitted:
    """A trained classifier and how it came about."""

    classifier: Classifier
    method: str
    why: str
    facts: JsonObject


def fit(dataset: Dataset, settings: Settings, *, kept: Path, progress: Progress) -> Fitted:
    """Train a classifier on a dataset's training rows, choosing and calibrating on its validation rows.

    Test rows are never looked at.

    Args:
        dataset: what to learn from.
        settings: the project's settings; [backbone] and [train] matter here.
        kept: the project's `.millwright` folder, for caches and for runs that can be resumed.
        progress: called with a stage's name and the fraction done.

    Returns:
        The classifier, the method, the reason for it, and what each stage cost.

    Raises:
        BadInput: spans are to be found, fewer than two labels have training rows, or a setting does not
            fit the backbone.
        NotFound: the backbone cannot be loaded.
    """
    if settings.project.task == SPANS:
        raise BadInput(
            f"project.task is {SPANS!r}, which can be prepared and not yet trained; train another project, "
            "of texts with one label each",
            field="project.task",
        )
    labels = tuple(sorted({row.label for row in dataset.split("train")}))
    if len(labels) < 2:
        raise BadInput(f"training rows have the labels {list(labels)}; at least two are needed: add rows")
    clock = Clock()
    with clock.stage("backbone", 1):
        backbone = load_backbone(settings.backbone.name, settings.backbone.max_tokens)
    work = _Work(dataset, settings, backbone, labels, kept, progress, clock)
    method, why = str(settings.train.method), "the settings name it"
    if method in ("auto", "head"):
        fitted, tried = _fit_head(work)
        method, why = ("head", why) if method == "head" else _choose(work, tried)
    if method != "head":
        fitted = _fit_tuned(work, method)
    facts = {**fitted.facts, "stages": clock.stages, "peak_memory_bytes": clock.peak_memory_bytes()}
    return Fitted(fitted.classifier, method, why, facts)


def truth_of(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    """Label numbers [N] of rows, -1 for a label that is not among `labels`."""
    number = {label: place for place, label in enumerate(labels)}
    return np.array([number.get(row.label, -1) for row in rows], dtype=np.int64)


@dataclass(frozen=True)
class _Work:
    """What every method needs."""

    dataset: Dataset
    settings: Settings
    backbone: Backbone
    labels: tuple[str, ...]
    kept: Path
    progress: Progress
    clock: Clock

    def known_rows(self, split: str) -> list[Row]:
        """Rows of a split whose labels training has."""
        return [row for row in self.dataset.split(split) if row.label in self.labels]

    def rows(self, split: str) -> tuple[list[str], np.ndarray]:
        """Texts and label numbers of a split, rows with a label that training lacks left out."""
        rows = self.known_rows(split)
        return [row.text for row in rows], truth_of(rows, self.labels)

    def run_folder(self, method: str) -> Path:
        """One folder for one dataset, backbone, method and settings."""
        about = [self.dataset.id, self.backbone.sha256, self.backbone.max_tokens, method]
        about.append({**self.settings.train.model_dump(exclude={"cache_bytes"}), "method": method})
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        return self.kept / "runs" / f"{method}-{key}"


@dataclass(frozen=True)
class _Tried:
    """What a head learnt from and how it did: features and label numbers of training rows, then of the
    `held` validation rows, on which `right` of it were right; features of the labels' names that taught."""

    feature_ND: np.ndarray
    truth_N: np.ndarray
    name_CD: np.ndarray
    strength: float
    held: int
    right: int


def _fit_head(work: _Work) -> tuple[Fitted, _Tried]:
    train_texts, train_truth = work.rows("train")
    held_texts, held_truth = work.rows("validation")
    texts = train_texts + held_texts
    precision = checked_precision(work.backbone, texts)
    feature, made = _features(work, "features", texts, precision)
    cut = len(train_texts)
    name_CD = _teaching_names(work, precision, feature[:cut], train_truth)
    with work.clock.stage("head", len(texts)):
        work.progress("head", 0.0)
        strength, temperature, accuracy = choose_strength(
            _with_names(feature[:cut], train_truth, name_CD), (feature[cut:], held_truth), len(work.labels)
        )
        # With strength and temperature chosen, validation rows have done their work and may teach.
        truth = np.concatenate([train_truth, held_truth])
        weight, bias = fit_head(*_with_names(feature, truth, name_CD), len(work.labels), strength)
        work.progress("head", 1.0)
    held = len(held_truth) if accuracy is not None else 0
    if accuracy is not None:
        with Events(work.run_folder("head")) as events:
            events.add_scalar("validation/accuracy", accuracy, 0)
    tuned = {"head.weight": torch.from_numpy(weight), "head.bias": torch.from_numpy(bias)}
    classifier = assemble(
        work.labels, "head", work.backbone, work.settings.train, temperature, precision, tuned
    )
    facts = {
        "strength": strength,
        "validation_accuracy": accuracy,
        "texts_run": made,
        "taught_by": len(texts),
        "label_names": len(name_CD),
    }
    tried = _Tried(feature, truth, name_CD, strength, held, round((accuracy or 0.0) * held))
    return Fitted(classifier, "head", "", facts), tried


def _teaching_names(
    work: _Work, precision: torch.dtype, feature_ND: np.ndarray, truth_N: np.ndarray
) -> np.ndarray:
    """Features [C, D] of the labels' names where those may teach, else [0, D]."""
    none = feature_ND[:0]
    if len(truth_N) > FEW_ROWS_A_LABEL * len(work.labels):
        return none
    name_CD, _ = _features(work, "label names", [words_of(label) for label in work.labels], precision)
    return name_CD if may_teach(name_CD, feature_ND, truth_N) else none


def _with_names(
    feature_ND: np.ndarray, truth_N: np.ndarray, name_CD: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features and label numbers of rows, and after them those of the names that teach, if any do."""
    if not len(name_CD):
        return feature_ND, truth_N
    return np.concatenate([feature_ND, name_CD]), np.concatenate([truth_N, np.arange(len(name_CD))])


def _features(work: _Work, stage: str, texts: list[str], precision: torch.dtype) -> tuple[np.ndarray, int]:
    """Features of texts, and how many had to be run."""
    with work.clock.stage(stage, len(texts)):
        feature_ND, made = cached_features(
            work.backbone,
            texts,
            precision,
            work.kept / "cache",
            lambda done: work.progress(stage, done),
            work.settings.train.cache_bytes,
        )
    return feature_ND.numpy(), made


def _choose(work: _Work, tried: _Tried) -> tuple[str, str]:
    """The method by the data: the last layers where the frozen head is weak and the rows can teach more."""
    texts, truth = work.rows("train")
    rows_a_label = len(truth) / len(work.labels)
    accuracy, measured = _head_accuracy(work, tried)
    if accuracy >= AUTO_GOOD_ENOUGH:
        return "head", f"{measured}: good enough, and it trains in seconds"
    if rows_a_label < AUTO_ROWS_A_LABEL:
        return "head", f"{measured}; {rows_a_label:.0f} rows a label are too few to train layers safely"
    tokens = sum(len(ids) for ids in tokenize(work.backbone, texts))
    if tokens > AUTO_MOST_TOKENS and device().type == "cpu":
        return (
            "head",
            f"{measured}; {tokens:,} tokens are many for a CPU: try --method top when you have the time",
        )
    return "top", f"{measured}, and {rows_a_label:.0f} rows a label can teach the last layers more"


def _head_accuracy(work: _Work, tried: _Tried) -> tuple[float, str]:
    """The accuracy by which a head is called good enough or not, and a sentence that tells its source.

    Validation rows decide if their 95 % interval lies wholly above or below AUTO_GOOD_ENOUGH; else they
    are too few to say, and cross-validation over training and validation rows decides.

    Source of the interval: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    measured = "a head on the frozen backbone is right"
    if tried.held:
        accuracy = tried.right / tried.held
        interval = binomtest(tried.right, tried.held).proportion_ci(method="wilson")
        measured += f" on {accuracy:.1%} of {tried.held:,} validation rows"
        if not interval.low < AUTO_GOOD_ENOUGH < interval.high:
            return accuracy, measured
        measured += f", too few to tell (95 % between {interval.low:.1%} and {interval.high:.1%}), and"
    groups = [row.group for row in work.known_rows("train") + work.known_rows("validation")]
    some = slice(AUTO_MOST_CROSS_VALIDATED)
    with work.clock.stage("cross-validation", len(groups[some])):
        right_N = cross_validate(
            tried.feature_ND[some],
            tried.truth_N[some],
            groups[some],
            strength=tried.strength,
            also=(tried.name_CD, np.arange(len(tried.name_CD))),
        )
    accuracy = float(right_N.mean())
    return accuracy, f"{measured} on {accuracy:.1%} of {len(right_N):,} rows in cross-validation"


def _fit_tuned(work: _Work, method: str) -> Fitted:
    train_texts, train_truth = work.rows("train")
    held_texts, held_truth = work.rows("validation")
    texts = train_texts + held_texts
    settings, cut = work.settings.train, len(train_texts)
    steps = settings.epochs * -(-cut // settings.batch_size)
    network = build_network(method, work.backbone, len(work.labels), settings, steps)
    precision = checked_precision(work.backbone, texts)
    inputs = _inputs(work, texts, precision, network.depth)
    train, validation = Rows(inputs[:cut], train_truth), Rows(inputs[cut:], held_truth)
    run = work.run_folder(method)
    with work.clock.stage("first head", cut):
        _start_head(network, train, work.backbone.pad_id)
    plan = Plan(
        method=method,
        learning_rate=settings.learning_rate or METHODS[method].learning_rate,
        epochs=settings.epochs,
        patience=settings.patience,
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
        seed=settings.seed,
        pad_id=work.backbone.pad_id,
    )
    with work.clock.stage("tune", cut):
        tuned, best_epoch = tune(
            network, train, validation, plan, run, lambda done: work.progress("tune", done)
        )
    network.load_state_dict(tuned, strict=False)
    logit_NC = (
        logits(network, validation.inputs, plan.pad_id) if held_texts else np.zeros((0, len(work.labels)))
    )
    temperature = fit_temperature(logit_NC, held_truth) if len(held_truth) > 1 else 1.0
    moved = sum(tensor.numel() for tensor in tuned_tensors(network).values())
    if held_texts:
        # Epochs and temperature are chosen, so validation rows have done their work and may teach.
        everything = Rows(inputs, np.concatenate([train_truth, held_truth]))
        tuned = _tune_from_start(work, method, everything, replace(plan, epochs=best_epoch), run / "all")
    classifier = assemble(work.labels, method, work.backbone, settings, temperature, precision, tuned)
    for done in run.rglob("checkpoint.safetensors"):
        done.unlink()
    facts = {
        "learning_rate": plan.learning_rate,
        "best_epoch": best_epoch,
        "parameters_moved": moved,
        "validation_accuracy": float((logit_NC.argmax(1) == held_truth).mean()) if held_texts else None,
        "validation_log_loss": log_loss(softmax(logit_NC, temperature), held_truth) if held_texts else None,
        "taught_by": len(texts),
    }
    return Fitted(classifier, method, "", facts)


def _tune_from_start(work: _Work, method: str, rows: Rows, plan: Plan, run: Path) -> dict[str, Tensor]:
    steps = plan.epochs * -(-len(rows.truth_N) // plan.batch_size)
    network = build_network(method, work.backbone, len(work.labels), work.settings.train, max(steps, 10))
    _start_head(network, rows, plan.pad_id)
    nobody = Rows([], rows.truth_N[:0])
    with work.clock.stage("tune on all", len(rows.truth_N)):
        tuned, _ = tune(network, rows, nobody, plan, run, lambda done: work.progress("tune on all", done))
    return tuned


def _start_head(network: Network, rows: Rows, pad_id: int) -> None:
    """Solve the head for the untouched backbone first, so that early steps don't distort the layers."""
    feature = features(network, rows.inputs, pad_id)
    weight, bias = fit_head(feature, rows.truth_N, network.head.out_features, DEFAULT_STRENGTH)
    network.head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})


def _inputs(work: _Work, texts: list[str], precision: torch.dtype, depth: int) -> list[Tensor]:
    if not depth:
        return tokenize(work.backbone, texts)
    assert depth == state_depth(work.backbone, work.settings.train)
    with work.clock.stage("states", len(texts)):
        states, _ = cached_states(
            work.backbone,
            texts,
            depth,
            precision,
            work.kept / "cache",
            lambda done: work.progress("states", done),
            work.settings.train.cache_bytes,
        )
    return states
