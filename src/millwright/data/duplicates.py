"""Near duplicates: MinHash signatures, banded into candidates, each candidate checked exactly.

Works on texts that come in blocks; what it must remember goes to a spill, not to memory.

Shape suffixes: N texts, B bytes, W words, S shingles of all texts end to end, K hash functions, C
candidate pairs.
Source: Broder 1997, "On the resemblance and containment of documents"; banding after Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3; one-bit sketches after Li and König 2010, "b-Bit
minwise hashing".
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil, comb, log, log10

import numpy as np
import polars as pl

from millwright.data.spill import Spill
from millwright.modalities.words import UNSPACED

MISSED = 0.0005  # share of pairs just at the similarity that no band finds
SKETCH_MISSED = 1e-5  # share of such pairs that the sketch throws out
LEAST_ROWS_A_BAND, MOST_BANDS = 5, 80
TEXTS_A_BLOCK, BYTES_A_BLOCK = 1 << 14, 200_000
TEXTS_A_PART, STRETCH_BITS = 1_000_000, 17
NEIGHBOURS = 2
SHINGLES_AT_ONCE = 2_000_000
_SHINGLE_BITS = 48  # the other 16 number a text or a pair while shingles are sorted
_SPAN = np.dtype([("start", "<u8"), ("sketch", "<u8"), ("size", "<u4")])
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BASE = 0x100000001B3
_CHANCE = np.random.default_rng(20260101)
_MULTIPLIER_K = _CHANCE.integers(0, 2**31, 4096, dtype=np.uint32) * np.uint32(2) + np.uint32(1)

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def ignore(_fraction: float) -> None:
    """A callback for those who need not know how far the search is."""


def bands_of(similarity: float, texts: int) -> tuple[int, int]:
    """How many bands, of how many hash functions each, find pairs of at least `similarity`.

    A band finds a pair of similarity s with probability s ** rows. More texts need more rows a band,
    since the chance mates of a text grow with their number; the number of bands follows from MISSED.

    Args:
        similarity: the least similarity.
        texts: how many texts there are.

    Returns:
        Bands, and rows a band.
    """
    rows = max(LEAST_ROWS_A_BAND, ceil(log10(max(texts, 1))))
    while rows > 1 and _bands(similarity, rows) > MOST_BANDS:
        rows -= 1
    return _bands(similarity, rows), rows


def _bands(similarity: float, rows: int) -> int:
    found = similarity**rows
    return 1 if found == 1 else ceil(log(MISSED) / log(1 - found))


class Resemblance:
    """Finds near duplicates among texts that are added block by block and numbered from 0."""

    def __init__(self, spill: Spill, similarity: float, texts: int) -> None:
        """`texts` is how many will be added; it decides how they are divided."""
        self._spill, self._similarity = spill, similarity
        self._bands, self._rows = bands_of(similarity, texts)
        self._parts = ceil(texts / TEXTS_A_PART)
        self._bits = min(64, self._bands * self._rows)
        self._agreeing = _least_agreeing(self._bits, (1 + similarity) / 2)
        self._texts = self._shingles = 0

    def add(self, texts: Sequence[str]) -> None:
        """Take the next texts: canonical, and different from each other and from all before."""
        if not len(texts):
            return
        spans, keys = [], []
        for block in _blocks(_spaced(texts)):
            shingle_S, size_N = _shingles(block)
            end_N = np.cumsum(size_N)
            signature_KN = _signatures(shingle_S, end_N - size_N, self._bands * self._rows)
            span_N = np.empty(len(size_N), _SPAN)
            span_N["start"] = self._shingles + end_N - size_N
            span_N["size"] = size_N
            span_N["sketch"] = _sketches(signature_KN[: self._bits])
            self._shingles += int(end_N[-1])
            self._spill.append("shingles", shingle_S.tobytes())
            spans.append(span_N)
            keys.append(_band_keys(signature_KN, self._rows))
        self._spill.append("spans", np.concatenate(spans).tobytes())
        number_N = np.arange(self._texts, self._texts + len(texts), dtype=np.uint64)
        for band, key_N in enumerate(np.concatenate(keys, axis=1)):
            part_N = ((key_N & np.uint64(0xFFFFFFFF)) * np.uint64(self._parts)) >> np.uint64(32)
            entry_N = (key_N & np.uint64(0xFFFFFFFF00000000)) | number_N
            for part in range(self._parts):
                chosen_N = entry_N[part_N == part] if self._parts > 1 else entry_N
                self._spill.append(f"band-{band:02}-{part:04}", chosen_N.tobytes())
        self._texts += len(texts)

    def pairs(self, seen: Callable[[float], object] = ignore) -> Iterator[Found]:
        """Find the pairs; call it once, after the last text.

        Args:
            seen: called with the fraction done.

        Yields:
            Earlier texts, later texts and similarities, by ascending later text.
        """
        names = self._spill.names("band-")
        for done, name in enumerate(names, start=1):
            pair_C = _candidates(np.frombuffer(self._spill.take(name), np.uint64))
            stretch_C = pair_C >> np.uint64(32 + STRETCH_BITS)
            for stretch in np.unique(stretch_C):
                self._spill.append(f"pairs-{stretch:06}", pair_C[stretch_C == stretch].tobytes())
            seen(0.5 * done / len(names))
        names = self._spill.names("pairs-")
        for done, name in enumerate(names, start=1):
            yield self._checked(np.unique(np.frombuffer(self._spill.take(name), np.uint64)))
            seen(0.5 + 0.5 * done / len(names))
        seen(1.0)

    def _checked(self, pair_C: np.ndarray) -> Found:
        """Of candidates, those that are similar: for each later text the best, the earliest if equal."""
        earlier_C, later_C = pair_C & np.uint64(0xFFFFFFFF), pair_C >> np.uint64(32)
        number_N, place_C = np.unique(np.concatenate([earlier_C, later_C]), return_inverse=True)
        span_N = self._spans(number_N)
        one_C, other_C = span_N[place_C[: len(pair_C)]], span_N[place_C[len(pair_C) :]]
        differing_C = np.bitwise_count(one_C["sketch"] ^ other_C["sketch"])
        least_C = np.minimum(one_C["size"], other_C["size"]) / np.maximum(one_C["size"], other_C["size"])
        likely_C = (differing_C <= self._bits - self._agreeing) & (least_C >= self._similarity)
        earlier_C, later_C = earlier_C[likely_C], later_C[likely_C]
        found_C = self._similarities(one_C[likely_C], other_C[likely_C])
        order_C = np.lexsort((earlier_C, -found_C, later_C))
        order_C = order_C[found_C[order_C] >= self._similarity]
        is_best_C = np.append(True, later_C[order_C][1:] != later_C[order_C][:-1])[: len(order_C)]
        best_C = order_C[is_best_C]
        return earlier_C[best_C].astype(np.int64), later_C[best_C].astype(np.int64), found_C[best_C]

    def _spans(self, number_N: np.ndarray) -> np.ndarray:
        size = _SPAN.itemsize
        content = self._spill.gather("spans", (number_N * size).tolist(), [size] * len(number_N))
        return np.frombuffer(content, _SPAN)

    def _similarities(self, one_C: np.ndarray, other_C: np.ndarray) -> np.ndarray:
        found = [np.empty(0)]
        total_C = np.cumsum(one_C["size"].astype(np.int64) + other_C["size"])
        start = 0
        while start < len(one_C):
            before = total_C[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(total_C, before + SHINGLES_AT_ONCE)))
            stop = min(stop, start + (1 << 16))
            found.append(self._jaccard(one_C[start:stop], other_C[start:stop]))
            start = stop
        return np.concatenate(found)

    def _jaccard(self, one_C: np.ndarray, other_C: np.ndarray) -> np.ndarray:
        """The exact Jaccard index of each pair of shingle sets."""
        both = np.concatenate([one_C, other_C])
        _, first_N, place_C = np.unique(both["start"], return_index=True, return_inverse=True)
        span_N = both[first_N]
        size_N = span_N["size"].astype(np.int64)
        content = self._spill.gather("shingles", (span_N["start"] * 8).tolist(), (size_N * 8).tolist())
        shingle_S = np.frombuffer(content, np.uint64)
        start_N = np.cumsum(size_N) - size_N
        size_C = size_N[place_C]
        # Every pair's shingles end to end, each with the pair's number above it: what repeats is common.
        offset_S = np.repeat(start_N[place_C] - (np.cumsum(size_C) - size_C), size_C)
        pair_S = np.repeat(np.tile(np.arange(len(one_C), dtype=np.uint64), 2), size_C)
        key_S = (pair_S << np.uint64(_SHINGLE_BITS)) | shingle_S[np.arange(len(pair_S)) + offset_S]
        key_S.sort()
        twice = key_S[1:][key_S[1:] == key_S[:-1]] >> np.uint64(_SHINGLE_BITS)
        common_C = np.bincount(twice.astype(np.int64), minlength=len(one_C))
        found_C: np.ndarray = common_C / (one_C["size"].astype(np.int64) + other_C["size"] - common_C)
        return found_C


def _least_agreeing(bits: int, chance: float) -> int:
    """How many bits must agree, each with this chance, so that at most SKETCH_MISSED of pairs fall short."""
    missed = 0.0
    for agreeing in range(bits):
        missed += comb(bits, agreeing) * chance**agreeing * (1 - chance) ** (bits - agreeing)
        if missed > SKETCH_MISSED:
            return agreeing
    return bits


def _spaced(texts: Sequence[str]) -> list[str]:
    """Texts with one space between words, and between the characters of scripts without spaces."""
    column = pl.Series(texts, dtype=pl.String)
    is_foreign = column.str.len_bytes() != column.str.len_chars()
    is_unspaced = column.str.contains(f"[{UNSPACED}]") if is_foreign.any() else is_foreign
    apart = column.str.replace_all(f"([{UNSPACED}])", " $1 ").to_list() if is_unspaced.any() else texts
    is_odd = column.str.contains(r"[^\S ]|[\x1c-\x1f]") | (column == "") | is_unspaced
    places = (is_odd | (is_foreign & ~column.str.contains(" ", literal=True))).arg_true().to_list()
    spaced = list(texts)
    for place in places:
        words = apart[place].split() or ["\x7f"]
        spaced[place] = " ".join(words[0] if len(words) == 1 and not words[0].isascii() else words)
    return spaced


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    end_N = np.cumsum([len(text) for text in texts])
    start = 0
    while start < len(texts):
        before = end_N[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(end_N, before + BYTES_A_BLOCK)))
        stop = min(stop, start + TEXTS_A_BLOCK)
        yield texts[start:stop]
        start = stop


def _powers(base: int, count: int) -> np.ndarray:
    """base ** 0 .. base ** (count - 1), modulo 2 ** 64."""
    power = np.empty(count, np.uint64)
    power[0] = 1
    done = 1
    while done < count:
        step = np.uint64(pow(base, done, 1 << 64))
        power[done : 2 * done] = power[: min(done, count - done)] * step
        done *= 2
    return power


def _mix(hash_S: np.ndarray) -> np.ndarray:
    # The high bits of a product are well mixed, the low ones are not: fold them.
    hash_S = (hash_S ^ (hash_S >> np.uint64(32))) * _GOLDEN
    folded_S: np.ndarray = hash_S ^ (hash_S >> np.uint64(29))
    return folded_S


def _shingles(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct shingle hashes of each text end to end, and how many each text has."""
    byte_B = np.frombuffer("\n".join(texts).encode(), np.uint8)
    break_W = np.flatnonzero(byte_B <= 32)
    start_W, end_W = np.append(0, break_W + 1), np.append(break_W, len(byte_B))
    text_W = np.append(0, np.cumsum(byte_B[break_W] == 10))
    is_word_W = end_W > start_W
    start_W, end_W, text_W = start_W[is_word_W], end_W[is_word_W], text_W[is_word_W]
    # A word's polynomial is a difference of running sums, brought back to the power 0.
    running = np.append(np.uint64(0), np.cumsum((byte_B + np.uint64(1)) * _powers(_BASE, len(byte_B))))
    back = _powers(pow(_BASE, -1, 1 << 64), len(byte_B))
    word_W = _mix((running[end_W] - running[start_W]) * back[start_W])
    is_pair = text_W[1:] == text_W[:-1]
    pair = _mix(word_W[:-1] * _GOLDEN ^ word_W[1:])[is_pair]
    number_S = np.concatenate([text_W, text_W[1:][is_pair]]).astype(np.uint64)
    bits = np.uint64(64 - _SHINGLE_BITS)
    key_S = (number_S << np.uint64(_SHINGLE_BITS)) | (np.concatenate([word_W, pair]) >> bits)
    key_S.sort()
    key_S = key_S[np.append(True, key_S[1:] != key_S[:-1])]
    size_N = np.bincount((key_S >> np.uint64(_SHINGLE_BITS)).astype(np.int64), minlength=len(texts))
    return key_S & np.uint64((1 << _SHINGLE_BITS) - 1), size_N


def _signatures(shingle_S: np.ndarray, start_N: np.ndarray, functions: int) -> np.ndarray:
    hash_S = (shingle_S >> np.uint64(_SHINGLE_BITS - 32)).astype(np.uint32)
    signature_KN = np.empty((functions, len(start_N)), np.uint32)
    product_S = np.empty_like(hash_S)
    for row, multiplier in zip(signature_KN, _MULTIPLIER_K, strict=False):
        np.multiply(hash_S, multiplier, out=product_S)
        np.minimum.reduceat(product_S, start_N, out=row)
    return signature_KN


def _sketches(signature_KN: np.ndarray) -> np.ndarray:
    """One bit of each hash function's minimum, as one number a text."""
    sketch_N = np.zeros(signature_KN.shape[1], np.uint64)
    for bit, row in enumerate(signature_KN):
        mixed = ((row ^ (row >> np.uint32(15))) * np.uint32(0x9E3779B1)) >> np.uint32(31)
        sketch_N |= mixed.astype(np.uint64) << np.uint64(bit)
    return sketch_N


def _band_keys(signature_KN: np.ndarray, rows: int) -> np.ndarray:
    keys = np.zeros((len(signature_KN) // rows, signature_KN.shape[1]), np.uint64)
    for row in range(rows):
        keys = (keys ^ signature_KN[row::rows]) * _GOLDEN
        keys ^= keys >> np.uint64(31)
    return keys


def _candidates(entry_N: np.ndarray) -> np.ndarray:
    """Pairs of texts in one bucket: each text meets the first of its bucket and the few before it.

    So a bucket of n texts costs a few n checks, not n².
    """
    entry_N = np.sort(entry_N)
    key_N, number_N = entry_N >> np.uint64(32), entry_N & np.uint64(0xFFFFFFFF)
    place_N = np.arange(len(entry_N))
    first_N = np.maximum.accumulate(np.where(np.append(True, key_N[1:] != key_N[:-1]), place_N, 0))
    pairs = []
    for back in range(1, NEIGHBOURS + 1):
        later_N = np.flatnonzero(place_N - back >= first_N)
        pairs.append((number_N[later_N] << np.uint64(32)) | number_N[later_N - back])
    later_N = np.flatnonzero(place_N - NEIGHBOURS > first_N)
    pairs.append((number_N[later_N] << np.uint64(32)) | number_N[first_N[later_N]])
    return np.concatenate(pairs)
