"""What weak labels bring where rows are few, and what training makes of them. `python benchmarks/weak.py`

Some training rows a label are labelled, the others are a pile that labelling functions label. Heads are
taught without weak rows, with all of them, with few of each label, and as training decides on the labelled
rows alone; the official test rows measure. Two draws, paired. "without names" are the rows of Banking77
with labels that say nothing, so that no label's name teaches.

Banking77's functions are made of its labels' names by a rule; SST-2's are lists of words of praise and of
blame that were written down without a look at any of its sentences.

Shape suffixes: N rows, C labels, D features, W weak rows.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from labelled import banking77, sentences
from record import Row, print_table, read_rows, write_record
from transformers.utils.logging import disable_progress_bar

from millwright.data.weak import LEAST_PROBABILITY, learn_votes, pattern_of
from millwright.settings import MINILM
from millwright.train.backbones import load_backbone
from millwright.train.heads import DEFAULT_STRENGTH, fit_head
from millwright.train.label_names import FEW_ROWS_A_LABEL, may_teach, words_of
from millwright.train.states import backbone_precision, cached_features
from millwright.train.weak_rows import Taught, few_of_each, use_of_weak_rows
from millwright.weak.functions import LabellingFunction, keyword_function
from millwright.weak.report import majority
from millwright.weak.votes import votes_on

SHOTS, DRAWS, MAX_TOKENS = (1, 2, 5, 10, 20), 2, 128
STOP = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "get", "in", "into", "is", "my", "not", "of", "on")
    + ("or", "out", "the", "to", "up", "via", "with", "why")
)
PRAISE = {
    "great": "great excellent superb wonderful brilliant outstanding masterpiece magnificent perfect*",
    "warm": "charming delight* heartfelt touching moving tender lovely sweet warm*",
    "fun": "funny hilarious fun entertaining enjoyable witty clever thrilling exciting",
    "craft": "beautiful* gripping compelling powerful engaging inventive original stunning fascinating",
}
BLAME = {
    "bad": "bad awful terrible horrible worst poor* lousy mess disaster",
    "dull": "dull boring bland tedious lifeless slow pointless empty flat",
    "silly": "stupid silly ridiculous absurd dumb unfunny clumsy contrived predictable",
    "lost": "fail* lack* disappoint* waste* unfortunately neither pretentious tired stale",
}
COLUMNS = (
    *("dataset", "shots", "without", "all", "few", "as_trained", "higher", "used", "best"),
    *("weak_rows", "weak_right", "majority_right"),
)


@dataclass(frozen=True)
class Pile:
    """Features, labels and votes of training rows, features and labels of test rows, and of names."""

    labels: list[str]
    feature_ND: np.ndarray
    truth_N: np.ndarray
    votes: list[dict[str, str]]
    test: tuple[np.ndarray, np.ndarray]
    name_CD: np.ndarray


def of_names(labels: Sequence[str]) -> list[LabellingFunction]:
    """Keywords by a rule: a word that one label alone has in its name, cut to its stem, votes for the label;
    so does each pair of words that follow one another in one name alone.
    """
    words = {label: [word for word in words_of(label).split() if word not in STOP] for label in labels}
    pairs = {
        label: [" ".join(pair) for pair in zip(own, own[1:], strict=False)] for label, own in words.items()
    }
    counts = Counter(word for own in (*words.values(), *pairs.values()) for word in set(own))
    found = []
    for label in labels:
        for kind, own in (("word", words[label]), ("pair", pairs[label])):
            keywords = [_stem(word) for word in own if counts[word] == 1]
            if keywords:
                found.append(keyword_function(f"{label}/{kind}", label, keywords))
    return found


def _stem(word: str) -> str:
    return word if len(word) <= 5 else f"{word[: max(5, len(word) - 3)]}*"


def of_lists(labels: Sequence[str]) -> list[LabellingFunction]:
    """A function for each list of words, silent where something is denied."""
    blame, praise = labels
    return [
        keyword_function(name, label, words.split(), ["not", "n't", "never", "no", "hardly"])
        for label, lists in ((praise, PRAISE), (blame, BLAME))
        for name, words in lists.items()
    ]


DATASETS = {
    "Banking77": (lambda: banking77(), lambda: banking77("test.csv"), of_names, True),
    "Banking77 without names": (lambda: banking77(), lambda: banking77("test.csv"), of_names, False),
    "SST-2": (
        lambda: sentences("stsa.binary.train"),
        lambda: sentences("stsa.binary.test"),
        of_lists,
        False,
    ),
}


def load(name: str, folder: Path) -> Pile:
    """Everything of a dataset that is measured on."""
    learn, test, functions, has_names = DATASETS[name]
    rows, held = list(learn()), list(test())
    labels = sorted({label for _, label in rows})
    backbone = load_backbone(MINILM, MAX_TOKENS)
    texts = [text for text, _ in (*rows, *held)]
    texts += [words_of(label) for label in labels] if has_names else []
    found, _ = cached_features(backbone, texts, backbone_precision(backbone), folder, lambda done: None)
    feature_ND, first, last = found.numpy(), len(rows), len(rows) + len(held)
    truth_N = np.array([labels.index(label) for _, label in (*rows, *held)])
    votes = votes_on(functions(labels), [text for text, _ in rows])
    test_rows = (feature_ND[first:last], truth_N[first:])
    return Pile(labels, feature_ND[:first], truth_N[:first], votes, test_rows, feature_ND[last:])


def one_draw(pile: Pile, shots: int, seed: int) -> dict[str, float]:
    """Accuracy on the test rows of each way to teach, and what training chose."""
    order, labels = np.random.default_rng(seed).permutation(len(pile.truth_N)), len(pile.labels)
    drawn = np.concatenate([order[pile.truth_N[order] == label][:shots] for label in range(labels)])
    others = np.setdiff1d(order, drawn)
    clean = Taught(pile.feature_ND[drawn], pile.truth_N[drawn], [str(place) for place in drawn])
    shares = {pile.labels[label]: shots for label in range(labels)}
    voted = [place for place in np.random.default_rng(seed).permutation(others) if pile.votes[place]]
    said = learn_votes(Counter(pattern_of(pile.votes[place]) for place in voted), shares).said
    sure = [place for place in voted if said[pattern_of(pile.votes[place])][1] > LEAST_PROBABILITY]
    truth_W = np.array([pile.labels.index(said[pattern_of(pile.votes[place])][0]) for place in sure])
    weak = Taught(pile.feature_ND[sure], truth_W, [str(place) for place in sure])
    names = pile.name_CD
    if not len(names) or len(drawn) > FEW_ROWS_A_LABEL * labels or not may_teach(names, *pair(clean)):
        names = pile.feature_ND[:0]
    few = few_of_each(truth_W, shots)
    ways = {"without": (), "all": tuple(range(len(sure))), "few": few}
    found = {way: accuracy(pile, clean, weak, taken, names) for way, taken in ways.items()}
    use = use_of_weak_rows(clean, weak, names)
    better = use.better if use.with_weak > use.without or not use.judged else "without"
    mostly = [pile.labels.index(majority(pile.votes[place])) for place in sure]
    return {
        **found,
        "as_trained": found["without" if use.way == "none" else use.way],
        "higher": found["without" if better == "none" else better],
        "used": float(use.way != "none"),
        "best": max(found.values()),
        "weak_rows": float(len(sure)),
        "weak_right": float((truth_W == pile.truth_N[sure]).mean()),
        "majority_right": float((np.array(mostly) == pile.truth_N[sure]).mean()),
    }


def pair(rows: Taught) -> tuple[np.ndarray, np.ndarray]:
    """Features and label numbers."""
    return rows.feature_ND, rows.truth_N


def accuracy(pile: Pile, clean: Taught, weak: Taught, taken: Sequence[int], names: np.ndarray) -> float:
    """Accuracy on the test rows of a head that these weak rows teach too."""
    places = np.array(taken, dtype=np.int64)
    feature_ND = np.concatenate([clean.feature_ND, weak.feature_ND[places], names])
    truth_N = np.concatenate([clean.truth_N, weak.truth_N[places], np.arange(len(names))])
    weight_CD, bias_C = fit_head(feature_ND, truth_N, len(pile.labels), DEFAULT_STRENGTH)
    return float(((pile.test[0] @ weight_CD.T + bias_C).argmax(1) == pile.test[1]).mean())


def measure(name: str) -> list[Row]:
    """Mean accuracies on one dataset, a row a number of labelled rows."""
    with TemporaryDirectory() as folder:
        pile = load(name, Path(folder))
    rows: list[Row] = []
    for shots in SHOTS:
        draws = [one_draw(pile, shots, seed) for seed in range(DRAWS)]
        mean = {key: round(float(np.mean([draw[key] for draw in draws])), 4) for key in draws[0]}
        gains = [draw["as_trained"] - draw["without"] for draw in draws]
        worst: Row = {"least_gain": round(min(gains), 4)}
        rows.append({"dataset": name, "shots": shots, "draws": DRAWS, **mean, **worst})
        print_table(rows[-1:], COLUMNS)
    return rows


def main() -> None:
    """Measure what was asked for; datasets that stand in the record stay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(DATASETS), nargs="*", default=list(DATASETS))
    wanted = parser.parse_args().only
    disable_progress_bar()
    for name in wanted:
        rows = measure(name)
        kept = [row for row in read_rows("weak") if row["dataset"] != name]
        write_record("weak", [*kept, *rows])


if __name__ == "__main__":
    main()
