"""Does the wheel work? Banking77 with five rows an intent, the rest arriving as messages of simulated users.

    python benchmarks/wheel.py [--draws 5] [--projects 100]

Turn by turn the accuracy on the official test rows, which decide nothing, where rows are chosen for review by
the queue or by chance within the same number of labels, and that of a head on all labels at once; then many
smaller projects of 20 intents each, whose promotions are checked on the official test rows. What is
simulated and what is the product's own stands in simulated.py. Needs the datasets beside the checkout.

Shape suffixes: N texts, C labels.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import numpy as np
from labelled import banking77
from record import BENCH, Row, print_table, read_rows, write_record
from simulated import TEST, TRAIN, Course, Head, Known, People, Turned, World, accuracy, run, say, train_head

from millwright.data.split import splits_of, units_of
from millwright.settings import MINILM, DataSection
from millwright.train.backbones import load_backbone
from millwright.train.label_names import words_of
from millwright.train.states import backbone_precision, cached_features

NAME = "wheel"
COLUMNS = (
    "part", "what", "setting", "turn", "labels", "accuracy", "low", "high", "newest", "share_of_all", "draws",
    "projects", "promotions", "worse", "harmful", "cost", "blocked", "roll_backs", "false_roll_backs",
)  # fmt: skip
TURNS, MESSAGES, BUDGET = 12, 800, 176  # 385 + 12 * 176 labels are a quarter of 10,003
QUEUE = Course(shots=5, turns=TURNS, messages=MESSAGES, budget=BUDGET)
COURSES = {
    "the queue": QUEUE,
    "by chance": replace(QUEUE, rule="chance"),
    "the queue, suspected labels looked at again": replace(QUEUE, suspected="looked at again"),
    "the queue, suspected labels left out": replace(QUEUE, suspected="left out"),
}
GOAL = 0.95
SMALL = Course(shots=5, turns=6, messages=330, budget=80)
INTENTS = 20
ANY = 0.4999  # a turn that asks for no evidence, as a control
KINDS = {
    "10 % of labels wrong": (People(), SMALL),
    "40 % wrong, promoted whenever higher": (People(wrong=0.4), replace(SMALL, alpha=ANY)),
    "40 % of labels wrong": (People(wrong=0.4), SMALL),
}


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5, help="first rows, orders of messages and people")
    parser.add_argument("--projects", type=int, default=100, help="small projects of each kind")
    parser.add_argument("--only", choices=("turns", "projects"), help="keep the other part of the record")
    given = parser.parse_args()
    world = banking_world()
    rows: list[Row] = []
    small: list[Row] = []
    for row in read_rows(NAME):
        (small if row["part"] == "projects" else rows).append(row)
    if given.only != "projects":
        rows = [*turn_by_turn(world, given.draws)]
        print_table(rows, COLUMNS)
    if given.only != "turns":
        small = []
        for row in projects(world, given.projects):
            print_table([row], COLUMNS)
            small.append(row)
            write_record(NAME, [*rows, *small])
    write_record(NAME, [*rows, *small])


def banking_world() -> World:
    """All of Banking77 with the frozen features of the built-in backbone."""
    train, test = list(banking77()), list(banking77("test.csv"))
    names = sorted({label for _, label in train})
    backbone = load_backbone(MINILM, 128)
    texts = [text for text, _ in (*train, *test)] + [words_of(name) for name in names]
    precision = backbone_precision(backbone)
    found, _ = cached_features(backbone, texts, precision, BENCH / "cache", lambda done: None)
    feature_ND, end = found.numpy(), len(train) + len(test)
    truth, test_truth = (np.array([names.index(label) for _, label in part]) for part in (train, test))
    return World(
        tuple(text for text, _ in train), feature_ND[: len(train)], truth, feature_ND[end:],
        feature_ND[len(train) : end], test_truth,
    )  # fmt: skip


def turn_by_turn(world: World, draws: int) -> Iterator[Row]:
    """The accuracy of the version that serves and of the newest, by how rows were chosen, and the goal."""
    clean = accuracy(world, all_labels(world, People(wrong=0.0), 0))
    noisy = [accuracy(world, all_labels(world, People(), seed)) for seed in range(draws)]
    everything = len(world.truth_N)
    both = (("as they are", [clean]), ("10 % wrong", noisy))
    for setting, found in both:
        yield {
            "part": "all labels", "what": "a head on all", "setting": setting, "labels": everything,
            "accuracy": fmean(found), "low": min(found), "high": max(found), "draws": len(found),
        }  # fmt: skip
    for what, course in COURSES.items():
        histories = [run(world, People(), course, seed) for seed in range(draws)]
        steps = [_mean_step(what, list(turns)) for turns in zip(*histories, strict=True)]
        yield from steps
        for setting, found in both:
            wanted = GOAL * fmean(found)
            enough = [step["labels"] for step in steps if float(str(step["accuracy"])) >= wanted]
            yield {
                "part": "goal", "what": what, "setting": f"{GOAL:.0%} of all labels {setting}",
                "labels": enough[0] if enough else None, "draws": draws,
                "accuracy": steps[-1]["accuracy"],
                "share_of_all": float(str(steps[-1]["accuracy"])) / fmean(found),
            }  # fmt: skip
        yield {"part": "decisions", "what": what, **_decisions(histories)}


def all_labels(world: World, people: People, seed: int) -> Head:
    """A head on every text, a tenth of which choose its strength; none is held out."""
    about = DataSection()
    split_N = splits_of(units_of(world.texts, seed), about.validation_share, about.test_share).astype(int)
    known = Known(world.truth_N.copy(), np.where(split_N == TEST, TRAIN, split_N))
    every = np.arange(len(world.truth_N))
    known.add(every, say(world, people, every, np.random.default_rng(seed)), teaches_only=False)
    return train_head(world, known)


def projects(world: World, count: int) -> Iterator[Row]:
    """What turns decided in small projects, each with intents of its own."""
    for setting, (people, course) in KINDS.items():
        histories = [run(part_of(world, seed), people, course, seed) for seed in range(count)]
        last = [history[-1].champion for history in histories]
        yield {
            "part": "projects", "what": "the queue", "setting": setting,
            "labels": round(fmean(history[-1].labels for history in histories)),
            "accuracy": fmean(last), "low": min(last), "high": max(last), **_decisions(histories),
        }  # fmt: skip


def part_of(world: World, seed: int) -> World:
    """The texts of some intents."""
    chosen = np.sort(np.random.default_rng(seed).permutation(world.labels)[:INTENTS])
    own_N, test_M = np.isin(world.truth_N, chosen), np.isin(world.test_truth_M, chosen)
    return World(
        tuple(np.array(world.texts, dtype=object)[own_N]), world.feature_ND[own_N],
        np.searchsorted(chosen, world.truth_N[own_N]), world.name_CD[chosen],
        world.test_MD[test_M], np.searchsorted(chosen, world.test_truth_M[test_M]),
    )  # fmt: skip


def _mean_step(what: str, turns: list[Turned]) -> Row:
    served = [turn.champion for turn in turns]
    return {
        "part": "turn by turn", "what": what, "turn": turns[0].turn, "draws": len(turns),
        "labels": round(fmean(turn.labels for turn in turns)), "accuracy": fmean(served),
        "low": min(served), "high": max(served), "newest": fmean(turn.challenger for turn in turns),
    }  # fmt: skip


def _decisions(histories: list[list[Turned]]) -> Row:
    turns = [turn for history in histories for turn in history[1:]]
    return {
        "projects": len(histories),
        "promotions": sum(turn.promoted for turn in turns),
        "worse": sum(turn.harm > 0 for turn in turns),
        "harmful": sum(turn.is_harmful for turn in turns),
        "cost": max([turn.harm for turn in turns if turn.promoted], default=0.0),
        "blocked": sum(turn.is_blocked for turn in turns),
        "roll_backs": sum(turn.rolled_back for turn in turns),
        "false_roll_backs": sum(turn.is_false_roll_back for turn in turns),
    }


if __name__ == "__main__":
    main()
