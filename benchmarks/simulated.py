"""Simulated projects: texts whose labels are known arrive as messages, simulated people label some of them.

What is simulated: the people, and the order of messages. What is the product's own: the split by hash,
which decides who is always asked; the head with its strength and its labels' names; the choice of rows for
review; suspected labels; the verdict on a challenger; the decision to roll back. The backbone is frozen and
its features were computed once.

Shape suffixes: N texts, M test texts, D features, C labels, K rows with a label.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from millwright.data.split import splits_of, units_of
from millwright.experiment.adjustment import running_mean
from millwright.experiment.analysis import Analysis, ArmFigures, Effect
from millwright.experiment.compare import compare_paired
from millwright.experiment.confidence_sequences import betting_interval
from millwright.experiment.plans import Plan
from millwright.experiment.rollout import ROLL_BACK, decide
from millwright.experiment.scores import effect_scores
from millwright.experiment.verdict import judge
from millwright.review.label_errors import out_of_fold, suspects
from millwright.review.selection import worth_labelling
from millwright.settings import DataSection, TurnSection
from millwright.train.calibrate import softmax
from millwright.train.heads import DEFAULT_STRENGTH, choose_strength, fit_head
from millwright.train.label_names import FEW_ROWS_A_LABEL, may_teach

TRAIN, VALIDATION, TEST = range(3)
LIKE_LABELS = 5
WATCHED = 0.5  # share of users who get the former champion in the turn after a promotion
HARM = 0.05
LOOKED_AGAIN = 0.2  # of a turn's labels, for suspected ones


@dataclass(frozen=True)
class World:
    """Texts with features and true labels, and the official test rows, which decide nothing."""

    texts: tuple[str, ...]
    feature_ND: np.ndarray
    truth_N: np.ndarray
    name_CD: np.ndarray
    test_MD: np.ndarray
    test_truth_M: np.ndarray

    @cached_property
    def like_CK(self) -> np.ndarray:
        """For each label the others whose texts are most like its own, by their mean features."""
        mean_CD = np.stack([self.feature_ND[self.truth_N == label].mean(0) for label in range(self.labels)])
        distance_CC = ((mean_CD[:, None] - mean_CD[None]) ** 2).sum(axis=2)
        like_CK: np.ndarray = np.argsort(distance_CC, axis=1)[:, 1 : 1 + LIKE_LABELS]
        return like_CK

    @property
    def labels(self) -> int:
        """How many labels there are."""
        return len(self.name_CD)


@dataclass(frozen=True)
class People:
    """How people behave: the share that answers, and the share of given labels that is wrong."""

    answer: float = 0.3
    wrong: float = 0.1


@dataclass(frozen=True)
class Course:
    """How a project goes: rows a label at first, turns, messages and labels a turn, how rows are chosen.

    `rule` is "queue" or "chance"; `suspected` says what is done about suspected labels: "nothing",
    "left out" of training, or "looked at again", which takes its labels from the same budget. `alpha` is
    the setting of the turn.
    """

    shots: int
    turns: int
    messages: int
    budget: int
    rule: str = "queue"
    suspected: str = "nothing"
    alpha: float = TurnSection().alpha


@dataclass(frozen=True)
class Head:
    """A head and its temperature."""

    weight_CD: np.ndarray
    bias_C: np.ndarray
    temperature: float

    def __call__(self, feature_ND: np.ndarray) -> np.ndarray:
        """Probabilities of each."""
        return softmax(feature_ND @ self.weight_CD.T + self.bias_C, self.temperature)

    def best(self, feature_ND: np.ndarray) -> np.ndarray:
        """The likeliest label of each."""
        best_N: np.ndarray = (feature_ND @ self.weight_CD.T + self.bias_C).argmax(axis=1)
        return best_N


@dataclass(frozen=True)
class Turned:
    """A turn: labels so far, accuracies on the official test rows, and what was decided.

    `harm` is how much accuracy on the official test rows a promotion cost, negative for a gain, and
    `is_harmful` whether that is beyond noise.
    """

    turn: int
    labels: int
    champion: float
    challenger: float
    promoted: bool = False
    harm: float = 0.0
    is_harmful: bool = False
    is_blocked: bool = False
    rolled_back: bool = False
    is_false_roll_back: bool = False


@dataclass
class Known:
    """The labels that were given, by place of the text."""

    label_N: np.ndarray
    split_N: np.ndarray
    is_known_N: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.is_known_N = np.zeros(len(self.label_N), dtype=bool)

    def add(self, place_K: np.ndarray, label_K: np.ndarray, *, teaches_only: bool) -> None:
        """Take labels; those that were not asked of everybody alike may only teach."""
        self.label_N[place_K], self.is_known_N[place_K] = label_K, True
        if teaches_only:
            self.split_N[place_K] = TRAIN

    def of(self, *splits: int) -> np.ndarray:
        """Places of rows in some splits."""
        return np.flatnonzero(self.is_known_N & np.isin(self.split_N, splits))


def train_head(world: World, known: Known, without: np.ndarray | None = None) -> Head:
    """The head as `millwright train` makes it: strength and temperature by validation rows, then all rows."""
    train, validation = known.of(TRAIN), known.of(VALIDATION)
    train = train if without is None else np.setdiff1d(train, without)
    feature, label, labels = world.feature_ND, known.label_N, world.labels
    names = world.name_CD[:0]
    if len(train) <= FEW_ROWS_A_LABEL * labels and may_teach(world.name_CD, feature[train], label[train]):
        names = world.name_CD

    def taught(place_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        named = np.arange(len(names))
        return np.concatenate([feature[place_K], names]), np.concatenate([label[place_K], named])

    strength, temperature, *_ = choose_strength(
        taught(train), (feature[validation], label[validation]), labels
    )
    weight_CD, bias_C = fit_head(*taught(np.concatenate([train, validation])), labels, strength)
    return Head(weight_CD, bias_C, temperature)


def say(world: World, people: People, place_K: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The labels that people give: the right ones but for a share that names one of the likest labels."""
    truth_K = world.truth_N[place_K]
    other_K = world.like_CK[truth_K, rng.integers(world.like_CK.shape[1], size=len(place_K))]
    label_K: np.ndarray = np.where(rng.random(len(place_K)) < people.wrong, other_K, truth_K)
    return label_K


def begin(world: World, shots: int, seed: int, rng: np.random.Generator) -> tuple[Known, np.ndarray]:
    """The first rows, their labels right, and the other texts in the order in which they arrive."""
    about = DataSection()
    known = Known(
        np.full(len(world.truth_N), -1),
        splits_of(units_of(world.texts, seed), about.validation_share, about.test_share).astype(int),
    )
    order = rng.permutation(len(world.truth_N))
    first = np.concatenate([order[world.truth_N[order] == label][:shots] for label in range(world.labels)])
    known.add(first, world.truth_N[first], teaches_only=False)
    return known, np.setdiff1d(order, first, assume_unique=True)


def run(world: World, people: People, course: Course, seed: int) -> list[Turned]:
    """One project from its first rows on.

    Args:
        world: the texts; all but the first rows arrive as messages.
        people: how users and reviewers behave.
        course: how it goes.
        seed: of everything random.

    Returns:
        The first version as turn 1, then a turn each.
    """
    rng = np.random.default_rng(seed)
    known, messages = begin(world, course.shots, seed, rng)
    is_asked_N = known.split_N != TRAIN
    champion = train_head(world, known)
    former: Head | None = None
    started = accuracy(world, champion)
    history = [Turned(1, int(known.is_known_N.sum()), started, started)]
    arrived = messages[:0]
    for number in range(2, course.turns + 2):
        batch, messages = messages[: course.messages], messages[course.messages :]
        arrived = np.concatenate([arrived, batch])
        is_former_K = rng.random(len(batch)) < (0 if former is None else WATCHED)
        answer_K = champion.best(world.feature_ND[batch])
        if former is not None:
            answer_K = np.where(is_former_K, former.best(world.feature_ND[batch]), answer_K)
        is_heard_K = rng.random(len(batch)) < people.answer
        is_wrong_K = answer_K != world.truth_N[batch]
        asked, volunteers = (
            batch[is_heard_K & chosen] for chosen in (is_asked_N[batch], ~is_asked_N[batch] & is_wrong_K)
        )
        known.add(asked, say(world, people, asked, rng), teaches_only=False)
        known.add(volunteers, say(world, people, volunteers, rng), teaches_only=True)
        rolled_back = is_false = False
        if former is not None:
            accepted_K = 1.0 - (is_heard_K & is_wrong_K)
            rolled_back = _watch(accepted_K, ~is_former_K)
            if rolled_back:
                is_false = accuracy(world, champion) >= accuracy(world, former)
                champion = former
            former = None
        looked = look_at_rows(world, people, course, known, rng, len(asked) + len(volunteers), arrived[
            ~is_asked_N[arrived] & ~known.is_known_N[arrived]], champion)  # fmt: skip
        without = _suspected(world, known, number) if course.suspected == "left out" else None
        challenger = train_head(world, known, without)
        held = known.of(TEST)
        right = [head.best(world.feature_ND[held]) == known.label_N[held] for head in (champion, challenger)]
        slices = {f"label {label}": known.label_N[held] == label for label in range(world.labels)}
        verdict = judge(right[0], right[1], slices, TurnSection(alpha=course.alpha))
        official = [head.best(world.test_MD) == world.test_truth_M for head in (champion, challenger)]
        is_harmful = verdict.promotes and compare_paired(official[1], official[0]).p_value <= HARM
        lost = float(official[0].mean() - official[1].mean())
        if verdict.promotes:
            champion, former = challenger, champion
        history.append(
            Turned(
                number, history[-1].labels + len(asked) + len(volunteers) + looked,
                accuracy(world, champion), float(official[1].mean()), verdict.promotes,
                lost if verdict.promotes else 0.0, is_harmful, "max_slice_loss" in verdict.reason,
                rolled_back, is_false,
            )
        )  # fmt: skip
    return history


def look_at_rows(
    world: World, people: People, course: Course, known: Known, rng: np.random.Generator, said: int,
    candidates: np.ndarray, champion: Head,
) -> int:  # fmt: skip
    """Reviewers label what is left of the budget; how many labels they gave."""
    left = max(0, course.budget - said)
    again = np.empty(0, dtype=int)
    if course.suspected == "looked at again":
        again = _suspected(world, known, said)[: round(LOOKED_AGAIN * left)]
        known.add(again, say(world, people, again, rng), teaches_only=False)
    count = min(left - len(again), len(candidates))
    if course.rule == "queue":
        feature_ND = world.feature_ND[candidates]
        learnt = world.feature_ND[known.of(TRAIN, VALIDATION)]
        chosen, _ = worth_labelling(feature_ND, champion(feature_ND), learnt, count, int(rng.integers(2**31)))
    else:
        chosen = rng.permutation(len(candidates))[:count]
    place_K = candidates[chosen]
    known.add(place_K, say(world, people, place_K, rng), teaches_only=True)
    return len(again) + len(place_K)


def _suspected(world: World, known: Known, seed: int) -> np.ndarray:
    """Rows that teach and whose label looks wrong, the most suspicious first."""
    place_K, labels = known.of(TRAIN), world.labels

    def fit(feature_ND: np.ndarray, label_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return Head(*fit_head(feature_ND, label_N, labels, DEFAULT_STRENGTH), 1.0)

    probability_KC = out_of_fold(world.feature_ND[place_K], known.label_N[place_K], fit, seed)
    found, _ = suspects(probability_KC, known.label_N[place_K])
    return place_K[found]


def _watch(accepted_T: np.ndarray, is_new_T: np.ndarray) -> bool:
    """Whether an experiment of the new champion against the former would roll it back after these users."""
    plan = Plan("former", ("new",), guardrails=())
    share_T = np.full(len(accepted_T), 1 - WATCHED)
    scores = effect_scores(accepted_T, is_new_T, share_T, running_mean(accepted_T))
    low, high = betting_interval(scores, plan.alpha)
    users, new = len(accepted_T), int(is_new_T.sum())
    means = (float(accepted_T[~is_new_T].mean()), float(accepted_T[is_new_T].mean()))
    effect = Effect("accepted", "new", *means, low, high, plan.alpha, 1.0, users, new)
    arms = (
        ArmFigures("champion", "former", WATCHED, users - new, users - new),
        ArmFigures("new", "new", 1 - WATCHED, new, new),
    )
    return (
        decide(plan, Analysis(arms, (effect,), (), (), False, {"new": new}, 1 - WATCHED, {}), 0.0).kind
        == ROLL_BACK
    )


def accuracy(world: World, head: Head) -> float:
    """On the official test rows."""
    return float((head.best(world.test_MD) == world.test_truth_M).mean())
