"""Deals rows to shards by person, and says where the shards of a version stand. Needs no PyTorch.

Source of training by shards (SISA): Bourtoule et al. 2021, arXiv:1912.03817. Rows are dealt by a hash
instead of by chance, so that a row's shard is known without a table and never changes.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from millwright.data.split import unit_of
from millwright.errors import BadInput
from millwright.records import Row
from millwright.settings import TrainSection
from millwright.store.files import read_json, sha256_file

WEIGHTS = "weights.safetensors"
SHARDS_FORMAT = 3  # of classifier.json; 2 is one network


def shard_of(row: Row, train: TrainSection) -> int:
    """The shard of a row: a hash of its person, or of its group where it is nobody's.

    Args:
        row: of any split.
        train: `shards` says how many there are, `seed` salts the hash.

    Returns:
        A number from 0; all rows of a person have the same one, whatever other rows there are.
    """
    # A salt of its own: the hash that splits rows would give each shard other shares of the splits.
    return int(unit_of(row.subject or row.group, f"shard {train.seed}") * train.shards)


def deal(rows: Sequence[Row], train: TrainSection) -> list[tuple[Row, ...]]:
    """The rows of each shard, in the order of `rows`.

    Args:
        rows: that teach or choose.
        train: says how many shards there are.

    Returns:
        A tuple a shard.

    Raises:
        BadInput: the training rows of a shard have fewer than two labels.
    """
    dealt: list[list[Row]] = [[] for _ in range(train.shards)]
    for row in rows:
        dealt[shard_of(row, train)].append(row)
    for shard, some in enumerate(dealt):
        if len(labels := sorted({row.label for row in some if row.split == "train"})) < 2:
            raise BadInput(
                f"train.shards is {train.shards} and the training rows of shard {shard} have the labels "
                f"{labels}; each shard needs at least two: lower train.shards or add rows",
                field="train.shards",
            )
    return [tuple(some) for some in dealt]


def shard_settings(train: TrainSection, shard: int) -> TrainSection:
    """The settings that a shard is trained with: its seed follows from its number and the settings alone."""
    return train.model_copy(update={"seed": train.seed + shard})


def shard_file(shard: int) -> str:
    """The name of the file with a shard's weights."""
    return f"shard-{shard}.safetensors"


def shard_count(folder: Path) -> int:
    """How many shards the version in a folder has; 0 if it is one network."""
    return len(read_json(folder / "classifier.json").get("shards", ()))


def shard_hashes(folder: Path) -> dict[str, str]:
    """Hex sha256 of each shard's weights by the file's name; empty if the version is one network."""
    names = (shard_file(shard) for shard in range(shard_count(folder)))
    return {name: sha256_file(folder / name) for name in names}


def weights_sha256(folder: Path) -> str:
    """Hex sha256 of a version's weights.

    Args:
        folder: the version's.

    Returns:
        That of weights.safetensors; of a version of shards what `sha256sum shard-*.safetensors | sha256sum`
        prints, with the shards in the order of their numbers.
    """
    hashes = shard_hashes(folder)
    if not hashes:
        return sha256_file(folder / WEIGHTS)
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def member_key(rows: Sequence[Row], about: Sequence[object], train: TrainSection) -> str:
    """Hex sha256 of everything that a shard's training depends on; equal keys mean equal weights.

    Args:
        rows: the shard's, in canonical order.
        about: what the network starts from: digests, lengths, the method.
        train: the shard's own settings.

    Returns:
        64 hex digits.
    """
    settings = train.model_dump(exclude={"cache_bytes", "shards", "method"})
    said = [[row.id, row.text, row.label, row.split] for row in rows]
    return hashlib.sha256(json.dumps([list(about), settings, said], sort_keys=True).encode()).hexdigest()
