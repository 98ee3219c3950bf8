"""What a classifier is worth on held-out rows: figures with bootstrap intervals, by class and by slice.

Shape suffixes: N rows, C labels, R resamples.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput
from millwright.records import Interval, JsonObject

RESAMPLES = 1_000
BINS = 15
MOST_CONFUSED = 15


@dataclass(frozen=True)
class ClassScore:
    """One label's precision, recall and F1; `rows` have it as their truth."""

    label: str
    rows: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class SliceScore:
    """Accuracy on the rows where column `name` is `value`."""

    name: str
    value: str
    rows: int
    accuracy: Interval


@dataclass(frozen=True)
class Confusion:
    """How often rows of label `truth` were taken for `predicted`."""

    truth: str
    predicted: str
    count: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose confidence lies in (low, high]: mean confidence against accuracy."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """All that was measured; intervals are 95 % percentile bootstrap over rows."""

    rows: int
    accuracy: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    weighted_precision: Interval
    weighted_recall: Interval
    weighted_f1: Interval
    calibration_error: Interval
    log_loss: Interval
    per_class: tuple[ClassScore, ...]
    slices: tuple[SliceScore, ...]
    confused: tuple[Confusion, ...]
    reliability: tuple[ReliabilityBin, ...]
    notes: tuple[str, ...] = ()  # what to know before believing the figures

    @property
    def headline(self) -> Interval:
        """The one figure by which versions are listed."""
        return self.accuracy

    def to_json(self) -> JsonObject:
        """The same as a tree of plain values."""
        return dataclasses.asdict(self)


def evaluate(
    probability_NC: np.ndarray,
    truth_N: np.ndarray,
    labels: Sequence[str],
    slices: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> Evaluation:
    """Measure probabilities against the truth.

    Args:
        probability_NC: probabilities, each row sums to one.
        truth_N: label numbers; -1 for a label that the model does not know, which is always wrong.
        labels: the names of the columns.
        slices: values by name of slice, one a row.
        seed: of the bootstrap.

    Returns:
        The evaluation. Macro figures average over labels that stand in truth or predictions.

    Raises:
        BadInput: no rows, or lengths differ.
    """
    if not len(truth_N) or len(truth_N) != len(probability_NC):
        raise BadInput(
            f"got {len(probability_NC)} answers for {len(truth_N)} rows; pass one for each, at least one"
        )
    predicted_N = probability_NC.argmax(1)
    confidence_N = probability_NC.max(1)
    right_N = predicted_N == truth_N
    loss_N = -np.log(
        np.clip(np.where(truth_N >= 0, probability_NC[np.arange(len(truth_N)), truth_N], 0), 1e-15, 1)
    )
    weight_RN = resamples(len(truth_N), seed)
    exact_1N = np.ones((1, len(truth_N)))

    def interval(figure: Callable[[np.ndarray], np.ndarray]) -> Interval:
        """A figure over all rows, with its interval over the resamples."""
        return interval_of(figure(exact_1N)[0], figure(weight_RN))

    counts = _counts(truth_N, predicted_N, len(labels))
    exact, drawn = (_averages(counts, weights) for weights in (exact_1N, weight_RN))
    named = {
        f"{kind}_{name}": interval_of(exact[kind][place][0], drawn[kind][place])
        for kind in exact
        for place, name in enumerate(("precision", "recall", "f1"))
    }
    return Evaluation(
        rows=len(truth_N),
        accuracy=interval(lambda weight: weight @ right_N / weight.sum(1)),
        **named,
        calibration_error=interval(lambda weight: _calibration_error(weight, confidence_N, right_N)),
        log_loss=interval(lambda weight: weight @ loss_N / weight.sum(1)),
        per_class=_per_class(counts, labels),
        slices=_by_slice(right_N, weight_RN, slices),
        confused=_confused(truth_N, predicted_N, labels),
        reliability=_reliability(confidence_N, right_N),
        notes=_all_right(len(truth_N)) if right_N.all() else (),
    )


def _all_right(rows: int) -> tuple[str, ...]:
    """Resampling rows that are all right gives an interval without width; this says what they do show.

    Source: the exact one-sided bound of Clopper and Pearson 1934, Biometrika 26, which is 0.05^(1/N) here.
    """
    bound = 0.05 ** (1 / rows)
    return (
        f"every row was right, so intervals have no width; {rows:,} rows show no more than an accuracy "
        f"over {bound:.3f}",
    )


Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


def resamples(rows: int, seed: int) -> np.ndarray:
    """How often each row stands in each of RESAMPLES bootstrap samples [R, N]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES).astype(np.float64)


def interval_of(value: float, drawn_R: np.ndarray) -> Interval:
    """A figure with the middle 95 % of what resamples made of it."""
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))


def _counts(truth_N: np.ndarray, predicted_N: np.ndarray, labels: int) -> Counts:
    """Indicators [N, C + 1] of truth, prediction and both; the last column is the unknown label."""
    truth_NC = np.eye(labels + 1)[truth_N]
    predicted_NC = np.eye(labels + 1)[predicted_N]
    return truth_NC, predicted_NC, truth_NC * predicted_NC


def _averages(counts: Counts, weight_RN: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Precision, recall and F1 [R] of each resample, averaged over labels alike and by their rows."""
    truth_RC, predicted_RC, both_RC = (weight_RN @ indicator for indicator in counts)
    scores = _scores(truth_RC, predicted_RC, both_RC)
    found = {}
    for kind, by_RC in (("macro", ((truth_RC + predicted_RC) > 0).astype(float)), ("weighted", truth_RC)):
        share_RC = by_RC / by_RC.sum(1, keepdims=True)
        found[kind] = [(score * share_RC).sum(1) for score in scores]
    return found


def _scores(
    truth: np.ndarray, predicted: np.ndarray, both: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    precision = both / np.maximum(predicted, 1e-12)
    recall = both / np.maximum(truth, 1e-12)
    return precision, recall, 2 * both / np.maximum(truth + predicted, 1e-12)


def _per_class(counts: Counts, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    truth_C, predicted_C, both_C = (indicator.sum(0) for indicator in counts)
    precision_C, recall_C, f1_C = _scores(truth_C, predicted_C, both_C)
    return tuple(
        ClassScore(label, int(truth_C[c]), float(precision_C[c]), float(recall_C[c]), float(f1_C[c]))
        for c, label in enumerate(labels)
    )


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Expected calibration error over equal-width bins, of rows that count alike.

    Args:
        confidence_N: probability of the label that was answered.
        right_N: whether it was right.

    Returns:
        The mean distance of confidence and accuracy, in [0, 1].
    """
    return float(_calibration_error(np.ones((1, len(right_N))), confidence_N, right_N)[0])


def _calibration_error(weight_RN: np.ndarray, confidence_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """Expected calibration error over equal-width bins (Guo et al. 2017, arXiv:1706.04599)."""
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    gap_NB = np.eye(BINS)[bin_N] * (right_N - confidence_N)[:, None]
    error_R: np.ndarray = np.abs(weight_RN @ gap_NB).sum(1) / weight_RN.sum(1)
    return error_R


def _reliability(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[ReliabilityBin, ...]:
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        ReliabilityBin(
            b / BINS,
            (b + 1) / BINS,
            int(inside.sum()),
            float(confidence_N[inside].mean()),
            float(right_N[inside].mean()),
        )
        for b in range(BINS)
        if (inside := bin_N == b).any()
    )


def _by_slice(
    right_N: np.ndarray, weight_RN: np.ndarray, slices: Mapping[str, Sequence[str]]
) -> tuple[SliceScore, ...]:
    found = []
    for name, values in slices.items():
        value_N = np.asarray(values, dtype=object)
        for value in sorted(set(values)):
            inside = value_N == value
            rows_R = weight_RN[:, inside].sum(1)
            drawn_R = (weight_RN[:, inside] @ right_N[inside])[rows_R > 0] / rows_R[rows_R > 0]
            accuracy = interval_of(float(right_N[inside].mean()), drawn_R)
            found.append(SliceScore(name, value, int(inside.sum()), accuracy))
    return tuple(found)


def _confused(truth_N: np.ndarray, predicted_N: np.ndarray, labels: Sequence[str]) -> tuple[Confusion, ...]:
    wrong = (truth_N != predicted_N) & (truth_N >= 0)
    pairs, counts = np.unique(np.stack([truth_N[wrong], predicted_N[wrong]]), axis=1, return_counts=True)
    order = sorted(range(len(counts)), key=lambda at: (-counts[at], *pairs[:, at]))[:MOST_CONFUSED]
    return tuple(Confusion(labels[pairs[0, at]], labels[pairs[1, at]], int(counts[at])) for at in order)
