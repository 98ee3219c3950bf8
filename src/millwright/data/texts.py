"""Whole columns of texts at once: `clean`, `canonical` and row hashes give what they give one by one.

Plain ASCII, which most rows are, goes through vectorised passes; the other rows go through the functions
of `modalities.text` and `data.split` themselves.

Shape suffixes: N texts, B bytes of all texts end to end.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from millwright.modalities.text import TOKEN, canonical, clean

_SPACE, _END = 32, 0
_FOLDED = bytes(
    ord(chr(byte).lower()) if chr(byte).isalnum() else _END if byte == _END else _SPACE for byte in range(128)
) + bytes(range(128, 256))
# Signs that stand in English texts too and that `canonical` turns into a space whatever is around them.
_SIGNS = list("‘’“”„«»–—…€£¥§¿¡•×→\u00a0")


def clean_all(texts: pl.Series) -> pl.Series:
    """`clean` of every text of a column without nulls."""
    is_plain = _is_ascii(texts) & ~texts.str.contains(r"[\x00-\x08\x0b-\x1f\x7f]")
    return _replaced(texts.str.strip_chars(" \t\n"), texts, ~is_plain, clean)


def bare_all(texts: pl.Series) -> pl.Series:
    """`bare` of every text of a column without nulls."""
    return texts.str.replace_all(TOKEN, "<$1>")


def canonical_all(texts: pl.Series) -> pl.Series:
    """`canonical` of every text of a column without nulls."""
    texts = bare_all(texts)
    foreign = (~_is_ascii(texts)).arg_true()
    signless = texts
    if len(foreign):
        spaced = texts.gather(foreign).str.replace_many(_SIGNS, [" "] * len(_SIGNS))
        signless = texts.clone().scatter(foreign, spaced)  # scatter changes its own series
    is_plain = _is_ascii(signless) & ~signless.str.contains("\0", literal=True)
    folded = _folded(pl.select(pl.when(is_plain).then(signless).otherwise(pl.lit(""))).to_series().to_list())
    # A text of signs alone stays itself, which only the reference function knows.
    return _replaced(folded, texts, folded == "", canonical)


def _is_ascii(texts: pl.Series) -> pl.Series:
    return texts.str.len_bytes() == texts.str.len_chars()


def _replaced(done: pl.Series, texts: pl.Series, others: pl.Series, one: Callable[[str], str]) -> pl.Series:
    """`done`, with `one` of the text in the places where `others` is true."""
    places = others.arg_true()
    if not len(places):
        return done
    return done.clone().scatter(
        places, pl.Series([one(text) for text in texts.gather(places)], dtype=pl.String)
    )


def _folded(texts: list[str]) -> pl.Series:
    """ASCII texts without null bytes in lower case, with one space for each run of other characters."""
    if not texts:
        return pl.Series([], dtype=pl.String)
    byte_B = np.frombuffer("\0".join(texts).encode().translate(_FOLDED), np.uint8)
    is_gap_B = byte_B <= _SPACE
    is_kept_B = byte_B != _SPACE
    # Of a run of spaces the first stays, unless it leads a text; spaces that end a text go next.
    is_kept_B[1:] |= ~is_gap_B[:-1]
    byte_B = byte_B[is_kept_B]
    is_last_B = np.append(byte_B[1:] == _END, True) & (byte_B == _SPACE)
    return pl.Series(byte_B[~is_last_B].tobytes().decode().split("\0"), dtype=pl.String)


def digests(texts: Sequence[str], *, before: str, size: int) -> np.ndarray:
    """BLAKE2b of `before` and each text, as big-endian words: uint64 of shape (N, size / 8)."""
    blake2b, start = hashlib.blake2b, before.encode()
    digest = b"".join([blake2b(start + text.encode(), digest_size=size).digest() for text in texts])
    return np.frombuffer(digest, dtype=">u8").astype(np.uint64).reshape(len(texts), size // 8)
