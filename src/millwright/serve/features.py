"""Features of any number of texts by a version, outside of an engine.

Shape suffixes: N texts, D features.
"""

from collections.abc import Callable, Sequence

import numpy as np

from millwright.serve.engine import Answering

BATCH = 256


def features_of(
    model: Answering, texts: Sequence[str], seen: Callable[[float], object] = lambda _: None
) -> np.ndarray:
    """What a version's body makes of texts, BATCH at a time.

    Args:
        model: whose body.
        texts: N of them.
        seen: called with the fraction done before each batch.

    Returns:
        Features [N, D] in the order of the texts; [0, 1] where there are none.
    """
    parts = []
    for start in range(0, len(texts), BATCH):
        seen(start / len(texts))
        parts.append(model.body.features(texts[start : start + BATCH]))
    return np.concatenate(parts) if parts else np.empty((0, 1), dtype=np.float32)
