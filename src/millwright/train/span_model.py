"""A trained model that finds spans: states of words, a linear head over them, a chain over the tags.

Saved as safetensors and JSON like a classifier, from which the task in classifier.json tells it.

Shape suffixes: W words of a text, S state, D features, K tags, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from scipy.special import log_softmax
from torch import Tensor

from millwright.errors import Corrupt
from millwright.modalities.spans import FoundSpans, LabelledSpan
from millwright.modalities.words import word_places
from millwright.settings import SPANS, TrainSection
from millwright.store.files import read_json, write_bytes, write_json, write_text
from millwright.train.backbones import Backbone
from millwright.train.chain import (
    Chain,
    believe,
    best_tags,
    finds_spans,
    path_score,
    span_probability,
    tag_names,
)
from millwright.train.classifier import backbone_facts, backbone_of, check_format, read_tensors
from millwright.train.network import pad
from millwright.train.shards import WEIGHTS
from millwright.train.states import Run, batches_by_length, device
from millwright.train.word_states import Window, WordReader, run_words, state_run, word_features

SPANS_FORMAT = 1  # of classifier.json, beside the task
LEAST_LOG_PROBABILITY = -25.0  # no tag is so unlikely that a chain could not allow it


@dataclass(frozen=True)
class SpanHead:
    """What is said of states of words: a head with weights [K, D] and bias [K], and a chain over its tags."""

    labels: tuple[str, ...]
    weight_KD: np.ndarray
    bias_K: np.ndarray
    chain: Chain

    def read(self, text: str, state_WS: Tensor) -> FoundSpans:
        """The spans of the likeliest sequence of tags, with the probability of each and of the whole."""
        words = word_places(text)
        if not words:
            return FoundSpans((), (), 1.0)
        score_WK = tag_scores(word_features(text, state_WS), self.weight_KD, self.bias_K)
        tag_W, beliefs = best_tags(self.chain, score_WK), believe(self.chain, score_WK)
        spans, sure = [], []
        for first, last, label in joined(tag_W):
            spans.append(LabelledSpan(words[first][0], words[last - 1][1], self.labels[label]))
            sure.append(span_probability(self.chain, beliefs, first, last, 1 + 2 * label))
        whole = float(np.exp(path_score(self.chain, score_WK, tag_W) - beliefs.log_total))
        return FoundSpans(tuple(spans), tuple(sure), min(1.0, whole))


@dataclass(frozen=True)
class SpanModel:
    """A head over the words' states of a frozen backbone, in `precision`."""

    head: SpanHead
    method: str
    backbone: Backbone
    settings: TrainSection
    precision: torch.dtype

    @property
    def labels(self) -> tuple[str, ...]:
        """What spans may be."""
        return self.head.labels

    @cached_property
    def _run(self) -> Run:
        return state_run(self.backbone, self.precision)

    @cached_property
    def _reader(self) -> WordReader:
        return WordReader(self.backbone)

    def states(self, texts: Sequence[str]) -> list[Tensor]:
        """States [W, S] of the words of each text."""
        found = dict(run_words(self._reader, texts, self._made))
        return [found[number] for number in range(len(texts))]

    def find(self, texts: Sequence[str]) -> list[FoundSpans]:
        """The spans of each text."""
        return [self.head.read(*pair) for pair in zip(texts, self.states(texts), strict=True)]

    def _made(self, windows: Sequence[Window]) -> Iterator[tuple[int, Tensor]]:
        """The number of each window and the states of its tokens; batches are of like length."""
        for batch in batches_by_length([len(window.ids) for window in windows]):
            ids_BT, mask_BT = pad([windows[number].ids for number in batch], self.backbone.pad_id)
            with torch.inference_mode():
                state_BTS = self._run(ids_BT.to(device()), mask_BT.to(device()))
            for number, state_TS in zip(batch, state_BTS, strict=True):
                yield number, state_TS.cpu()

    def save(self, folder: Path) -> None:
        """Write weights.safetensors, tokenizer.json and classifier.json; CannotStore on a full disk."""
        head, chain = self.head, self.head.chain
        tensors = {
            "head.weight": torch.from_numpy(head.weight_KD),
            "head.bias": torch.from_numpy(head.bias_K),
            "chain.move": torch.from_numpy(chain.move_KK),
            "chain.start": torch.from_numpy(chain.start_K),
        }
        write_bytes(folder / WEIGHTS, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        write_text(folder / "tokenizer.json", self.backbone.tokenizer.to_str(pretty=True))
        about = {
            "format": SPANS_FORMAT,
            "task": SPANS,
            "labels": list(head.labels),
            "method": self.method,
            "scale": chain.scale,
            "precision": str(self.precision).removeprefix("torch."),
            "backbone": backbone_facts(self.backbone),
            "train": self.settings.model_dump(),
        }
        write_json(folder / "classifier.json", about)


def is_span_model(folder: Path) -> bool:
    """True if a version's folder holds a model that finds spans."""
    return finds_spans(read_json(folder / "classifier.json"))


def open_span_model(folder: Path) -> SpanModel:
    """Load what `SpanModel.save` wrote.

    Args:
        folder: where it was written; the caller verifies its seal.

    Returns:
        The model.

    Raises:
        Corrupt: a file is damaged, or the backbone has other weights now.
        NotFound: the backbone cannot be loaded.
    """
    about, tensors = read_json(folder / "classifier.json"), read_tensors(folder / WEIGHTS)
    check_format(about, SPANS_FORMAT, folder)
    labels = tuple(about["labels"])
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    tags = len(tag_names(labels))
    if shapes.get("chain.move") != (tags, tags) or shapes.get("head.bias") != (tags,):
        raise Corrupt(f"{folder / WEIGHTS} does not fit {len(labels)} labels; restore it from a backup")
    chain = Chain(float(about["scale"]), tensors["chain.move"].numpy(), tensors["chain.start"].numpy())
    head = SpanHead(labels, tensors["head.weight"].numpy(), tensors["head.bias"].numpy(), chain)
    precision: torch.dtype = getattr(torch, about["precision"])
    settings = TrainSection.model_validate(about["train"])
    return SpanModel(head, about["method"], backbone_of(about, folder), settings, precision)


def tag_scores(feature_WD: np.ndarray, weight_KD: np.ndarray, bias_K: np.ndarray) -> np.ndarray:
    """Log probabilities [W, K] of the tags of words, by the head alone."""
    logit_WK = (feature_WD @ weight_KD.T + bias_K).astype(np.float64)
    score_WK: np.ndarray = np.maximum(log_softmax(logit_WK, axis=1), LEAST_LOG_PROBABILITY)
    return score_WK


def joined(tag_W: Sequence[int] | np.ndarray) -> list[tuple[int, int, int]]:
    """First word, last word (exclusive) and label of each span of tags: 0, then B and I of each label."""
    spans: list[tuple[int, int, int]] = []
    for word, tag in enumerate(tag_W):
        if tag == 0:
            continue
        label, is_inside = divmod(int(tag) - 1, 2)
        if is_inside:
            spans[-1] = (spans[-1][0], word + 1, label)
        else:
            spans.append((word, word + 1, label))
    return spans
