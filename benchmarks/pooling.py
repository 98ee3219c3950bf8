"""What pooling two states instead of one gives a frozen head. `python benchmarks/pooling.py` prints a table.

Cross-validation on training rows of five datasets, which are read from ../shared/data beside the checkout;
no test row is read. A head of each fold chooses its strength on a tenth of the fold's own rows, as training
does. Two states of length one are together longer than one, which weakens the penalty: the control is the
last state given twice, of the same length and without anything new. Figures go to docs/pooling.json.

Shape suffixes: N rows, D features.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from labelled import DATASETS, sample
from sklearn.model_selection import StratifiedKFold
from transformers.utils.logging import disable_progress_bar

from millwright.experiment.compare import Comparison, compare_paired
from millwright.train.backbones import MINILM, load_backbone
from millwright.train.heads import choose_strength, fit_head
from millwright.train.states import cached_features, checked_precision

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "pooling.json"
FOLDS = 5
MAX_TOKENS = 128


def right_answers(feature_ND: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Which rows a head that did not see them gets right, [N] booleans."""
    right_N = np.zeros(len(truth_N), bool)
    labels = int(truth_N.max()) + 1
    for learn, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(feature_ND, truth_N):
        held = np.arange(len(learn)) % 10 == 0
        parts = [(feature_ND[part], truth_N[part]) for part in (learn[~held], learn[held])]
        strength, *_ = choose_strength(parts[0], parts[1], labels)
        weight, bias = fit_head(feature_ND[learn], truth_N[learn], labels, strength)
        right_N[judge] = (feature_ND[judge] @ weight.T + bias).argmax(1) == truth_N[judge]
    return right_N


def measure(name: str) -> dict[str, object]:
    """Accuracy of one state, of it twice, and of two states, on one dataset."""
    texts, truth_N, _ = sample(DATASETS[name]())
    backbone = load_backbone(MINILM, MAX_TOKENS)
    with TemporaryDirectory() as folder:
        precision = checked_precision(backbone, texts)
        two, _ = cached_features(backbone, texts, precision, Path(folder), lambda done: None)
    two_ND = two.numpy()
    last_ND = two_ND[:, -backbone.hidden :]
    right = {
        "one": right_answers(last_ND, truth_N),
        "twice": right_answers(np.hstack([last_ND, last_ND]), truth_N),
        "two": right_answers(two_ND, truth_N),
    }
    return {
        "rows": len(texts),
        "labels": int(truth_N.max()) + 1,
        "accuracy": {kind: float(right_N.mean()) for kind, right_N in right.items()},
        "two_over_one": gain(compare_paired(right["one"], right["two"])),
        "two_over_twice": gain(compare_paired(right["twice"], right["two"])),
    }


def gain(found: Comparison) -> dict[str, float]:
    """The difference of accuracies with its interval, and p of the paired test."""
    return {**vars(found.difference), "p_value": found.p_value}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| dataset | rows | labels | one state | it twice | two states | two over one | two over it twice |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        accuracies = [f"{100 * found['accuracy'][kind]:.2f} %" for kind in ("one", "twice", "two")]
        gains = [points(found[key]) for key in ("two_over_one", "two_over_twice")]
        cells = [name, found["rows"], found["labels"], *accuracies, *gains]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def points(found: dict[str, float]) -> str:
    """A gain in percentage points with its 95 % interval."""
    return f"{100 * found['value']:+.2f} [{100 * found['low']:+.2f}, {100 * found['high']:+.2f}]"


def main() -> None:
    """Measure what was asked for, write the figures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(DATASETS))
    only = parser.parse_args().only
    disable_progress_bar()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in DATASETS:
        if only in (None, name):
            results[name] = measure(name)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
