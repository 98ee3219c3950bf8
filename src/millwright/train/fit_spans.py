"""Trains what finds spans: a head over states of words, then a chain over what the head says.

Shape suffixes: N words of all rows, D features, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from torch import Tensor

from millwright.errors import BadInput
from millwright.modalities.spans import read_spans, tags_of
from millwright.modalities.words import word_places
from millwright.records import JsonObject, Row
from millwright.settings import SPANS, Settings
from millwright.train.chain import fit_chain, plain_chain, tag_names
from millwright.train.heads import choose_strength, fit_head
from millwright.train.span_metrics import measure_spans
from millwright.train.span_model import SpanHead, SpanModel, tag_scores
from millwright.train.word_states import cached_word_states, word_features
from millwright.train.work import Work

STRENGTHS = (0.1, 0.3, 1.0)
# That teach a head, and that judge it: their features take 3 kB each with the built-in backbone.
MOST_WORDS, MOST_HELD_WORDS = 250_000, 60_000
MOST_CHAIN_WORDS = 20_000


def check_span_settings(settings: Settings, trials: int = 0) -> None:
    """Refuse settings that a project of spans cannot have, and a search, with a BadInput."""
    if trials:
        raise BadInput(
            f"a search of {trials} settings was asked for, and the head of project.task {SPANS!r} chooses by "
            "itself; leave --search out"
        )
    method, runtime = settings.train.method, settings.serve.runtime
    if method not in ("auto", "head"):
        raise BadInput(
            f"train.method is {method!r}, and project.task {SPANS!r} is taught by a head over the frozen "
            "backbone only; set train.method to 'auto' or 'head'",
            field="train.method",
        )
    if settings.train.shards > 1:
        raise BadInput(
            f"train.shards is {settings.train.shards}, and a head has none; set it to 1: after an erasure a "
            "head is trained anew in seconds",
            field="train.shards",
        )
    if runtime not in ("auto", "torch"):
        raise BadInput(
            f"serve.runtime is {runtime!r}, and project.task {SPANS!r} is served by PyTorch only; set it to "
            "'auto'",
            field="serve.runtime",
        )


def span_labels(rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels that spans of training rows have, sorted; BadInput if there is no span."""
    labels = {span.label for row in rows if row.split == "train" for span in read_spans(row.label)}
    if not labels:
        raise BadInput("no training row has a span; mark what is to be found in more rows")
    return tuple(sorted(labels))


@dataclass(frozen=True)
class _Words:
    """Features [N, D] and tags [N] of the words of some rows, row after row.

    Row r ends before word ends[r].
    """

    feature_ND: np.ndarray
    tag_N: np.ndarray
    ends: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], states: Sequence[Tensor], tags: Sequence[str]) -> "_Words":
        """Take the words of rows together."""
        number = {tag: place for place, tag in enumerate(tags)}
        parts, known = [], []
        for row, state_WS in zip(rows, states, strict=True):
            parts.append(word_features(row.text, state_WS))
            marks = tags_of(word_places(row.text), read_spans(row.label))
            known += [number["O" if prefix == "O" else f"{prefix}-{label}"] for prefix, label in marks]
        ends = tuple(accumulate(map(len, parts)))
        return cls(np.concatenate(parts), np.array(known, dtype=np.int64), ends)

    def of_row(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Features [W, D] and tags [W] of one row's words."""
        words = slice(self.ends[row - 1] if row else 0, self.ends[row])
        return self.feature_ND[words], self.tag_N[words]


def fit_spans(work: Work) -> tuple[SpanModel, JsonObject]:
    """Solve the head on training rows, choose strength and chain on validation rows, then solve on all.

    Args:
        work: its labels are those of spans; its backbone stays frozen.

    Returns:
        The model and what was found. Both are functions of rows, settings and backbone alone.
    """
    train, validation = _usable(work, "train"), _usable(work, "validation")
    taught, held = _until(train, MOST_WORDS), _until(validation, MOST_HELD_WORDS)
    texts = [row.text for row in (*taught, *held)]
    with work.stage("states of words", len(texts)):
        states, made = cached_word_states(
            work.backbone,
            texts,
            work.precision,
            work.kept / "cache",
            work.teller("states of words"),
            work.settings.train.cache_bytes,
        )
    tags, unseen = tag_names(work.labels), range(len(taught), len(texts))
    words = _Words.of((*taught, *held), states, tags)
    cut = words.ends[len(taught) - 1]
    teaching, judging = (
        (words.feature_ND[part], words.tag_N[part]) for part in (slice(cut), slice(cut, None))
    )
    with work.stage("head", len(texts)):
        strength, *_ = choose_strength(teaching, judging, len(tags), STRENGTHS)
        head = fit_head(*teaching, len(tags), strength)
    with work.stage("chain", len(held)):
        said = [(tag_scores(feature_WD, *head), tag_W) for feature_WD, tag_W in map(words.of_row, unseen)]
        few = said[: len(_until(held, MOST_CHAIN_WORDS))]
        chain = fit_chain([scores for scores, _ in few], [tag_W for _, tag_W in few])
    first = SpanHead(work.labels, *head, chain if held else plain_chain(len(tags)))
    found = [first.read(texts[place], states[place]) for place in unseen]
    with work.stage("head on all", len(texts)):
        # With strength and chain chosen, validation rows have done their work and may teach.
        weight_KD, bias_K = fit_head(words.feature_ND, words.tag_N, len(tags), strength)
    last = replace(first, weight_KD=weight_KD, bias_K=bias_K)
    model = SpanModel(last, "head", work.backbone, work.settings.train, work.precision)
    facts = {
        "strength": strength,
        "validation_f1": measure_spans([row.label for row in held], found).f1.value if held else None,
        "texts_run": made,
        "taught_by": len(texts),
        "words": len(words.tag_N),
        "rows_not_needed": len(train) + len(validation) - len(texts),
    }
    return model, facts


def _usable(work: Work, split: str) -> list[Row]:
    """Rows of a split whose spans have no label that training lacks."""
    known = set(work.labels)
    return [
        row
        for row in work.all_rows
        if row.split == split and all(span.label in known for span in read_spans(row.label))
    ]


def _until(rows: Sequence[Row], most: int) -> list[Row]:
    """The first rows, of at most so many words but at least one row; rows stand in an order by chance."""
    counts = accumulate(len(word_places(row.text)) for row in rows)
    numbered = enumerate(zip(rows, counts, strict=True))
    return [row for place, (row, count) in numbered if count <= most or not place]
