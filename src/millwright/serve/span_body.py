"""A version that finds spans, in service: states of words by PyTorch, and a head of its own over them.

Features and answers are arrays of objects, one a text: texts have words of any number.

Shape suffixes: N texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from millwright.serve.engine import Body
from millwright.serve.runtime_record import TORCH
from millwright.train.span_model import SpanHead, SpanModel, open_span_model


class SpanBody:
    """States of the words of texts by a frozen backbone."""

    streams = 1  # PyTorch spreads one batch over all cores by itself

    def __init__(self, model: SpanModel) -> None:
        self._model = model

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Each text [N] with the states of its words."""
        found_N = np.empty(len(texts), dtype=object)
        found_N[:] = list(zip(texts, self._model.states(texts), strict=True))
        return found_N


@dataclass(frozen=True, eq=False)
class ServedSpans:
    """What a version says of words, and what makes their states."""

    head: SpanHead
    body: Body
    runtime: str = TORCH

    @property
    def labels(self) -> tuple[str, ...]:
        """What spans may be."""
        return self.head.labels

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """What was found in each text [N], a FoundSpans each."""
        found_N = np.empty(len(feature_ND), dtype=object)
        for place, (text, state_WS) in enumerate(feature_ND):
            found_N[place] = self.head.read(text, state_WS)
        return found_N


def open_span_body(folder: Path) -> tuple[SpanHead, SpanBody, str]:
    """Load a version's head and body, and the key that versions share which have the same body."""
    model = open_span_model(folder)
    backbone = model.backbone
    key = f"words {backbone.sha256} {backbone.max_tokens} {model.precision}"
    return model.head, SpanBody(model), key
