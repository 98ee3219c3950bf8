"""Compares backbones on the user's own rows: quality of a frozen head, speed, size; recommends one."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, MillwrightError
from millwright.progress import Progress
from millwright.records import Interval
from millwright.settings import Settings, refuse_spans
from millwright.train.backbones import Backbone, load_backbone
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.states import backbone_precision, cached_features
from millwright.train.work import truth_of

FOLDS = 3
MOST_ROWS = 5_000
TIMED_TEXTS = 200


@dataclass(frozen=True)
class BackboneScore:
    """What was measured of one candidate; `error` says why it could not be, and the rest is zero then."""

    name: str
    accuracy: Interval
    sentences_per_second: float
    size_bytes: int
    hidden: int
    layers: int
    error: str | None = None


def compare_backbones(
    dataset: Dataset, names: Sequence[str], settings: Settings, *, kept: Path, progress: Progress
) -> tuple[list[BackboneScore], str]:
    """Measure candidates by cross-validation of a frozen head; test rows are not used.

    Args:
        dataset: its training and validation rows are used, at most 5,000, groups kept together.
        names: backbones as `load_backbone` takes them.
        settings: `backbone.max_tokens` matters.
        kept: the project's `.millwright` folder, for the cache.
        progress: called with a candidate's name and the fraction done.

    Returns:
        A score a candidate, and a sentence that recommends one.

    Raises:
        BadInput: no candidate could be measured, or rows are too few for three folds.
    """
    refuse_spans(settings, "`millwright backbones compare`")
    from sklearn.model_selection import StratifiedGroupKFold  # here: few verbs need scikit-learn

    rows = [row for row in dataset.split("train", "validation") if not row.is_weak][:MOST_ROWS]
    truth_N = truth_of(rows, dataset.labels)
    if len(rows) < 10 * FOLDS:
        raise BadInput(f"comparing backbones needs {10 * FOLDS} rows, there are {len(rows)}; add rows")
    texts = [row.text for row in rows]
    groups = [row.group for row in rows]
    if len(set(groups)) < FOLDS or max(Counter(row.label for row in rows).values()) < FOLDS:
        raise BadInput(
            f"comparing backbones needs {FOLDS} groups and {FOLDS} rows of a label, there are "
            f"{len(set(groups))} groups of {len(rows)} rows; add rows"
        )
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(texts, truth_N, groups))
    cached = partial(cached_features, cache=kept / "cache", most_bytes=settings.train.cache_bytes)
    scores = []
    for name in names:
        try:
            backbone = load_backbone(name, settings.backbone.max_tokens)
        except MillwrightError as error:
            scores.append(BackboneScore(name, Interval(0.0, 0.0, 0.0), 0.0, 0, 0, 0, str(error)))
            continue
        scores.append(_score(backbone, texts, truth_N, folds, cached, progress))
    measured = [score for score in scores if score.error is None]
    if not measured:
        raise BadInput(
            f"no candidate could be measured; {scores[0].error if scores else 'name at least one backbone'}"
        )
    return scores, _recommend(measured)


def _score(
    backbone: Backbone,
    texts: list[str],
    truth_N: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
    cached: Callable[..., tuple[Tensor, int]],
    progress: Progress,
) -> BackboneScore:
    precision = backbone_precision(backbone)
    with TemporaryDirectory() as empty:  # a cache that holds nothing, so that the run is what is timed
        start = time.perf_counter()
        timed, _ = cached_features(backbone, texts[:TIMED_TEXTS], precision, Path(empty), lambda _: None)
        speed = len(timed) / (time.perf_counter() - start)
    tensor, _ = cached(backbone, texts, precision, progress=lambda done: progress(backbone.name, 0.8 * done))
    feature_ND = tensor.numpy()
    right_N = np.zeros(len(texts))
    for fold, (learn, judge) in enumerate(folds, start=1):
        weight, bias = fit_head(feature_ND[learn], truth_N[learn], int(truth_N.max()) + 1, DEFAULT_STRENGTH)
        right_N[judge] = (feature_ND[judge] @ weight.T + bias).argmax(1) == truth_N[judge]
        progress(backbone.name, 0.8 + 0.2 * fold / len(folds))
    half = 1.96 * float(np.sqrt(right_N.mean() * (1 - right_N.mean()) / len(right_N)))
    accuracy = float(right_N.mean())
    size = sum(parameter.numel() * 4 for parameter in backbone.model.parameters())
    interval = Interval(accuracy, max(0.0, accuracy - half), min(1.0, accuracy + half))
    return BackboneScore(backbone.name, interval, round(speed, 1), size, backbone.hidden, backbone.layers)


def _recommend(scores: list[BackboneScore]) -> str:
    best = max(scores, key=lambda score: score.accuracy.value)
    equal = [score for score in scores if score.accuracy.high >= best.accuracy.value]
    fastest = max(equal, key=lambda score: score.sentences_per_second)
    if fastest is best:
        return f"{best.name}: the most accurate ({best.accuracy.value:.1%}), and none as accurate is faster"
    times = fastest.sentences_per_second / best.sentences_per_second
    return (
        f"{fastest.name}: its accuracy ({fastest.accuracy.value:.1%}) cannot be told from the best "
        f"({best.name}, {best.accuracy.value:.1%}), and it is {times:.1f} times as fast"
    )
