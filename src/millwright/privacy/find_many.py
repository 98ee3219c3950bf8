"""Finds personal data in very many texts on all processors.

The workers are processes of joblib's, which need no guard in a user's script, stay for the next call and end
when nothing is left to do.
"""

from collections.abc import Sequence

from millwright.privacy.detect import Detector, detector
from millwright.privacy.entities import Span

LEAST_CHARACTERS = 2_000_000  # of fewer, workers would take longer to start than they save
PART_CHARACTERS = 200_000


def find_many(finder: Detector, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    """What `find_all` finds, sooner where texts are many.

    Args:
        finder: a detector; one whose names are found by a model works by itself, since that has threads.
        texts: any texts.

    Returns:
        Spans of each text.
    """
    if isinstance(finder.names, str) or sum(map(len, texts)) < LEAST_CHARACTERS:
        return finder.find_all(texts)
    from joblib import Parallel, cpu_count, delayed  # here, since few texts need none

    if cpu_count() == 1:
        return finder.find_all(texts)
    found = Parallel(n_jobs=cpu_count())(
        delayed(_find)(finder.entities, finder.names, part) for part in _parts(texts)
    )
    return [spans for part in found for spans in part]


def _find(entities: frozenset[str], names: bool, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    return detector(entities, names=names).find_all(texts)


def _parts(texts: Sequence[str]) -> list[Sequence[str]]:
    """Stretches of texts of PART_CHARACTERS or a little more."""
    parts, begin, size = [], 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= PART_CHARACTERS:
            parts.append(texts[begin : place + 1])
            begin, size = place + 1, 0
    return [*parts, texts[begin:]]
