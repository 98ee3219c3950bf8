"""Writes a CSV of invented messages to a bank, with exact and near duplicates whose number is known.

Words follow each other as in the tickets of the built-in project, with random jumps; each message has a
reference that no other has, so that messages resemble each other only where that was planned.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

TICKETS = Path(__file__).resolve().parents[1] / "src/millwright/templates/customer-desk/tickets.csv"
ROWS_A_BLOCK = 50_000
EXACT, NEAR, EMPTY = 0.05, 0.12, 0.001  # chances of a row; short ones have no near duplicate
JUMP = 0.15  # chance that the next word is any word
SIMILARITY = 0.86  # of planned near duplicates, at least; the default setting is 0.85
ROWS_A_CUSTOMER = 4


@dataclass(frozen=True)
class Planned:
    """What a file holds; `near` is how many rows are the one near duplicate of one earlier row."""

    rows: int
    exact: int
    near: int
    empty: int
    megabytes: float


@dataclass(frozen=True)
class _Chain:
    """Which words follow which: `next_P[start_W[w]:start_W[w + 1]]` follow word w."""

    words: list[str]
    any_U: np.ndarray
    next_P: np.ndarray
    start_W: np.ndarray


def write_messages(path: Path, rows: int, seed: int = 0) -> Planned:
    """Write a file of messages.

    Args:
        path: a CSV with columns message, intent, customer and channel.
        rows: how many rows.
        seed: decides everything.

    Returns:
        What was planted, counted while writing.
    """
    rng = np.random.default_rng(seed)
    exact = near = empty = written = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["message", "intent", "customer", "channel"])
        for block in _originals(rows, rng):
            kinds = rng.random(len(block))
            out = []
            for place, (row, kind) in enumerate(zip(block, kinds, strict=True)):
                out.append(row)
                if written + len(out) >= rows:
                    break
                if kind < EXACT:
                    out.append([_shouted(row[0], place), *row[1:]])
                    exact += 1
                elif kind < EXACT + NEAR and (changed := _changed(row[0], f"zz{written + place}")):
                    out.append([changed, *row[1:]])
                    near += 1
                elif kind > 1 - EMPTY:
                    out.append(["", *row[1:]])
                    empty += 1
                if written + len(out) >= rows:
                    break
            writer.writerows(out)
            written += len(out)
            if written >= rows:
                break
    return Planned(rows, exact, near, empty, path.stat().st_size / 1e6)


def planned_json(planned: Planned) -> dict[str, float]:
    """The plan as plain values."""
    return asdict(planned)


def _originals(rows: int, rng: np.random.Generator) -> Iterator[list[list[str]]]:
    with TICKETS.open(encoding="utf-8", newline="") as file:
        tickets = list(csv.DictReader(file))
    chain = _chain([ticket["message"] for ticket in tickets])
    intents = sorted({ticket["intent"] for ticket in tickets})
    channels = sorted({ticket["channel"] for ticket in tickets})
    number = 0
    while True:
        texts = _texts(chain, ROWS_A_BLOCK, rng)
        intent_N = rng.integers(len(intents), size=ROWS_A_BLOCK)
        customer_N = rng.integers(max(2, rows // ROWS_A_CUSTOMER), size=ROWS_A_BLOCK)
        channel_N = rng.integers(len(channels), size=ROWS_A_BLOCK)
        yield [
            [f"{text} ref {number + place:x}q", intents[intent], f"c{customer}", channels[channel]]
            for place, (text, intent, customer, channel) in enumerate(
                zip(texts, intent_N, customer_N, channel_N, strict=True)
            )
        ]
        number += ROWS_A_BLOCK


def _chain(messages: list[str]) -> _Chain:
    number: dict[str, int] = {}
    spoken = [[number.setdefault(w, len(number)) for w in message.split()] for message in messages]
    pair_P2 = np.array([pair for words in spoken for pair in pairwise(words)])
    pair_P2 = pair_P2[np.argsort(pair_P2[:, 0], kind="stable")]
    start_W = np.searchsorted(pair_P2[:, 0], np.arange(len(number) + 1))
    return _Chain(list(number), np.concatenate(spoken), pair_P2[:, 1], start_W)


def _texts(chain: _Chain, count: int, rng: np.random.Generator) -> list[str]:
    """Messages of a median of 14 words, log-normal as real ones are."""
    length_N = np.clip(np.round(np.exp(rng.normal(np.log(14), 0.6, count))), 3, 90).astype(int)
    word_N = chain.any_U[rng.integers(len(chain.any_U), size=count)]
    steps = [word_N]
    for _ in range(int(length_N.max()) - 1):
        followers_N = chain.start_W[word_N + 1] - chain.start_W[word_N]
        follower_N = chain.start_W[word_N] + (rng.random(count) * followers_N).astype(int)
        anywhere_N = chain.any_U[rng.integers(len(chain.any_U), size=count)]
        jumps_N = (rng.random(count) < JUMP) | (followers_N == 0)
        word_N = np.where(jumps_N, anywhere_N, chain.next_P[np.minimum(follower_N, len(chain.next_P) - 1)])
        steps.append(word_N)
    table = np.array(steps).T.tolist()
    return [" ".join([chain.words[w] for w in row[:n]]) for row, n in zip(table, length_N, strict=True)]


def _shouted(text: str, place: int) -> str:
    """The same text once case, punctuation and spacing don't count."""
    return (f"{text.upper()}!!", f"  {text} ...", f"({text.lower()})")[place % 3]


def _changed(text: str, word: str) -> str | None:
    """The text with another last word but one, or None where that would change too much."""
    words = text.split()
    changed = " ".join([*words[:-2], word, words[-1]])
    one, other = _shingles(text), _shingles(changed)
    return changed if len(one & other) >= SIMILARITY * len(one | other) else None


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.sub(r"[\W_]+", " ", text.casefold()).split()
    return {(word,) for word in words} | set(pairwise(words))
