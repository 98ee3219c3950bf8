"""What each pool of states gives a frozen head. `python benchmarks/pooling.py` prints a table.

Cross-validation on training rows of five datasets, which are read from ../shared/data beside the checkout;
no test row is read. A head of each fold chooses its strength on a tenth of the fold's own rows, as training
does. Each pool has length one, so more of them are longer together, which weakens the penalty: the controls
are the last state given twice, and two states with the last once more, of the same length and without
anything new. Figures go to docs/pooling.json.

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
from millwright.settings import MINILM
from millwright.train.backbones import load_backbone
from millwright.train.heads import choose_strength, fit_head
from millwright.train.states import cached_features, checked_precision

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "pooling.json"
FOLDS = 5
GAINS = (("one", "two"), ("twice", "two"), ("two", "three"), ("two, one again", "three"))
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
    """Accuracy of the mean of one state, of two, of two with the words, and of the controls."""
    texts, truth_N, _ = sample(DATASETS[name]())
    backbone = load_backbone(MINILM, MAX_TOKENS)
    with TemporaryDirectory() as folder:
        precision = checked_precision(backbone, texts)
        three, _ = cached_features(backbone, texts, precision, Path(folder), lambda done: None)
    three_ND = three.numpy()
    two_ND, last_ND = three_ND[:, backbone.hidden :], three_ND[:, -backbone.hidden :]
    right = {
        "one": right_answers(last_ND, truth_N),
        "twice": right_answers(np.hstack([last_ND, last_ND]), truth_N),
        "two": right_answers(two_ND, truth_N),
        "two, one again": right_answers(np.hstack([two_ND, last_ND]), truth_N),
        "three": right_answers(three_ND, truth_N),
    }
    return {
        "rows": len(texts),
        "labels": int(truth_N.max()) + 1,
        "accuracy": {kind: float(right_N.mean()) for kind, right_N in right.items()},
        **{f"{more} over {less}": gain(compare_paired(right[less], right[more])) for less, more in GAINS},
    }


def gain(found: Comparison) -> dict[str, float]:
    """The difference of accuracies with its interval, and p of the paired test."""
    return {**vars(found.difference), "p_value": found.p_value}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as Markdown."""
    kinds = list(next(iter(results.values()))["accuracy"])
    gains = [f"{more} over {less}" for less, more in GAINS]
    heads = ["dataset", "rows", "labels", *kinds, *gains]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, found in results.items():
        accuracies = [f"{100 * found['accuracy'][kind]:.2f} %" for kind in kinds]
        cells = [name, found["rows"], found["labels"], *accuracies, *(points(found[key]) for key in gains)]
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
