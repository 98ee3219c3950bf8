"""From a dataset to a trained classifier: chooses the method, runs it, calibrates, records the cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from millwright.data.dataset import Dataset
from millwright.progress import Progress
from millwright.proportions import wilson
from millwright.records import JsonObject, Row
from millwright.settings import PRIVATE, SPANS, Settings
from millwright.train.backbones import load_backbone
from millwright.train.classifier import assemble
from millwright.train.cost import Clock
from millwright.train.cross_validation import cross_validate
from millwright.train.ensemble import Member, Trained
from millwright.train.events import Events
from millwright.train.fit_private import fit_private
from millwright.train.fit_private_lora import fit_private_lora
from millwright.train.fit_shards import fit_shards
from millwright.train.fit_spans import check_span_settings, fit_spans, span_labels
from millwright.train.heads import choose_strength, fit_head
from millwright.train.label_names import FEW_ROWS_A_LABEL, may_teach, with_names, words_of
from millwright.train.span_model import SpanModel
from millwright.train.states import PROBES, backbone_precision, device, tokenize
from millwright.train.tuned import fit_tuned
from millwright.train.weak_rows import Taught, WeakUse, use_of_weak_rows
from millwright.train.work import Work, check_labels, labels_of, truth_of

AUTO_ROWS_A_LABEL = 100
AUTO_GOOD_ENOUGH = 0.9
AUTO_MOST_TOKENS = 1_000_000
AUTO_MOST_CROSS_VALIDATED = 5_000


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it came about.

    `runs` are folders whose checkpoints may go once the model is kept: see `drop_checkpoints`.
    """

    classifier: Trained | SpanModel
    method: str
    why: str
    facts: JsonObject
    runs: tuple[Path, ...] = ()


def fit(
    dataset: Dataset,
    settings: Settings,
    *,
    kept: Path,
    progress: Progress,
    known: Sequence[Member] = (),
    clock: Clock | None = None,
) -> Fitted:
    """Train a classifier on a dataset's training rows, choosing and calibrating on its validation rows.

    Test rows are never looked at.

    Args:
        dataset: what to learn from.
        settings: the project's settings; [backbone] and [train] matter here.
        kept: the project's `.millwright` folder, for caches and for runs that can be resumed.
        progress: called with a stage's name and the fraction done.
        known: shards that were trained before; one whose rows and settings are the same is not trained again.
        clock: has measured what was done before.

    Returns:
        The classifier, the method, the reason for it, and what each stage cost.

    Raises:
        BadInput: fewer than two labels have training rows, or none has a span where spans are to be found,
            or a setting does not fit task, backbone or rows.
        NotFound: the backbone cannot be loaded.
    """
    clock = clock or Clock()
    rows = dataset.split("train", "validation")
    if settings.project.task == SPANS:
        check_span_settings(settings)
        return _fit_spans(_work(dataset.id, rows, settings, span_labels(rows), kept, progress, clock))
    check_labels(labels := labels_of(rows))
    work = _work(dataset.id, rows, settings, labels, kept, progress, clock)
    method, why = str(settings.train.method), "the settings name it"
    weak, work, run_before = _use_of_weak_rows(work)
    if method in ("auto", "head"):
        fitted, tried = _fit_head(work)
        method, why = ("head", why) if method == "head" else _choose(work, tried)
    if method != "head":
        fitted = _fit_other(work, method, known)
    facts = {**fitted.facts, "stages": clock.stages, "peak_memory_bytes": clock.peak_memory_bytes()}
    if weak is not None:
        facts["weak"] = weak.to_json()
        facts["texts_run"] = facts.get("texts_run", 0) + run_before
    return replace(fitted, method=method, why=why, facts=facts)


def _work(
    name: str,
    rows: tuple[Row, ...],
    settings: Settings,
    labels: tuple[str, ...],
    kept: Path,
    progress: Progress,
    clock: Clock,
) -> Work:
    with clock.stage("backbone", 1):
        backbone = load_backbone(settings.backbone.name, settings.backbone.max_tokens, kept)
    with clock.stage("precision", PROBES):
        precision = backbone_precision(backbone)
    return Work(name, rows, settings, backbone, precision, labels, kept, progress, clock)


def _fit_spans(work: Work) -> Fitted:
    model, facts = fit_spans(work)
    facts |= {"stages": work.clock.stages, "peak_memory_bytes": work.clock.peak_memory_bytes()}
    return Fitted(model, model.method, f"{SPANS} has a head over words of the frozen backbone alone", facts)


def weigh_weak_rows(
    rows: Sequence[Row], settings: Settings, *, kept: Path, progress: Progress
) -> WeakUse | None:
    """Whether weak rows would teach beside labelled ones, decided as `fit` decides it; nothing is trained.

    Args:
        rows: training and validation rows, weak ones among them, in canonical order.
        settings: the project's settings.
        kept: a folder for features, which is not looked at again.
        progress: called with a stage's name and the fraction done.

    Returns:
        What would be done; None where nothing is to be decided: there is no weak row or only one label, or
        the method takes none.

    Raises:
        NotFound: the backbone cannot be loaded.
    """
    is_settled = not any(row.is_weak for row in rows) or settings.train.method in PRIVATE
    if is_settled or len(labels := labels_of(rows)) < 2:
        return None
    work = _work("weighed", tuple(rows), settings, labels, kept, progress, Clock())
    known = work.known_rows("train") + work.known_rows("validation")
    clean, weak = ([row for row in known if row.is_weak is is_weak] for is_weak in (False, True))
    return _weighed(work, clean, weak)[0]


def _use_of_weak_rows(work: Work) -> tuple[WeakUse | None, Work, int]:
    """What is made of the dataset's weak rows, None if it has none, the work without those left out, and
    how many texts had to be run to find out.
    """
    rows = work.known_rows("train") + work.known_rows("validation")
    weak = [row for row in rows if row.is_weak]
    if not weak:
        return None, work, 0
    if work.settings.train.method in PRIVATE:  # what was voted of rows, and the choice, know no noise
        return None, work.without({row.id for row in weak}), 0
    use, made = _weighed(work, [row for row in rows if not row.is_weak], weak)
    left = work.without({row.id for row in weak} - {weak[place].id for place in use.taken})
    return use, left, made


def _weighed(work: Work, clean: Sequence[Row], weak: Sequence[Row]) -> tuple[WeakUse, int]:
    """Which weak rows may teach, by how heads on frozen features do with and without them, and how many
    texts had to be run.
    """
    texts = [row.text for row in (*clean, *weak)]
    feature_ND, made = work.features("features", texts)
    truth_N, cut = truth_of((*clean, *weak), work.labels), len(clean)
    name_CD = _teaching_names(work, feature_ND[:cut], truth_N[:cut])
    tell = work.teller("weak rows")
    with work.stage("weak rows", len(texts)):
        tell(0.0)
        use = use_of_weak_rows(
            Taught(feature_ND[:cut], truth_N[:cut], [row.group for row in clean]),
            Taught(feature_ND[cut:], truth_N[cut:], [row.group for row in weak]),
            name_CD,
        )
        tell(1.0)
    return use, made


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


def _fit_tuned(work: Work, method: str) -> Fitted:
    tuned = fit_tuned(work, method)
    settings = work.settings.train
    classifier = assemble(
        work.labels, method, work.backbone, settings, tuned.temperature, work.precision, tuned.tensors
    )
    return Fitted(classifier, method, "", tuned.facts, (work.run_folder(method),))


def _fit_other(work: Work, method: str, known: Sequence[Member]) -> Fitted:
    if method in PRIVATE:
        classifier, facts = fit_private(work) if method == "private-head" else fit_private_lora(work)
        return Fitted(classifier, method, "", facts)
    if work.settings.train.shards == 1:
        return _fit_tuned(work, method)
    ensemble, facts, runs = fit_shards(work, method, known)
    return Fitted(ensemble, method, "", facts, runs)


def _fit_head(work: Work) -> tuple[Fitted, _Tried]:
    train_texts, train_truth = work.rows("train")
    held_texts, held_truth = work.rows("validation")
    texts = train_texts + held_texts
    feature, made = work.features("features", texts)
    cut = len(train_texts)
    is_clean = np.array([not row.is_weak for row in work.known_rows("train")])
    name_CD = _teaching_names(work, feature[:cut][is_clean], train_truth[is_clean])
    tell = work.teller("head")
    with work.stage("head", len(texts)):
        tell(0.0)
        strength, temperature, accuracy, start = choose_strength(
            with_names(feature[:cut], train_truth, name_CD), (feature[cut:], held_truth), len(work.labels)
        )
        # With strength and temperature chosen, validation rows have done their work and may teach.
        truth = np.concatenate([train_truth, held_truth])
        weight, bias = fit_head(*with_names(feature, truth, name_CD), len(work.labels), strength, start)
        tell(1.0)
    held = len(held_truth) if accuracy is not None else 0
    if accuracy is not None:
        with Events(work.run_folder("head")) as events:
            events.add_scalar("validation/accuracy", accuracy, 0)
    tuned = {"head.weight": torch.from_numpy(weight), "head.bias": torch.from_numpy(bias)}
    classifier = assemble(
        work.labels, "head", work.backbone, work.settings.train, temperature, work.precision, tuned
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


def _teaching_names(work: Work, feature_ND: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Features [C, D] of the labels' names where those may teach, else [0, D]."""
    none = feature_ND[:0]
    if not len(truth_N) or len(truth_N) > FEW_ROWS_A_LABEL * len(work.labels):
        return none
    name_CD, _ = work.features("label names", [words_of(label) for label in work.labels])
    return name_CD if may_teach(name_CD, feature_ND, truth_N) else none


def _choose(work: Work, tried: _Tried) -> tuple[str, str]:
    """The method by the data: the last layers where the frozen head is weak and the rows can teach more."""
    texts, _ = work.rows("train")
    rows_a_label = sum(not row.is_weak for row in work.known_rows("train")) / len(work.labels)
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


def _head_accuracy(work: Work, tried: _Tried) -> tuple[float, str]:
    """The accuracy by which a head is called good enough or not, and a sentence that tells its source.

    Validation rows decide if their 95 % interval lies wholly above or below AUTO_GOOD_ENOUGH; else they
    are too few to say, and cross-validation over training and validation rows decides.
    """
    measured = "a head on the frozen backbone is right"
    if tried.held:
        accuracy = tried.right / tried.held
        low, high = wilson(tried.right, tried.held)
        measured += f" on {accuracy:.1%} of {tried.held:,} validation rows"
        if not low < AUTO_GOOD_ENOUGH < high:
            return accuracy, measured
        measured += f", too few to tell (95 % between {low:.1%} and {high:.1%}), and"
    rows = work.known_rows("train") + work.known_rows("validation")
    is_weak = np.array([row.is_weak for row in rows])
    some, weak = np.flatnonzero(~is_weak)[:AUTO_MOST_CROSS_VALIDATED], np.flatnonzero(is_weak)
    if not len(some):
        return 0.0, "there is no row to measure a head on but weak ones"
    with work.stage("cross-validation", len(some)):
        right_N = cross_validate(
            tried.feature_ND[some],
            tried.truth_N[some],
            [rows[place].group for place in some],
            strength=tried.strength,
            also=with_names(tried.feature_ND[weak], tried.truth_N[weak], tried.name_CD),
            also_group=[rows[place].group for place in weak] + [""] * len(tried.name_CD),
        )
    accuracy = float(right_N.mean())
    return accuracy, f"{measured} on {accuracy:.1%} of {len(right_N):,} rows in cross-validation"
