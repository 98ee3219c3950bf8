"""Which split a row belongs to: a pure function of its group's name and one seed.

So a row stays where it is when others are added, a group never stands in two splits, and the server
knows without looking anything up who is held out: see `held_out`.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from millwright.data.texts import digests

CANDIDATE_SEEDS = 64
ROWS_LOOKED_AT = 20_000


def unit_of(group: str, seed: int | str) -> float:
    """Map a group's name to [0, 1), uniformly over names and independently over seeds."""
    digest = hashlib.blake2b(f"{seed}\0{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def units_of(groups: Sequence[str], seed: int) -> np.ndarray:
    """For each group's name the number of which `unit_of` is the share of 2 ** 64."""
    return digests(groups, before=f"{seed}\0", size=8)[:, 0]


def splits_of(unit_N: np.ndarray, validation_share: float, test_share: float) -> np.ndarray:
    """What `split_of` says of each unit that `units_of` gives, as places in SPLITS."""
    share_N = unit_N / 2.0**64
    is_held_N = share_N < test_share + validation_share
    found: np.ndarray = np.where(share_N < test_share, 2, np.where(is_held_N, 1, 0)).astype(np.uint8)
    return found


def split_of(group: str, seed: int, validation_share: float, test_share: float) -> str:
    """The split of a group.

    Args:
        group: its name: a person, a conversation, or the row's own canonical text.
        seed: `data.split_seed`.
        validation_share: share of groups for validation.
        test_share: share of groups for the test.

    Returns:
        "test" for the lowest hashes, "validation" for the next, "train" for the rest.
    """
    unit = unit_of(group, seed)
    if unit < test_share:
        return "test"
    return "validation" if unit < test_share + validation_share else "train"


def most_even_seed(
    groups: Sequence[str], labels: Sequence[str], validation_share: float, test_share: float
) -> int:
    """Among the first seeds, the one whose splits are stratified best.

    A hash gives every label the same share of each split only on average; choosing the seed once,
    when a project is made, on its first rows, brings the shares closer and keeps every later
    assignment a pure hash.

    Args:
        groups: each row's group.
        labels: each row's label.
        validation_share: share of groups for validation.
        test_share: share of groups for the test.

    Returns:
        The seed with the fewest labels absent from training, then with the smallest chi-squared
        distance between the labels' rows per split and their expectation.
    """
    groups, labels = groups[:ROWS_LOOKED_AT], labels[:ROWS_LOOKED_AT]
    shares = np.array([1 - validation_share - test_share, validation_share, max(test_share, 1e-9)])
    names, label_N = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    unique_groups, group_N = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    expected_CS = np.bincount(label_N, minlength=len(names))[:, None] * shares

    def unevenness(seed: int) -> tuple[int, float]:
        """How many labels training lacks under a seed, and how far shares are from even."""
        unit_G = np.array([unit_of(group, seed) for group in unique_groups])
        split_G = np.where(unit_G < test_share, 2, np.where(unit_G < test_share + validation_share, 1, 0))
        split_N = split_G[group_N]
        count_CS = np.zeros_like(expected_CS)
        np.add.at(count_CS, (label_N, split_N), 1)
        distance = ((count_CS - expected_CS) ** 2 / np.maximum(expected_CS, 1e-6)).sum()
        return int((count_CS[:, 0] == 0).sum()), float(distance)

    return min(range(CANDIDATE_SEEDS), key=unevenness)


def held_out(group: str, seed: int, validation_share: float, test_share: float) -> bool:
    """True if the group does not train. These are the users whom the server asks for the right label.

    Users correct mistakes more often than they confirm right answers. Were those corrections held
    out, the model in service would look bad on them by construction. Asking always the same hashed
    share of users, whatever the model said, keeps the held-out rows a fair sample of the traffic.
    """
    return split_of(group, seed, validation_share, test_share) != "train"
