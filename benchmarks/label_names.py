"""What the labels' names add where rows are few. `python benchmarks/label_names.py`

Some training rows a label teach a head, the other training rows measure it: without names, with them, with
each name given to another label (the control: names must help by what they say), and as training does it,
which asks the rows first. Five draws, paired.

Shape suffixes: N rows, C labels, D features.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from labelled import DATASETS, desk, sample
from record import Row, print_table, read_rows, write_record
from transformers.utils.logging import disable_progress_bar

from millwright.settings import MINILM
from millwright.train.backbones import load_backbone
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.label_names import may_teach, words_of
from millwright.train.states import backbone_precision, cached_features

SHOTS, DRAWS, MAX_TOKENS = (1, 2, 5, 10, 20), 5, 128
ALL = {**DATASETS, "customer-desk": desk}
WORDS = {"SST-2": {"0": "negative", "1": "positive"}, "CR": {"0": "negative", "1": "positive"}}
COLUMNS = (
    "dataset",
    "shots",
    "labels",
    "without",
    "named",
    "shuffled",
    "as_trained",
    "used",
    "gain",
    "gain_sd",
)


def measure(name: str) -> list[Row]:
    """Accuracies on one dataset, a row a number of shots."""
    texts, truth_N, labels = sample(ALL[name]())
    names = [words_of(WORDS.get(name, {}).get(label, label)) for label in labels]
    backbone = load_backbone(MINILM, MAX_TOKENS)
    with TemporaryDirectory() as folder:
        precision = backbone_precision(backbone)
        found, _ = cached_features(backbone, [*texts, *names], precision, Path(folder), lambda done: None)
    feature_ND, name_CD = found[: len(texts)].numpy(), found[len(texts) :].numpy()
    rows = []
    for shots in SHOTS:
        draws = [one_draw(feature_ND, truth_N, name_CD, shots, seed) for seed in range(DRAWS)]
        mean = {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}
        gains = [draw["as_trained"] - draw["without"] for draw in draws]
        rounded = {key: round(value, 4) for key, value in mean.items()}
        gain: Row = {
            "gain": round(float(np.mean(gains)), 4),
            "gain_sd": round(float(np.std(gains, ddof=1)), 4),
        }
        rows.append(
            {"dataset": name, "shots": shots, "labels": len(labels), "draws": DRAWS, **rounded, **gain}
        )
    return rows


def one_draw(
    feature_ND: np.ndarray, truth_N: np.ndarray, name_CD: np.ndarray, shots: int, seed: int
) -> dict[str, float]:
    """Accuracy of each way to teach, on the rows that were not drawn."""
    chance, labels = np.random.default_rng(seed), len(name_CD)
    order = chance.permutation(len(truth_N))
    drawn = np.concatenate([order[truth_N[order] == label][:shots] for label in range(labels)])
    others = np.setdiff1d(order, drawn)
    few, truth = feature_ND[drawn], truth_N[drawn]
    shuffled_CD = name_CD[(np.arange(labels) + 1 + chance.integers(labels - 1)) % labels]
    used = may_teach(name_CD, few, truth)

    def accuracy(names: np.ndarray) -> float:
        taught, said = np.concatenate([few, names]), np.concatenate([truth, np.arange(len(names))])
        weight, bias = fit_head(taught, said, labels, DEFAULT_STRENGTH)
        return float(((feature_ND[others] @ weight.T + bias).argmax(1) == truth_N[others]).mean())

    found = {"without": accuracy(few[:0]), "named": accuracy(name_CD), "shuffled": accuracy(shuffled_CD)}
    return {**found, "as_trained": found["named" if used else "without"], "used": float(used)}


def main() -> None:
    """Measure what was asked for; datasets that stand in the record stay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(ALL), nargs="*", default=list(ALL))
    wanted = parser.parse_args().only
    disable_progress_bar()
    for name in wanted:
        rows = measure(name)
        print_table(rows, COLUMNS)
        kept = [row for row in read_rows("label_names") if row["dataset"] != name]
        write_record("label_names", [*kept, *rows])


if __name__ == "__main__":
    main()
