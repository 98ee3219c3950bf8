"""Tensors of texts on disk: memory-mapped, erasable by row, bounded in size.

A cache is a folder with one folder a maker (a backbone with depth and precision) that holds shards: files
of safetensors with the rows' keys, lengths, checksums and values. Opening reads keys alone; a row's values
are read when it is asked for, and checked then: what is damaged is made again. A key is a hash of the text,
so the cache knows no text.
"""

import hashlib
import logging
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from millwright.store.files import write_bytes

SHARD_BYTES = 32_000_000
STALE_S = 3_600  # a shard is written in seconds, so what is as old was left by a process that was killed
logger = logging.getLogger(__name__)

Made = Iterator[tuple[int, Tensor]]


@dataclass(frozen=True)
class Shard:
    """One file of a cache; `offsets` say where in `values` [sum of lengths, width] each key's rows begin."""

    path: Path
    keys: tuple[str, ...]
    offsets: tuple[int, ...]
    checks: tuple[int, ...]
    values: Tensor


def text_key(text: str) -> str:
    """The key of a text in a cache: 32 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fetch(
    folder: Path, keys: Sequence[str], make: Callable[[list[int]], Made], most_bytes: int
) -> tuple[list[Tensor], int]:
    """The tensor of each key, made and stored where it is missing.

    What is made is stored shard by shard, so a run that is killed goes on where it stood.

    Args:
        folder: of one maker, inside the cache.
        keys: one key a text.
        make: given the places of the missing, yields place and tensor [t, width] in any order.
        most_bytes: the most that the whole cache may hold; what was used longest ago goes first.

    Returns:
        The tensors in the order of `keys`, and how many had to be made.
    """
    found = _read(folder, set(keys))
    missing = {key: place for place, key in enumerate(keys) if key not in found}
    if missing:
        found.update(_make(folder, keys, list(missing.values()), make, most_bytes))
    return [found[key] for key in keys], len(missing)


def forget(cache: Path, keys: Iterable[str]) -> dict[str, int]:
    """Erase keys from every shard of a cache: no byte made of them stays in any of its files.

    Args:
        cache: the cache's folder.
        keys: from `text_key`.

    Returns:
        How many rows were erased, by key; a key that had none is not there.

    Raises:
        CannotStore: a shard that holds one of them cannot be rewritten; those before it are done.
    """
    unwanted, erased = set(keys), Counter[str]()
    for leftover in cache.glob("*/.*.part"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    for path in sorted(cache.glob("*/*.safetensors")):
        shard = _open(path)
        if shard is None:
            continue
        kept = [place for place, key in enumerate(shard.keys) if key not in unwanted]
        if len(kept) == len(shard.keys):
            continue
        if kept:
            ends = [*shard.offsets[1:], len(shard.values)]
            values = [shard.values[shard.offsets[place] : ends[place]] for place in kept]
            _write(path.parent, [shard.keys[place] for place in kept], values)
        path.unlink()
        erased.update(key for key in shard.keys if key in unwanted)
    return dict(erased)


def cache_bytes(cache: Path) -> int:
    """How many bytes a cache takes, with what is being written."""
    return sum(_size(path) for path in cache.glob("*/*"))


def _read(folder: Path, wanted: set[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shard = _open(path)
        if shard is None:
            continue
        ends, used, damaged = [*shard.offsets[1:], len(shard.values)], False, 0
        for place, key in enumerate(shard.keys):
            if key not in wanted or key in found:
                continue
            value = shard.values[shard.offsets[place] : ends[place]]
            if _checksum(key, value) == shard.checks[place]:
                found[key], used = value, True
            else:
                damaged += 1
        if damaged:
            logger.warning("dropping damaged cache shard %s: %s rows differ from their sums", path, damaged)
            path.unlink(missing_ok=True)
        elif used:
            with suppress(OSError):  # another process has just evicted it, or owns it
                os.utime(path)
    return found


def _make(
    folder: Path, keys: Sequence[str], places: list[int], make: Callable[[list[int]], Made], most_bytes: int
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    waiting: dict[str, Tensor] = {}
    size = 0
    for place, tensor in make(places):
        found[keys[place]] = waiting[keys[place]] = tensor
        size += tensor.nbytes
        if size >= SHARD_BYTES:
            _store(folder, waiting, most_bytes)
            waiting, size = {}, 0
    if waiting:
        _store(folder, waiting, most_bytes)
    return found


def _store(folder: Path, made: Mapping[str, Tensor], most_bytes: int) -> None:
    _write(folder, list(made), list(made.values()))
    _evict(folder.parent, most_bytes)


def _open(path: Path) -> Shard | None:
    try:
        with safe_open(path, "pt") as file:
            keys, lengths, checks, values = map(file.get_tensor, ("keys", "lengths", "checks", "values"))
    except FileNotFoundError:
        return None  # another process has just evicted it
    except (SafetensorError, OSError) as error:
        logger.warning("dropping damaged cache shard %s: %s", path, error)
        path.unlink(missing_ok=True)
        return None
    names = keys.numpy().tobytes().hex()
    ends = lengths.cumsum(0).tolist()
    return Shard(
        path,
        tuple(names[at : at + 32] for at in range(0, len(names), 32)),
        (0, *ends[:-1]),
        tuple(checks.tolist()),
        values,
    )


def _write(folder: Path, keys: list[str], tensors: list[Tensor]) -> None:
    content = save(
        {
            "keys": torch.tensor([list(bytes.fromhex(key)) for key in keys], dtype=torch.uint8),
            "lengths": torch.tensor([len(tensor) for tensor in tensors]),
            "checks": torch.tensor(
                [_checksum(key, tensor) for key, tensor in zip(keys, tensors, strict=True)]
            ),
            "values": torch.cat(tensors),
        }
    )
    write_bytes(folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors", content)


def _checksum(key: str, value: Tensor) -> int:
    return zlib.crc32(value.contiguous().view(torch.uint8).numpy().data, zlib.crc32(key.encode()))


def _evict(cache: Path, most_bytes: int) -> None:
    """Drop what killed processes left of their shards, then those used longest ago until the rest fits."""
    for leftover in cache.glob("*/.*.part"):
        if _used_at(leftover) < (time.time() - STALE_S) * 1e9:
            leftover.unlink(missing_ok=True)
    total = cache_bytes(cache)
    for path in sorted(cache.glob("*/*.safetensors"), key=_used_at):
        if total <= most_bytes:
            break
        total -= _size(path)
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # another process has just evicted it
        return path.stat().st_size
    return 0


def _used_at(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0
