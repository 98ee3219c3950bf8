"""Millwright's service over a model that does nothing, so that what is left is the service's own cost.

PROJECT, in the environment, is a folder of a project that has a champion; its model is not loaded. MASK is
"no" where personal data is not to be looked for.
"""

import os
import sys
from collections.abc import Sequence

import numpy as np

from millwright.project import Project, open_project
from millwright.settings import change_settings
from millwright.surfaces.web import SWITCH_S, create_app


class Body:
    """Features of no width."""

    streams = 1

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Nothing for every text."""
        return np.empty((len(texts), 0), np.float32)


class Nothing:
    """A version that gives every text the same answer."""

    labels = tuple(f"label_{place}" for place in range(77))
    body = Body()
    runtime = "none"

    def probabilities(self, feature_ND: np.ndarray) -> np.ndarray:
        """The first label for every text."""
        answer_NC = np.zeros((len(feature_ND), len(self.labels)))
        answer_NC[:, 0] = 1
        return answer_NC


NOTHING = Nothing()
sys.setswitchinterval(SWITCH_S)  # as `serve` does
opened = open_project(os.environ["PROJECT"])
settings = change_settings(opened.settings, "privacy", mask=os.environ.get("MASK") != "no")
app = create_app(Project(opened.folder, settings), lambda _: NOTHING)
