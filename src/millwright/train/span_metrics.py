"""What a finder of spans is worth on held-out rows: a span counts if start, end and label are all right.

Shape suffixes: N rows, L labels, R resamples, S answered spans.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millwright.errors import BadInput
from millwright.modalities.spans import FoundSpans, LabelledSpan, read_spans
from millwright.records import Interval, JsonObject
from millwright.train.metrics import calibration_error, interval_of, resamples


@dataclass(frozen=True)
class SpanScore:
    """Figures of spans of one label, or of the rows where column `name` is `value`.

    `spans` are those that there are, `found` those that were answered.
    """

    label: str
    spans: int
    found: int
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True)
class SpanEvaluation:
    """All that was measured; intervals are 95 % percentile bootstrap over rows.

    Macro figures average over labels that stand in truth or answers. `exact_rows` is the share of rows whose
    spans were all found and none besides; `calibration_error` that of the answered spans' probabilities.
    """

    rows: int
    spans: int
    found: int
    precision: Interval
    recall: Interval
    f1: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    exact_rows: Interval
    calibration_error: float
    per_label: tuple[SpanScore, ...]
    slices: tuple[SpanScore, ...]
    notes: tuple[str, ...] = ()  # what to know before believing the figures

    @property
    def headline(self) -> Interval:
        """The one figure by which versions are listed."""
        return self.f1

    def to_json(self) -> JsonObject:
        """The same as a tree of plain values."""
        return dataclasses.asdict(self)


def measure_spans(
    truths: Sequence[str],
    answers: Sequence[FoundSpans],
    slices: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> SpanEvaluation:
    """Measure answers against the truth, span by span.

    Args:
        truths: the spans of each row, as `write_spans` writes them.
        answers: what was found in each row.
        slices: values by name of slice, one a row.
        seed: of the bootstrap.

    Returns:
        The evaluation; a precision without an answer, or a recall without a span, is 0.

    Raises:
        BadInput: no rows, or lengths differ.

    Source of the counting: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 shared task",
    section 2.3.
    """
    if not truths or len(truths) != len(answers):
        raise BadInput(f"got {len(answers)} answers for {len(truths)} rows; pass one for each, at least one")
    known = [set(read_spans(truth)) for truth in truths]
    labels = sorted(
        {span.label for spans in known for span in spans}
        | {span.label for answer in answers for span in answer.spans}
    )
    count_3NL = _counts(known, answers, labels)
    weight_RN = resamples(len(truths), seed)
    exact_1N = np.ones((1, len(truths)))
    exact_31L, drawn_3RL = (_weighed(weight, count_3NL) for weight in (exact_1N, weight_RN))
    whole = [_intervals(_scores(exact_31L.sum(2)), _scores(drawn_3RL.sum(2)))]
    whole.append(_intervals(_macro(exact_31L), _macro(drawn_3RL)))
    right_N = np.array([one == set(answer.spans) for one, answer in zip(known, answers, strict=True)])
    sure = [(span in one, p) for one, a in zip(known, answers, strict=True) for span, p in _pairs(a)]
    right_S, sureness_S = np.array([one for one, _ in sure]), np.array([p for _, p in sure])
    total, found, _ = exact_31L.sum((1, 2)).astype(int).tolist()
    return SpanEvaluation(
        len(truths),
        total,
        found,
        *whole[0],
        *whole[1],
        exact_rows=interval_of(float(right_N.mean()), weight_RN @ right_N / len(right_N)),
        calibration_error=calibration_error(sureness_S, right_S) if sure else 0.0,
        per_label=tuple(
            _scored(label, exact_31L[:, :, place], drawn_3RL[:, :, place])
            for place, label in enumerate(labels)
        ),
        slices=tuple(_by_slice(count_3NL.sum(2), weight_RN, slices or {})),
        notes=(f"none of {len(truths):,} rows has a span: precision and recall say nothing",)
        if not total
        else (),
    )


def _pairs(answer: FoundSpans) -> list[tuple[LabelledSpan, float]]:
    return list(zip(answer.spans, answer.probabilities, strict=True))


def _counts(
    known: Sequence[set[LabelledSpan]], answers: Sequence[FoundSpans], labels: Sequence[str]
) -> np.ndarray:
    """How many spans of each label a row has, how many were answered, and how many of those are right."""
    number = {label: place for place, label in enumerate(labels)}
    count_3NL = np.zeros((3, len(known), len(labels)))
    for row, (truth, answer) in enumerate(zip(known, answers, strict=True)):
        for span in truth:
            count_3NL[0, row, number[span.label]] += 1
        for span in answer.spans:
            count_3NL[1, row, number[span.label]] += 1
            count_3NL[2, row, number[span.label]] += span in truth
    return count_3NL


def _weighed(weight_RN: np.ndarray, count_3NL: np.ndarray) -> np.ndarray:
    """Sums [3, R, L] over rows."""
    return np.stack([weight_RN @ count_NL for count_NL in count_3NL])


def _scores(count_3X: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of counts: spans there are, spans answered, spans right."""
    there, answered, right = count_3X
    return np.stack(
        [
            right / np.maximum(answered, 1e-12),
            right / np.maximum(there, 1e-12),
            2 * right / np.maximum(there + answered, 1e-12),
        ]
    )


def _macro(count_3RL: np.ndarray) -> np.ndarray:
    """Means [3, R] over labels that stand in truth or answers."""
    stands_RL = count_3RL[0] + count_3RL[1] > 0
    mean_3R: np.ndarray = (_scores(count_3RL) * stands_RL).sum(2) / np.maximum(stands_RL.sum(1), 1)
    return mean_3R


def _intervals(exact_31: np.ndarray, drawn_3R: np.ndarray) -> tuple[Interval, Interval, Interval]:
    precision, recall, f1 = (
        interval_of(float(exact[0]), drawn_R) for exact, drawn_R in zip(exact_31, drawn_3R, strict=True)
    )
    return precision, recall, f1


def _scored(name: str, exact_31: np.ndarray, drawn_3R: np.ndarray) -> SpanScore:
    spans, found = int(exact_31[0, 0]), int(exact_31[1, 0])
    return SpanScore(name, spans, found, *_intervals(_scores(exact_31), _scores(drawn_3R)))


def _by_slice(
    count_3N: np.ndarray, weight_RN: np.ndarray, slices: Mapping[str, Sequence[str]]
) -> list[SpanScore]:
    found = []
    for name, values in slices.items():
        value_N = np.asarray(values, dtype=object)
        for value in sorted(set(values)):
            inside = value_N == value
            exact_31 = count_3N[:, inside].sum(1, keepdims=True)
            drawn_3R = np.stack([weight_RN[:, inside] @ count_N[inside] for count_N in count_3N])
            found.append(_scored(f"{name}: {value or 'unknown'}", exact_31, drawn_3R))
    return found
