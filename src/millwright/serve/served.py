"""A version in service: its own head over a body that other versions may share.

Shape suffixes: N texts, D features, C labels.
"""

from dataclasses import dataclass

import numpy as np

from millwright.serve.engine import Body
from millwright.train.averaging import Heads


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
        logit_NC = (feature_ND @ self.weight_CD.T + self.bias_C).astype(np.float64) / self.temperature
        raised_NC: np.ndarray = np.exp(logit_NC - logit_NC.max(axis=1, keepdims=True))
        probability_NC: np.ndarray = raised_NC / raised_NC.sum(axis=1, keepdims=True)
        return probability_NC


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
