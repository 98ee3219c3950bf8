"""BentoML with adaptive batching; BATCH, WAIT_MS and WORKERS come from the environment."""

import os
import sys
from pathlib import Path

import bentoml

sys.path.insert(0, str(Path(__file__).parents[1]))
BATCH = int(os.environ["BATCH"])


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60, "concurrency": BATCH})
class Texts:
    """One classifier a worker process."""

    def __init__(self) -> None:
        from model import Classifier

        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=int(os.environ["WAIT_MS"]))
    def predict(self, texts: list[str]) -> list[dict]:
        """Answer a batch, which the dispatcher made of the requests that waited."""
        return self.classifier.predict(texts)
