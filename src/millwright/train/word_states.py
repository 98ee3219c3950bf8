"""States of words: what the frozen backbone makes of the first token of each word of a text.

A text that is longer than the backbone reads at once is read in windows that overlap, and a word's state is
that of the window in which it stands furthest from an edge. States are those two and four layers below the
last. How a word is written (capitals, digits, script) stands beside them, since most tokenizers lose it.

Shape suffixes: B windows of a batch, T tokens, H hidden width, W words, S = 2 H states, D features.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from millwright.modalities.words import Place, first_tokens, word_places
from millwright.train.backbones import Backbone
from millwright.train.cache import Made, fetch, text_key
from millwright.train.network import lower_encoder
from millwright.train.states import Run, device, maker_key, run_all

LAYERS_BELOW = (2, 4)  # how far below the last layer the states lie
SHAPES = 8  # features of how one word is written


@dataclass(frozen=True)
class Window:
    """Token ids [T] of a part of a text, and the words whose states are taken from it, with their tokens."""

    text: int
    ids: Tensor
    words: tuple[int, ...]
    tokens: tuple[int, ...]


class WordReader:
    """Cuts texts into words and windows of tokens."""

    def __init__(self, backbone: Backbone) -> None:
        self._tokenizer = Tokenizer.from_str(backbone.tokenizer.to_str())
        self._tokenizer.enable_truncation(backbone.max_tokens, stride=backbone.max_tokens // 4)

    def words(self, texts: Sequence[str]) -> list[list[Place]]:
        """Places of each text's words."""
        return [word_places(text) for text in texts]

    def windows(self, texts: Sequence[str], words: Sequence[Sequence[Place]]) -> Iterator[Window]:
        """The windows of each text, text by text; each word that has a token is in one of them."""
        for number, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            parts = [encoding, *encoding.overflowing]
            taken: list[tuple[int, int, int]] = [(-1, 0, 0)] * len(words[number])  # distance, part, token
            for place, part in enumerate(parts):
                for word, token in enumerate(first_tokens(words[number], part.offsets)):
                    if token is not None:
                        far = min(token, len(part.ids) - 1 - token)
                        taken[word] = max(taken[word], (far, -place, token))
            for place, part in enumerate(parts):
                own = [word for word, (far, at, _) in enumerate(taken) if far >= 0 and -at == place]
                yield Window(
                    number, torch.tensor(part.ids), tuple(own), tuple(taken[word][2] for word in own)
                )


def cached_word_states(
    backbone: Backbone,
    texts: Sequence[str],
    precision: torch.dtype,
    cache: Path,
    progress: Callable[[float], None],
    most_bytes: int,
) -> tuple[list[Tensor], int]:
    """States [W, S] of the words of each text in float16, and how many texts had to be run."""

    def make(places: list[int]) -> Made:
        """States of the texts at these places."""
        run = state_run(backbone, precision)

        def made(windows: Sequence[Window]) -> Iterator[tuple[int, Tensor]]:
            """States of windows, each in a batch of its own shape."""
            return run_all(run, backbone.pad_id, [window.ids for window in windows], progress)

        for place, state_WS in run_words(WordReader(backbone), [texts[place] for place in places], made):
            yield places[place], state_WS

    folder = cache / maker_key(backbone, "words", precision)
    return fetch(folder, [text_key(text) for text in texts], make, most_bytes)


def state_run(backbone: Backbone, precision: torch.dtype) -> Run:
    """What makes states [T, S] in float16 of each row of a batch, on the frozen backbone."""
    depth = max(1, backbone.layers - LAYERS_BELOW[0])
    encoder = lower_encoder(backbone, depth).to(device(), precision).eval()
    lower = max(0, backbone.layers - LAYERS_BELOW[1])

    def run(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
        """States of a batch."""
        out = encoder(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
        return list(torch.cat([out.hidden_states[lower], out.last_hidden_state], dim=2).to(torch.float16))

    return run


def run_words(
    reader: WordReader,
    texts: Sequence[str],
    made: Callable[[Sequence[Window]], Iterable[tuple[int, Tensor]]],
) -> Iterator[tuple[int, Tensor]]:
    """The states of the words of texts.

    Args:
        reader: cuts the texts.
        texts: any texts.
        made: of windows, the number of each and the states [T, S] of its tokens, in any order.

    Returns:
        The number of each text and the states [W, S] of its words, as all of its windows are done.
    """
    words = reader.words(texts)
    windows = list(reader.windows(texts, words))
    return _gathered(words, windows, made(windows))


def _gathered(
    words: Sequence[Sequence[Place]], windows: Sequence[Window], made: Iterable[tuple[int, Tensor]]
) -> Iterator[tuple[int, Tensor]]:
    left = np.bincount([window.text for window in windows], minlength=len(words))
    found: dict[int, Tensor] = {}
    for number, state_TS in made:
        window = windows[number]
        if window.text not in found:  # a word without a token keeps zeros
            found[window.text] = state_TS.new_zeros(len(words[window.text]), state_TS.shape[1])
        found[window.text][list(window.words)] = state_TS[list(window.tokens)]
        left[window.text] -= 1
        if not left[window.text]:
            yield window.text, found.pop(window.text)


def word_features(text: str, state_WS: Tensor) -> np.ndarray:
    """Features [W, S + 3 SHAPES] in float32 of words: states, how each and its neighbours are written."""
    places = word_places(text)
    shape_WK = np.zeros((len(places) + 2, SHAPES), np.float32)
    for row, (start, end) in enumerate(places, start=1):
        shape_WK[row] = _shape(text[start:end])
    near = [shape_WK[1:-1], shape_WK[:-2], shape_WK[2:]]
    return np.concatenate([state_WS.float().numpy(), *near], axis=1)


def _shape(word: str) -> tuple[bool, ...]:
    first = word[0]
    is_letter = first.isalpha()
    return (
        is_letter and word.isupper() and len(word) > 1,
        is_letter and first.isupper() and not (word.isupper() and len(word) > 1),
        is_letter and word.islower(),
        is_letter and unicodedata.category(first) == "Lo",
        first.isdigit() and len(word) < 4,
        first.isdigit() and len(word) >= 4,
        not (is_letter or first.isdigit()),
        is_letter and not word.isascii(),
    )
