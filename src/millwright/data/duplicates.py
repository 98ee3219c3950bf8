"""Near duplicates: MinHash signatures, banded into candidates, each candidate checked exactly.

Shape suffixes: N texts, S shingles of all texts, K hash functions.
Source: Broder 1997, "On the resemblance and containment of documents"; banding after
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

BANDS, ROWS_A_BAND = 13, 5  # a pair of similarity .85 becomes a candidate with probability .9995
_CHANCE = np.random.default_rng(20260101)
_MULTIPLIER_K = _CHANCE.integers(1, 2**63, BANDS * ROWS_A_BAND, dtype=np.uint64) * 2 + 1


def near_duplicates(texts: Sequence[str], similarity: float) -> list[tuple[int, int, float]]:
    """Find pairs of texts whose words and word pairs overlap.

    Args:
        texts: canonical texts, all different.
        similarity: the least Jaccard similarity of the sets of words and word pairs, in (0, 1].

    Returns:
        (earlier, later, similarity) for each later text that resembles an earlier one; each later
        text appears once, with the most similar text found.
    """
    if len(texts) < 2:
        return []
    shingle_S, start_N = _shingles(texts)
    signature_NK = _signatures(shingle_S, start_N)
    sets = [shingle_S[a:b] for a, b in zip(start_N, [*start_N[1:], len(shingle_S)], strict=True)]
    best: dict[int, tuple[int, int, float]] = {}
    for earlier, later in sorted(_candidates(signature_NK)):
        common = len(np.intersect1d(sets[earlier], sets[later], assume_unique=True))
        found = common / (len(sets[earlier]) + len(sets[later]) - common)
        if found >= similarity and (later not in best or found > best[later][2]):
            best[later] = (earlier, later, found)
    return [best[later] for later in sorted(best)]


def _shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct shingle hashes of each text end to end, and where each text starts."""
    word_hash: dict[str, int] = {}
    pieces, starts, total = [], [], 0
    for text in texts:
        words = text.split() or [text]
        if len(words) == 1 and not words[0].isascii():
            words = list(words[0])  # scripts without spaces: characters and their pairs
        for word in words:
            if word not in word_hash:
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                word_hash[word] = int.from_bytes(digest, "big")
        single = np.array([word_hash[word] for word in words], dtype=np.uint64)
        double = single[:-1] * np.uint64(0x9E3779B97F4A7C15) ^ single[1:]
        piece = np.unique(np.concatenate([single, double]))
        pieces.append(piece)
        starts.append(total)
        total += len(piece)
    return np.concatenate(pieces), np.array(starts)


def _signatures(shingle_S: np.ndarray, start_N: np.ndarray) -> np.ndarray:
    mixed_S = shingle_S ^ (shingle_S >> np.uint64(31))
    columns = [np.minimum.reduceat(_mix(mixed_S * multiplier), start_N) for multiplier in _MULTIPLIER_K]
    return np.stack(columns, axis=1)


def _mix(hash_S: np.ndarray) -> np.ndarray:
    # The high bits of a product are well mixed, the low ones are not: fold them.
    folded_S: np.ndarray = hash_S ^ (hash_S >> np.uint64(29))
    return folded_S


def _candidates(signature_NK: np.ndarray) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        part = np.ascontiguousarray(signature_NK[:, band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND])
        _, first_N, inverse_N = np.unique(part, axis=0, return_index=True, return_inverse=True)
        earliest_N = first_N[inverse_N.ravel()]
        # Each text meets the first of its bucket only, so a bucket of n costs n checks, not n².
        later_N = np.flatnonzero(earliest_N < np.arange(len(part)))
        pairs.update(zip(earliest_N[later_N].tolist(), later_N.tolist(), strict=True))
    return pairs
