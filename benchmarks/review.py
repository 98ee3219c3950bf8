"""What the review queue and the check for drift find, on Banking77 with the built-in backbone, frozen.

    python benchmarks/review.py [--seeds 3] [--histories 60]

Labels that are wrong are planted, so that it is known which; drift is planted too. Needs the datasets
beside the checkout.

Shape suffixes: N rows, M test rows, D features, C labels.
"""

import argparse
import csv
from collections.abc import Callable, Iterator

import numpy as np
from record import BENCH, DATA, Row, print_table, write_record

from millwright.drift.check import ALPHA
from millwright.drift.two_samples import classifier_test, confidence_test, label_test, mmd_test
from millwright.review.label_errors import out_of_fold, suspects
from millwright.review.selection import RANDOM_SHARE, ROWS_A_CLASS, by_margin, k_center
from millwright.settings import MINILM
from millwright.train.backbones import load_backbone
from millwright.train.calibrate import softmax
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.states import backbone_precision, cached_features

NAME = "review"
COLUMNS = ("part", "what", "setting", "precision", "recall", "accuracy", "low", "high", "share", "allowed")
START, ROUND, BUDGETS = 77, 77, (385, 847)
WINDOW, CHECKS = 200, 10

Head = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="draws of noise and of first rows")
    parser.add_argument("--histories", type=int, default=60, help="histories of checks without drift")
    given = parser.parse_args()
    train, test = _read("train.csv"), _read("test.csv")
    names = sorted({label for _, label in train})
    feature_ND = _features([text for text, _ in train])
    feature_MD = _features([text for text, _ in test])
    truth_N, truth_M = (np.array([names.index(label) for _, label in rows]) for rows in (train, test))
    rows: list[Row] = []
    for made in (
        wrong_labels(feature_ND, truth_N, given.seeds),
        choices(feature_ND, truth_N, feature_MD, truth_M, given.seeds),
        drift(feature_ND, truth_N, feature_MD, truth_M, given.histories),
    ):
        part = list(made)
        print_table(part, COLUMNS)
        rows += part
    write_record(NAME, rows)


def wrong_labels(feature_ND: np.ndarray, truth_N: np.ndarray, seeds: int) -> Iterator[Row]:
    """Of labels that were changed at random, how many are suspected, and how many suspects were changed."""
    labels = int(truth_N.max()) + 1
    for noise in (0.05, 0.1):
        found = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            changed = rng.permutation(len(truth_N))[: int(noise * len(truth_N))]
            given_N = truth_N.copy()
            given_N[changed] = (given_N[changed] + rng.integers(1, labels, len(changed))) % labels
            probability_NC = out_of_fold(
                feature_ND, given_N, lambda feature, label: _head(feature, label, labels), seed
            )
            place_N, _ = suspects(probability_NC, given_N)
            argmax_N = np.flatnonzero(probability_NC.argmax(axis=1) != given_N)
            found.append([_hits(place_N, changed), _hits(argmax_N, changed), _hits(place_N[:100], changed)])
        mean = np.mean(found, axis=0)
        kinds = ("confident learning", "any disagreement with the label", "the first 100 of the queue")
        for what, (precision, recall) in zip(kinds, mean, strict=True):
            yield {
                "part": "wrong labels", "what": what, "setting": f"{noise:.0%} changed, {len(truth_N)} rows",
                "precision": float(precision), "recall": float(recall), "draws": seeds,
            }  # fmt: skip


def choices(
    feature_ND: np.ndarray, truth_N: np.ndarray, feature_MD: np.ndarray, truth_M: np.ndarray, seeds: int
) -> Iterator[Row]:
    """Accuracy on the test rows after so many labels, by how rows were chosen."""
    labels = int(truth_N.max()) + 1

    def chance(rng: np.random.Generator, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
        return rng.permutation(rest)[:ROUND]

    def margin(rng: np.random.Generator, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
        head = _head(feature_ND[known], truth_N[known], labels)
        return rest[by_margin(head(feature_ND[rest]), ROUND)]

    def cover(rng: np.random.Generator, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
        return rest[k_center(feature_ND[rest], feature_ND[known], ROUND)]

    def ours(rng: np.random.Generator, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
        drawn = rng.permutation(rest)[: round(RANDOM_SHARE * ROUND)]
        rest = np.setdiff1d(rest, drawn)
        chosen = (cover if len(known) < ROWS_A_CLASS * labels else margin)(rng, rest, known)
        return np.concatenate([chosen[: ROUND - len(drawn)], drawn])

    def until_five(rng: np.random.Generator, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
        return (cover if len(known) < 5 * labels else margin)(rng, rest, known)

    rules = {"by chance": chance, "margin": margin, "k-center": cover, "the queue's rule": ours}
    rules["k-center until five a label, then margin"] = until_five
    for name, choose in rules.items():
        found: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            known = rng.permutation(len(truth_N))[:START]
            while len(known) < max(BUDGETS):
                rest = np.setdiff1d(np.arange(len(truth_N)), known)
                known = np.concatenate([known, choose(rng, rest, known)])
                if len(known) in found:
                    head = _head(feature_ND[known], truth_N[known], labels)
                    found[len(known)].append(float((head(feature_MD).argmax(axis=1) == truth_M).mean()))
        for budget, accuracies in found.items():
            yield {
                "part": "what to label", "what": name, "setting": f"{budget} labels", "draws": seeds,
                "accuracy": float(np.mean(accuracies)), "low": min(accuracies), "high": max(accuracies),
            }  # fmt: skip


def drift(
    feature_ND: np.ndarray, truth_N: np.ndarray, feature_MD: np.ndarray, truth_M: np.ndarray, histories: int
) -> Iterator[Row]:
    """How many histories of checks ever alarm without drift, and how many first checks see a planted one."""
    labels = int(truth_N.max()) + 1
    head, rng = _head(feature_ND, truth_N, labels), np.random.default_rng(21)
    pool = np.arange(len(truth_M))
    alarmed = 0
    for _ in range(histories):
        reference = rng.choice(pool, WINDOW)
        alarmed += any(
            _drifts(head, feature_MD[reference], feature_MD[rng.choice(pool, WINDOW)], number)
            for number in range(1, CHECKS + 1)
        )
    allowed = ALPHA + 2 * (ALPHA * (1 - ALPHA) / histories) ** 0.5
    yield {
        "part": "drift", "what": "false alarms", "setting": f"{CHECKS} checks of {WINDOW} users a history",
        "share": alarmed / histories, "allowed": allowed, "draws": histories,
    }  # fmt: skip
    topic = np.flatnonzero(truth_M == 0)
    for mixed in (0.05, 0.1, 0.2):
        seen = 0
        for _ in range(histories):
            window = rng.choice(pool, WINDOW)
            moved = rng.random(WINDOW) < mixed
            window[moved] = rng.choice(topic, int(moved.sum()))
            seen += _drifts(head, feature_MD[rng.choice(pool, WINDOW)], feature_MD[window], 1)
        yield {
            "part": "drift", "what": "found at the first check", "draws": histories,
            "setting": f"{mixed:.0%} more of one intent", "share": seen / histories,
        }  # fmt: skip


def _drifts(head: Head, before_ND: np.ndarray, after_MD: np.ndarray, number: int) -> bool:
    first_NC, second_MC = head(before_ND), head(after_MD)
    labels = first_NC.shape[1]
    p_values = [
        classifier_test(before_ND, after_MD)[1],
        mmd_test(before_ND, after_MD)[1],
        confidence_test(first_NC, second_MC)[1],
        label_test(first_NC.argmax(axis=1), second_MC.argmax(axis=1), labels)[1],
    ]
    return min(p_values) <= ALPHA / (number * (number + 1)) / len(p_values)


def _head(feature_ND: np.ndarray, truth_N: np.ndarray, labels: int) -> Head:
    weight_CD, bias_C = fit_head(feature_ND, truth_N, labels, DEFAULT_STRENGTH)
    return lambda feature_MD: softmax(feature_MD @ weight_CD.T + bias_C, 1.0)


def _hits(found: np.ndarray, changed: np.ndarray) -> tuple[float, float]:
    right = len(np.intersect1d(found, changed))
    return right / max(1, len(found)), right / len(changed)


def _features(texts: list[str]) -> np.ndarray:
    backbone = load_backbone(MINILM, 128)
    precision = backbone_precision(backbone)
    found, _ = cached_features(backbone, texts, precision, BENCH / "cache", lambda done: None)
    return found.numpy()


def _read(name: str) -> list[tuple[str, str]]:
    with (DATA / "banking77" / name).open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
