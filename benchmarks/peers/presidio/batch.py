"""Times Presidio's default analyzer in batches, on one thread. Run by ../../detection.py: batch.py TEXTS.

TEXTS is a JSON list. Prints how many of them a second it looks through, by its batch engine.
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

from detect import THRESHOLD, default_engine
from presidio_analyzer import BatchAnalyzerEngine

BATCH = 256
WARM_UP = 50


def main() -> None:
    """Warm up, time, print."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    texts = json.loads(Path(sys.argv[1]).read_text())
    engine = BatchAnalyzerEngine(default_engine())

    def look(some: list[str]) -> None:
        for _ in engine.analyze_iterator(some, "en", batch_size=BATCH, score_threshold=THRESHOLD):
            pass

    look(texts[:WARM_UP])
    start = time.perf_counter()
    look(texts)
    print(json.dumps(len(texts) / (time.perf_counter() - start)))


if __name__ == "__main__":
    main()
