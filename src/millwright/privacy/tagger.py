"""A linear-chain tagger over hashed features: names of people, organisations and places, and addresses.

Each token has features of itself and its neighbours; a feature's hash picks a row of an int8 table; a tag's
score is the sum of its rows, and Viterbi finds the best sequence of tags (BIO). The table is trained by
`tagger/train.py` and stands beside this file.

Shape suffixes: T tokens of all texts with a gap of REACH after each, F features, K tags, J facts and offsets.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from threading import Lock

import numpy as np

from millwright.errors import Corrupt
from millwright.privacy.entities import Span
from millwright.privacy.tokens import COMMON_CLASSES, FACTS, PLAIN_SHAPES, TOKEN, token_facts

TAGS = (
    "O", "B-PERSON", "I-PERSON", "B-ORGANIZATION", "I-ORGANIZATION", "B-LOCATION", "I-LOCATION", "B-ADDRESS",
    "I-ADDRESS", "B-POSTCODE", "I-POSTCODE",
)  # fmt: skip
REACH = 3  # tokens to each side that features look at
BITS = 18
WEIGHTS = Path(__file__).with_name("tagger.safetensors")
SCORE = 0.65  # between a loose shape and words near
WORDS_KEPT = 200_000
TOKENS_TOGETHER = 4_096
FEW_TEXTS = 4
# By this "O" is lowered for words with a capital that are no common ones: a name that is missed costs more
# than a word that is masked.
LEAN = 3.5

# Features: (offset, fact) up to three a feature. Facts: 0 word, 1 class, 2 shape, 3 prefix, 4 and 5 suffixes.
_SINGLES = [(offset, 0) for offset in range(-3, 4)] + [(offset, 1) for offset in range(-2, 3)]
_SINGLES += [(-1, 2), (0, 2), (1, 2), (0, 3), (0, 4), (-1, 4), (1, 4), (0, 5), (1, 5)]
FEATURES: tuple[tuple[tuple[int, int], ...], ...] = (
    *((single,) for single in _SINGLES),
    ((-1, 0), (0, 0)), ((0, 0), (1, 0)), ((-2, 0), (-1, 0)), ((1, 0), (2, 0)), ((-1, 0), (1, 0)),
    ((-1, 1), (0, 1)), ((0, 1), (1, 1)), ((-1, 0), (0, 1)), ((0, 1), (1, 0)), ((-1, 1), (0, 1), (1, 1)),
    ((-2, 1), (-1, 1), (0, 1)), ((0, 1), (1, 1), (2, 1)),
    ((-2, 0), (-1, 0), (0, 1)), ((-1, 0), (0, 1), (1, 1)),
    ((0, 1), (1, 0), (2, 0)), ((-1, 1), (0, 1), (1, 0)), ((-1, 0), (0, 0), (1, 0)), ((0, 1), (1, 1), (2, 0)),
    ((-3, 0), (-2, 0), (-1, 0)), ((0, 2), (-1, 0), (1, 0)),
)  # fmt: skip
_MIX = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], np.uint32)


def _columns() -> tuple[np.ndarray, np.ndarray]:
    """For each feature, where its parts stand in a row of J, and a constant of its own."""
    nothing = FACTS * (2 * REACH + 1)
    column_3F = np.full((3, len(FEATURES)), nothing)
    for place, parts in enumerate(FEATURES):
        for part, (offset, fact) in enumerate(parts):
            column_3F[part, place] = (offset + REACH) * FACTS + fact
    own_F = (np.arange(1, len(FEATURES) + 1, dtype=np.uint64) * 0x27D4EB2F & 0xFFFFFFFF).astype(np.uint32)
    return column_3F, own_F


_COLUMN_3F, _OWN_F = _columns()
_WIDTH = 2 * REACH + 1


class _Words:
    """What is known of the words seen so far, by number; number 0 is the gap between texts."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}
        self._fact_WJ = np.zeros((1024, FACTS), np.uint32)
        self._lean_W = np.zeros(1024, np.float32)
        self._lock = Lock()

    def look_up(self, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Facts of tokens, of shape (T, FACTS), and by what "O" is lowered at each; "" is a gap."""
        with self._lock:
            numbers = self._numbers
            if len(numbers) > WORDS_KEPT:
                numbers = self._numbers = {"": 0}
            for token in {token for token in tokens if token not in numbers}:
                self._add(token)
            number_T = [numbers[token] for token in tokens]
            return self._fact_WJ[number_T], self._lean_W[number_T]

    def _add(self, token: str) -> None:
        number = len(self._numbers)
        if number >= len(self._fact_WJ):
            self._fact_WJ = np.concatenate([self._fact_WJ, np.zeros_like(self._fact_WJ)])
            self._lean_W = np.concatenate([self._lean_W, np.zeros_like(self._lean_W)])
        facts = token_facts(token)
        self._fact_WJ[number] = facts
        self._lean_W[number] = 0 if facts[1] in COMMON_CLASSES or facts[2] in PLAIN_SHAPES else LEAN
        self._numbers[token] = number


def feature_rows(fact_TJ: np.ndarray) -> np.ndarray:
    """Which row of the table each feature of each token picks.

    Args:
        fact_TJ: facts of tokens, uint32, with REACH gaps before the first and after each text.

    Returns:
        Row numbers, of shape (T - 2 REACH, F): those of the tokens between the first and the last gap.
    """
    return np.ascontiguousarray(_feature_rows(np.ascontiguousarray(fact_TJ.T)).T)


def _feature_rows(fact_JT: np.ndarray) -> np.ndarray:
    """`feature_rows` with tokens last: whole rows are moved, which is many times faster."""
    count = fact_JT.shape[1] - 2 * REACH
    window_VT = np.zeros((FACTS * _WIDTH + 1, count), np.uint32)
    for place in range(_WIDTH):
        window_VT[place * FACTS : (place + 1) * FACTS] = fact_JT[:, place : place + count]
    row_FT = _OWN_F[:, None] + window_VT[_COLUMN_3F[0]] * _MIX[0]
    for part in (1, 2):
        row_FT = (row_FT ^ (row_FT >> np.uint32(15))) * _MIX[part] + window_VT[_COLUMN_3F[part]]
    row_FT = (row_FT ^ (row_FT >> np.uint32(13))) * _MIX[0]
    return np.asarray(row_FT >> np.uint32(32 - BITS), np.intp)


class Tagger:
    """The trained table. May be used by several threads."""

    def __init__(self, weight_RK: np.ndarray, scale: float, move_KK: np.ndarray, start_K: np.ndarray) -> None:
        self._weight_RK = weight_RK
        self._scale = scale
        self._move_KK = move_KK
        self._start_K = start_K
        # Where "O" leads every other tag by this much at each token, no other sequence can be better.
        self._lead = 2 * float(max(move_KK.max(), start_K.max()) - min(move_KK[0, 0], start_K[0]))
        self._words = _Words()

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Names in each of the texts, in order, none overlapping."""
        words = [TOKEN.findall(text) for text in texts]
        gap = [""] * REACH
        tokens = list(gap)
        for found in words:
            tokens += found
            tokens += gap
        fact_TJ, lean_T = self._words.look_up(tokens)
        score_TK = self._scores(fact_TJ)
        score_TK[:, 0] -= lean_T[REACH : len(lean_T) - REACH]
        lead_T = score_TK[:, 0] - np.maximum.reduce(score_TK[:, 1:], axis=1)
        counts = [len(found) for found in words]
        starts = [0, *accumulate(count + REACH for count in counts)]
        unsure = [
            place
            for place, (start, count) in enumerate(zip(starts, counts, strict=False))
            if count and np.minimum.reduce(lead_T[start : start + count]) <= self._lead
        ]
        spans: list[list[Span]] = [[] for _ in texts]
        if len(unsure) <= FEW_TEXTS:
            tags = [
                self._best_of_one(score_TK[starts[place] : starts[place] + counts[place]]) for place in unsure
            ]
        else:
            tags = self._best(score_TK, np.array(starts)[unsure], np.array(counts)[unsure])
        for place, best in zip(unsure, tags, strict=True):
            if any(best):
                spans[place] = _spans(TOKEN.finditer(texts[place]), best)
        return spans

    def _scores(self, fact_TJ: np.ndarray) -> np.ndarray:
        """Of shape (T - 2 REACH, K); some tokens at a time, which stay in the processor's cache."""
        fact_JT = np.ascontiguousarray(fact_TJ.T)
        count = len(fact_TJ) - 2 * REACH
        sum_TK = np.zeros((count, len(TAGS)), np.int32)
        for start in range(0, count, TOKENS_TOGETHER):
            end = min(start + TOKENS_TOGETHER, count)
            row_FT = _feature_rows(fact_JT[:, start : end + 2 * REACH])
            self._weight_RK[row_FT].sum(axis=0, dtype=np.int32, out=sum_TK[start:end])
        return sum_TK * np.float32(self._scale)

    def _best_of_one(self, score_TK: np.ndarray) -> list[int]:
        """What `_best` finds in the one text whose scores these are: for a request, a quarter of the time."""
        steps = len(score_TK)
        through_TKK = np.empty((steps, len(TAGS), len(TAGS)), score_TK.dtype)
        best_K = score_TK[0] + self._start_K
        for step in range(1, steps):
            through_KK = np.add(best_K[:, None], self._move_KK, out=through_TKK[step])
            np.maximum.reduce(through_KK, axis=0, out=best_K)
            best_K += score_TK[step]
        before = through_TKK[1:].argmax(axis=1).tolist()
        tags = [int(best_K.argmax())]
        for row in reversed(before):
            tags.append(row[tags[-1]])
        return tags[::-1]

    def _best(self, score_TK: np.ndarray, start_N: np.ndarray, count_N: np.ndarray) -> list[list[int]]:
        """The best sequence of tags of each of N texts, by Viterbi, a step of all texts at a time.

        Args:
            score_TK: scores of all tokens.
            start_N: the first token of each text.
            count_N: how many it has, one or more.

        Returns:
            For each text the numbers of its tags.
        """
        if not len(count_N):
            return []
        order_N = np.argsort(-count_N, kind="stable")  # so texts that have a token at a step stand first
        first_N, left = start_N[order_N], np.sort(count_N)
        steps = int(left[-1])
        going = len(left) - np.searchsorted(left, np.arange(steps), side="right")
        best_NK = score_TK[first_N] + self._start_K
        before = []
        for step in range(1, steps):
            through_GKK = best_NK[: going[step], :, None] + self._move_KK
            before.append(through_GKK.argmax(axis=1))
            best_NK[: going[step]] = through_GKK.max(axis=1) + score_TK[first_N[: going[step]] + step]
        tag_NT = np.zeros((len(order_N), steps), np.intp)
        tag_N = best_NK.argmax(axis=1)
        for step in range(steps - 1, -1, -1):
            now = going[step]
            tag_NT[:now, step] = tag_N[:now]
            if step:
                tag_N[:now] = before[step - 1][np.arange(now), tag_N[:now]]
        tags: list[list[int]] = [[]] * len(order_N)
        for place, row_T in zip(order_N, tag_NT, strict=True):
            tags[place] = row_T[: count_N[place]].tolist()
        return tags


def _spans(matches: Iterable[re.Match[str]], tags: Sequence[int]) -> list[Span]:
    """Tokens of one name joined; an I that continues nothing of its kind begins a name."""
    spans: list[Span] = []
    before = "O"
    for match, number in zip(matches, tags, strict=True):
        place, kind = TAGS[number][0], TAGS[number][2:]
        if place == "I" and before == kind:
            spans[-1] = Span(spans[-1].start, match.end(), kind, SCORE)
        elif place != "O":
            spans.append(Span(match.start(), match.end(), kind, SCORE))
        before = kind or "O"
    return spans


@cache
def shipped_tagger() -> Tagger:
    """The tagger of the package, read once.

    Returns:
        The tagger.

    Raises:
        Corrupt: its file is missing or was made for other features.
    """
    from safetensors import safe_open  # here, since a text without a candidate for a name needs no weights

    if not WEIGHTS.is_file():
        raise Corrupt(f"{WEIGHTS} is missing; install the package again")
    with safe_open(WEIGHTS, "np") as file:
        facts = json.loads(file.metadata()["tagger"])
        if facts != layout():
            raise Corrupt(f"{WEIGHTS} was made for {facts}, this release wants {layout()}; install it again")
        return Tagger(
            file.get_tensor("weights"),
            float(file.get_tensor("scale")[0]),
            file.get_tensor("moves"),
            file.get_tensor("starts"),
        )


def layout() -> dict[str, object]:
    """What a table of weights must have been made for."""
    return {"tags": list(TAGS), "bits": BITS, "features": len(FEATURES), "reach": REACH, "facts": FACTS}
