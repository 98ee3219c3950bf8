"""What a version says of rows of a dataset. Where its body is the backbone's, features come from the cache.

Only for rows of datasets: an erasure forgets what is cached of those, and could not know of others.

Shape suffixes: N rows, C labels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from millwright.records import Row
from millwright.settings import FROZEN
from millwright.train.classifier import Classifier
from millwright.train.ensemble import Trained
from millwright.train.states import cached_features


def answers(classifier: Trained, rows: Sequence[Row], kept: Path, most_bytes: int) -> np.ndarray:
    """Calibrated probabilities [N, C] of the labels for rows of a dataset.

    Args:
        classifier: answers in its own precision.
        rows: of a dataset of the project; at least one.
        kept: the project's `.millwright` folder, for the cache.
        most_bytes: the most that the cache may hold.

    Returns:
        Probabilities in float64; each row sums to one.
    """
    texts = [row.text for row in rows]
    if not isinstance(classifier, Classifier) or classifier.method not in FROZEN:
        return classifier.probabilities(texts)
    feature_ND, _ = cached_features(
        classifier.backbone, texts, classifier.precision, kept / "cache", lambda _: None, most_bytes
    )
    return classifier.of_features(feature_ND.numpy())
