"""What differential privacy costs a head, and what attacks find. `python benchmarks/private_head.py`

Accuracy: rows a label teach, other rows measure, delta is the product's. "no noise" is the same ridge
regression without any, "head" the logistic regression that `--method head` trains. Kept is the accuracy over
chance (always the commonest label) as a share of that without noise. Nameless is the same with labels' names
dealt out anew, so that they say nothing. Needed are the people below whom the product refuses.

Membership: a random half of Banking77's rows teaches a head, the other half does not; 32 shadows of the same
making. Part private-lora: both of what `--method private-lora` trains, on Banking77, once; its shadows are
heads on the untouched backbone, as in the product. Shape suffixes: N rows, C labels, D features.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from labelled import DATASETS, banking77, desk, sample
from record import Row, print_table, read_rows, write_record
from scipy.stats import binomtest
from transformers.utils.logging import disable_progress_bar

from millwright.membership import RATES, attacked
from millwright.privacy.gaussian_mechanism import most_true_positives, mu_of
from millwright.privacy.sampled_gaussian import most_found
from millwright.settings import MINILM, TrainSection
from millwright.train.attacks import likelihood_ratios, margins, relative_margins, shadow_margins
from millwright.train.backbones import load_backbone
from millwright.train.fit_private_lora import METHOD
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.label_names import words_of
from millwright.train.methods import METHODS, build_network, state_depth
from millwright.train.network import feature_count
from millwright.train.private_head import DELTA, fit_private_head, people_needed
from millwright.train.private_lora import STEPS, Descent, descend, noise_for, start_head
from millwright.train.states import backbone_precision, cached_features, cached_states
from millwright.train.tune import Rows, logits

EPSILONS, SHOTS, DRAWS, MAX_TOKENS, SHADOWS = (1.0, 3.0, 8.0), (10, 20, 50), 3, 128, 32
BANKING = "Banking77, official split"
ALL = (BANKING, "MedQuAD question types", "SST-2", "IMDB", "customer-desk")
COLUMNS = (
    "dataset",
    "people",
    "labels",
    "epsilon",
    "needed",
    "refused",
    "accuracy",
    "low",
    "high",
    "kept",
    "nameless",
    "kept_nameless",
)
FOUND = ("what", "attack", "area", "false", "found", "found_low", "found_high", "promised")


def accuracies(name: str) -> list[Row]:
    """Accuracy on one dataset, a row for each number of people and each epsilon."""
    texts, truth_N, labels, taught = labelled(name)
    feature_ND, name_CD = features(texts, labels)
    rows: list[Row] = []
    sizes = [shots for shots in SHOTS if shots * len(labels) < taught]
    for shots in (*sizes, None):
        drawn = [draw(truth_N, taught, shots, len(labels), seed) for seed in range(DRAWS)]
        found = {
            epsilon: [
                measure(feature_ND, truth_N, name_CD, some, taught, epsilon, seed)
                for seed, some in enumerate(drawn)
            ]
            for epsilon in ("head", None, *EPSILONS)
        }
        dealt_CD = name_CD[np.random.default_rng(4).permutation(len(labels))]
        nameless = {
            epsilon: [
                measure(feature_ND, truth_N, dealt_CD, some, taught, epsilon, seed)
                for seed, some in enumerate(drawn)
            ]
            for epsilon in (None, *EPSILONS)
        }
        above_nameless = np.mean(nameless[None])
        commonest = np.bincount(truth_N[taught:]).max() / len(truth_N[taught:])
        above = np.mean(found[None]) - commonest
        for epsilon, measured in found.items():
            mean, people = float(np.mean(measured)), len(drawn[0])
            row: Row = {
                "part": "accuracy",
                "dataset": name,
                "people": people,
                "people_a_label": round(people / len(labels), 1),
                "labels": len(labels),
                "epsilon": {None: "no noise"}.get(epsilon, epsilon),  # type: ignore[call-overload]
                "accuracy": round(mean, 4),
                "low": round(min(measured), 4),
                "high": round(max(measured), 4),
                "kept": round((mean - commonest) / above, 3),
            }
            if isinstance(epsilon, float):
                needed = people_needed(len(labels), feature_ND.shape[1], epsilon)
                bare = float(np.mean(nameless[epsilon]))
                row |= {"needed": needed, "refused": people < needed, "nameless": round(bare, 4)}
                row["kept_nameless"] = round((bare - commonest) / (above_nameless - commonest), 3)
            rows.append(row)
    return rows


def labelled(name: str) -> tuple[list[str], np.ndarray, list[str], int]:
    """Texts, label numbers, names of labels, and how many of the first rows may teach."""
    if name == BANKING:
        train, test = list(banking77("train.csv")), list(banking77("test.csv"))
        labels = sorted({label for _, label in train})
        truth_N = np.array([labels.index(label) for _, label in (*train, *test)])
        return [text for text, _ in (*train, *test)], truth_N, labels, len(train)
    texts, truth_N, labels = sample({**DATASETS, "customer-desk": desk}[name]())
    return texts, truth_N, labels, len(texts) * 3 // 4


def features(texts: list[str], labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features of the texts, and of the labels' names."""
    backbone = load_backbone(MINILM, MAX_TOKENS)
    names = [words_of(label) for label in labels]
    with TemporaryDirectory() as folder:
        precision = backbone_precision(backbone)
        found, _ = cached_features(backbone, [*texts, *names], precision, Path(folder), lambda done: None)
    return found[: len(texts)].numpy(), found[len(texts) :].numpy()


def draw(truth_N: np.ndarray, taught: int, shots: int | None, labels: int, seed: int) -> np.ndarray:
    """Places of `shots` rows a label among those that may teach, all of them without `shots`."""
    order = np.random.default_rng(seed).permutation(taught)
    if shots is None:
        return np.sort(order)
    return np.concatenate([order[truth_N[order] == label][:shots] for label in range(labels)])


def measure(
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    name_CD: np.ndarray,
    drawn: np.ndarray,
    taught: int,
    epsilon: float | str | None,
    seed: int,
) -> float:
    """Accuracy of a head of the drawn rows on those that may not teach."""
    weight_CD, bias_C = teacher(feature_ND, truth_N, name_CD, epsilon)(drawn, np.random.default_rng(seed))
    said_N = (feature_ND[taught:] @ weight_CD.T + bias_C).argmax(1)
    return float((said_N == truth_N[taught:]).mean())


def teacher(
    feature_ND: np.ndarray, truth_N: np.ndarray, name_CD: np.ndarray, epsilon: float | str | None
) -> Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]:
    """What makes a head of rows: private with an epsilon, without noise for None, logistic for "head"."""

    def teach(places: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(epsilon, str):
            return fit_head(feature_ND[places], truth_N[places], len(name_CD), DEFAULT_STRENGTH)
        mu = 1e9 if epsilon is None else mu_of(epsilon, DELTA)
        people = [str(place) for place in places]
        made = fit_private_head(
            feature_ND[places], truth_N[places], people, name_CD, mu, chance.standard_normal
        )
        return made.weight_CD, made.bias_C

    return teach


def membership(epsilon: float | str | None) -> list[Row]:
    """What both attacks find of a head that half of Banking77's rows taught."""
    texts, truth_N, labels, _ = labelled(BANKING)
    order = np.random.default_rng(0).permutation(len(texts))
    feature_ND, name_CD = features(texts, labels)
    feature_ND, truth_N, half = feature_ND[order], truth_N[order], len(texts) // 2
    teach = teacher(feature_ND, truth_N, name_CD, epsilon)
    weight_CD, bias_C = teach(np.arange(half), np.random.default_rng(1))
    margin_N = margins(feature_ND @ weight_CD.T + bias_C, truth_N)
    people = [str(place) for place in range(len(texts))]
    shadows = shadow_margins(feature_ND, truth_N, people, teach, SHADOWS, lambda done: None)
    scores = {"margin": margin_N, "shadows": likelihood_ratios(margin_N, *shadows)}
    what = {"head": "head", None: "private-head without noise"}.get(
        epsilon, f"private-head, epsilon {epsilon}"
    )  # type: ignore[call-overload]
    promised = None
    if isinstance(epsilon, float):
        promised = [most_true_positives(mu_of(epsilon, DELTA), rate) for rate in RATES]
    return found_rows("membership", what, scores, half, promised)


def found_rows(
    part: str, what: str, scores: dict[str, np.ndarray], half: int, promised: list[float] | None
) -> list[Row]:
    """A row for each attack and rate; the first `half` of the scores are of those who taught."""
    rows: list[Row] = []
    for attack in attacked(scores, half):
        for place, (rate, point) in enumerate(zip(RATES, attack.points, strict=True)):
            assert point is not None
            row: Row = {"part": part, "what": what, "attack": attack.name, "false": rate}
            row |= {"area": round(attack.area.value, 4), "found": round(point.true_positives.value, 5)}
            row |= {
                "found_low": round(point.true_positives.low, 5),
                "found_high": round(point.true_positives.high, 5),
            }
            if promised is not None:
                row["promised"] = round(promised[place], 4)
            rows.append(row)
    return rows


class Descended:
    """Banking77 as noisy descent reads it, and what a network says of it that learnt from some rows."""

    def __init__(self) -> None:
        self.texts, self.truth_N, self.labels, self.taught = labelled(BANKING)
        self.backbone = load_backbone(MINILM, MAX_TOKENS)
        names = [words_of(label) for label in self.labels]
        self.depth = state_depth(self.backbone, TrainSection())
        with TemporaryDirectory() as folder:
            precision = backbone_precision(self.backbone)
            self.inputs, _ = cached_states(
                self.backbone, [*names, *self.texts], self.depth, precision, Path(folder), lambda done: None
            )

    def logits(self, places: np.ndarray, epsilon: float, seed: int) -> np.ndarray:
        """Logits [N, C] of all texts by a network that rows at `places` taught, each of another person."""
        labels, pad_id = len(self.labels), self.backbone.pad_id
        network = build_network(METHOD, self.backbone, labels, TrainSection(), STEPS)
        centre_D = start_head(network, self.inputs[:labels], pad_id)
        texts, chance = self.inputs[labels:], np.random.default_rng(seed)
        rows = Rows([texts[place] for place in places], self.truth_N[places])
        descent = Descent(METHODS[METHOD].learning_rate, noise_for(epsilon, DELTA))
        people = [str(place) for place in places]
        drawn = (chance.standard_normal, chance.random)
        descend(network, rows, people, descent, pad_id, centre_D, drawn, lambda done: None)
        return logits(network, texts, pad_id)


def descents(epsilons: Sequence[float], sizes: Sequence[int | None]) -> list[Row]:
    """Accuracy of low-rank updates and a head by noisy descent; where all rows teach, what attacks find."""
    given, rows = Descended(), []
    features_D = feature_count(given.backbone, words=not given.depth)
    for epsilon, shots in product(epsilons, sizes):
        start = time.perf_counter()
        places = draw(given.truth_N, given.taught, shots, len(given.labels), 0)
        said_NC = given.logits(places, epsilon, 0)
        right_N = said_NC[given.taught :].argmax(1) == given.truth_N[given.taught :]
        exact = binomtest(int(right_N.sum()), len(right_N)).proportion_ci(method="exact")
        needed = people_needed(len(given.labels), features_D, epsilon)
        rows.append(
            {
                "part": METHOD,
                "dataset": BANKING,
                "people": len(places),
                "people_a_label": round(len(places) / len(given.labels), 1),
                "labels": len(given.labels),
                "epsilon": epsilon,
                "needed": needed,
                "refused": len(places) < needed,
                "accuracy": round(float(right_N.mean()), 4),
                "low": round(float(exact.low), 4),
                "high": round(float(exact.high), 4),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
        print_table(rows[-1:], (*COLUMNS[:9], "seconds"))
        if shots is None:
            rows += descent_membership(given, epsilon)
    return rows


def descent_membership(given: Descended, epsilon: float) -> list[Row]:
    """What both attacks find of a network that half of the rows taught."""
    order = np.random.default_rng(0).permutation(len(given.texts))
    half, truth_N = len(order) // 2, given.truth_N[order]
    feature_ND, name_CD = features([given.texts[place] for place in order], given.labels)
    margin_N = margins(given.logits(order[:half], epsilon, 1)[order], truth_N)
    people = [str(place) for place in range(len(order))]
    teach = teacher(feature_ND, truth_N, name_CD, "head")
    shadows = shadow_margins(feature_ND, truth_N, people, teach, SHADOWS, lambda done: None)
    scores = {"margin": margin_N, "shadows": relative_margins(margin_N, *shadows)}
    what, promised = f"{METHOD}, epsilon {epsilon}", [most_found(epsilon, DELTA, rate) for rate in RATES]
    return found_rows(METHOD, what, scores, half, promised)


def main() -> None:
    """Measure; parts that were not asked for stay as they stand in the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("accuracy", "membership", METHOD)
    parser.add_argument("--part", choices=parts, nargs="*", default=list(parts))
    parser.add_argument(
        "--shots",
        type=int,
        nargs="*",
        help=f"people a label of {METHOD}, without attacks; all and the attacks if none",
    )
    asked = parser.parse_args()
    wanted = asked.part
    disable_progress_bar()
    rows = [row for row in read_rows("private_head") if row["part"] not in wanted]
    if "accuracy" in wanted:
        for name in ALL:
            found = accuracies(name)
            print_table(found, COLUMNS)
            rows += found
    if "membership" in wanted:
        for epsilon in ("head", None, 8.0, 1.0):
            found = membership(epsilon)
            print_table(found, FOUND)
            rows += found
    if METHOD in wanted:
        found = descents((8.0,) if asked.shots else (8.0, 1.0), asked.shots or [None])
        print_table([row for row in found if "what" in row], FOUND)
        rows += found
    write_record("private_head", sorted(rows, key=lambda row: str(row["part"])))


if __name__ == "__main__":
    main()
