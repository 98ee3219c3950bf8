"""Millwright's service over a model that does nothing, so that what is left is the service's own cost.

PROJECT, in the environment, is a folder of a project that has a champion; its model is not loaded.
"""

import os
from collections.abc import Sequence

import numpy as np

from millwright.project import open_project
from millwright.surfaces.web import create_app

LABELS = tuple(f"label_{place}" for place in range(77))


class Nothing:
    """A model that gives every text the same answer."""

    labels = LABELS

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """The first label for every text."""
        answer_NC = np.zeros((len(texts), len(LABELS)))
        answer_NC[:, 0] = 1
        return answer_NC


app = create_app(open_project(os.environ["PROJECT"]), lambda _: Nothing())
