"""A version in service: its own head over a body that other versions may share.

Shape suffixes: N texts, D features, C labels.
"""

from dataclasses import dataclass

import numpy as np

from millwright.serve.engine import Body
from millwright.train.averaging import Heads, head_probabilities


@dataclass(frozen=True, eq=False)
class Served:
    """Labels, head and temperature of a version, and what makes its features."""

    labels: tuple[str, ...]
    body: Body
    weight_CD: np.ndarray
    bias_C: np.ndarray
    temperature: float
    runtime: str

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N, C] in float64; each row sums to one."""
        return head_probabilities(feature_ND, self.weight_CD, self.bias_C, self.temperature)


@dataclass(frozen=True, eq=False)
class ServedShards:
    """A version of shards: one body makes the features of all of them, `heads` answer together."""

    labels: tuple[str, ...]
    body: Body
    heads: Heads
    runtime: str

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [N, C] in float64; each row sums to one."""
        return self.heads.probabilities(feature_ND)
