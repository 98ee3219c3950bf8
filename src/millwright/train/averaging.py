"""How shards answer together: each label's probability is averaged over the shards that know the label.

Needs no PyTorch, since a server averages too. Shape suffixes: N rows, C labels of all shards, K labels of
one shard, D features of one shard, F features of all shards side by side, S shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class ShardHead:
    """A shard's own head: `place_K` says where its labels stand among those of all shards."""

    place_K: np.ndarray
    weight_KD: np.ndarray
    bias_K: np.ndarray
    temperature: float

    @classmethod
    def of(
        cls,
        own: Sequence[str],
        labels: Sequence[str],
        head: tuple[np.ndarray, np.ndarray],
        temperature: float,
    ) -> "ShardHead":
        """The head, weights [K, D] and bias [K], of a shard that knows its `own` of all `labels`."""
        place_K = np.array([labels.index(label) for label in own], dtype=np.int64)
        return cls(place_K, *head, temperature)

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N, K] of the shard's features, in float64."""
        return head_probabilities(feature_ND, self.weight_KD, self.bias_K, self.temperature)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of all shards, and the temperature of their average."""

    heads: tuple[ShardHead, ...]
    labels: int
    temperature: float

    def probabilities(self, feature_NF: np.ndarray) -> np.ndarray:
        """Probabilities [N, C] of the shards' features, side by side; each row sums to one."""
        return at_temperature(average(self.each(feature_NF), self.heads, self.labels), self.temperature)

    def each(self, feature_NF: np.ndarray) -> list[np.ndarray]:
        """What each shard says by itself: [N, K] a shard."""
        width = feature_NF.shape[1] // len(self.heads)
        return [
            head.probabilities(feature_NF[:, shard * width : (shard + 1) * width])
            for shard, head in enumerate(self.heads)
        ]


def average(
    said: Sequence[np.ndarray],
    heads: Sequence[ShardHead],
    labels: int,
    but_N: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities [N, C]: of each label the mean over the shards that know it, scaled to sum to one.

    A shard whose rows lack a label says nothing of it, so it must not vote against it.

    Args:
        said: probabilities [N, K] of each shard.
        heads: of the same shards.
        labels: how many labels there are, C.
        but_N: of each row the shard that is not asked, if any is.

    Returns:
        The average; a label that no shard knows which is asked has 0.
    """
    rows = len(said[0])
    total_NC, voters_NC = np.zeros((rows, labels)), np.zeros((rows, labels))
    for shard, (probability_NK, head) in enumerate(zip(said, heads, strict=True)):
        asked_N1 = np.ones((rows, 1)) if but_N is None else (but_N != shard)[:, None].astype(np.float64)
        total_NC[:, head.place_K] += asked_N1 * probability_NK
        voters_NC[:, head.place_K] += asked_N1
    mean_NC = total_NC / np.maximum(voters_NC, 1)
    scaled_NC: np.ndarray = mean_NC / mean_NC.sum(axis=1, keepdims=True)
    return scaled_NC


def at_temperature(probability_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, C] whose logarithms are divided by `temperature` and scaled to sum to one."""
    return _softmax(np.log(np.maximum(probability_NC, LEAST)) / temperature)


def head_probabilities(
    feature_ND: np.ndarray, weight_CD: np.ndarray, bias_C: np.ndarray, temperature: float
) -> np.ndarray:
    """Calibrated probabilities [N, C] of a linear head, in float64; each row sums to one."""
    return _softmax((feature_ND @ weight_CD.T + bias_C).astype(np.float64) / temperature)


def _softmax(logit_NC: np.ndarray) -> np.ndarray:
    raised_NC: np.ndarray = np.exp(logit_NC - logit_NC.max(axis=1, keepdims=True))
    scaled_NC: np.ndarray = raised_NC / raised_NC.sum(axis=1, keepdims=True)
    return scaled_NC
