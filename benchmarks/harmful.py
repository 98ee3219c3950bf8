"""Do gates and experiments stop challengers that do harm? Small projects in which a part of them is spoilt.

    python benchmarks/harmful.py [--projects 100]

As in wheel.py each project has 20 intents of Banking77 and five rows an intent at first. In half of the turns
the challenger is spoilt: every row that taught one, three or eight of the intents has the likest intent's
label, so that it does real harm, little or much. It meets held-out rows at the gates; half of the spoilt ones
pass by them, as one that a person puts before users by hand. What is left meets users in an experiment, which
decides by the product's own rule until it ships, keeps, or rolls back; then the official test rows say
whether that was right.

An experiment withdraws a challenger as soon as a gain of experiment.min_effect is ruled out. What is worse
passes that point before it is surely worse, so it is withdrawn under that name; without a least effect it is
rolled back. As a control the same challengers are shipped if they are ahead after 200 users, so "no harmful
promotion" is something that can fail. What is simulated and what is the product's own stands in simulated.py.

Shape suffixes: N texts, K texts of users, T users of one look.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from record import Row, print_table, write_record
from simulated import (
    HARM,
    TEST,
    TRAIN,
    Course,
    Head,
    Known,
    People,
    World,
    accuracy,
    begin,
    look_at_rows,
    say,
    train_head,
)
from wheel import banking_world, part_of

from millwright.experiment.adjustment import running_mean
from millwright.experiment.analysis import Analysis, ArmFigures, Effect
from millwright.experiment.compare import compare_paired
from millwright.experiment.confidence_sequences import betting_interval
from millwright.experiment.gates import Changes
from millwright.experiment.plans import Plan
from millwright.experiment.rollout import ADVANCE, HOLD, KEEP, ROLL_BACK, SHIP, decide
from millwright.experiment.scores import effect_scores
from millwright.experiment.verdict import judge
from millwright.settings import TurnSection

NAME = "harmful"
COLUMNS = (
    *(
        "rule",
        "challenger",
        "projects",
        "turns",
        "stopped_by_gates",
        "met_users",
        "shipped",
        "harmful",
        "cost",
    ),
    *("withdrawn", "rolled_back", "false_roll_backs", "exposed", "median_users", "undecided", "accuracy"),
)
COURSE = Course(shots=5, turns=6, messages=330, budget=80)
PLAN = Plan("champion", ("challenger",), guardrails=(), steps=(0.1, 0.5))
SPOILT_INTENTS, SPOILT_SHARE, BY_HAND_SHARE = (1, 3, 8), 0.5, 0.5
MOST_USERS, LOOK, FIRST_LOOK = 6_000, 100, 200  # a look is a decision period
SOUND, SPOILT, GATES, TIME = "sound", "spoilt", "gates", "time"
RULES: dict[str, Plan | None] = {
    "experiments": PLAN,
    "experiments, experiment.min_effect = 0": replace(PLAN, min_effect=0.0),
    "shipped if ahead after 200 users": None,
}
NOTHING_ELSE = Changes(0.0, 0.0, 1.0, 1.0, 0)  # beside its answers nothing changes


@dataclass(frozen=True)
class Met:
    """What became of a challenger: how much accuracy it costs on the official rows, and whether beyond noise.

    `kind` is the decision, "gates" where it met no user, "time" where none came in time. `users` came until
    then, `exposed` of them got it.
    """

    is_spoilt: bool
    kind: str
    loss: float
    is_harmful: bool
    users: int = 0
    exposed: int = 0


@dataclass
class Users:
    """Users of an experiment so far: who got the challenger, with what probability, whether it was right."""

    is_new: list[np.ndarray]
    share: list[np.ndarray]
    accepted: list[np.ndarray]

    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One array each, in the order in which they came; nan for who said nothing."""
        return np.concatenate(self.is_new), np.concatenate(self.share), np.concatenate(self.accepted)


def main() -> None:
    """Simulate, print, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--projects", type=int, default=100, help="small projects by each rule")
    count = parser.parse_args().projects
    world, rows = banking_world(), list[Row]()
    for rule, plan in RULES.items():
        histories = [run(part_of(world, seed), People(), plan, seed) for seed in range(count)]
        rows += figures(rule, histories)
        print_table(rows[-2:], COLUMNS)
        write_record(NAME, rows)


def run(world: World, people: People, plan: Plan | None, seed: int) -> tuple[list[Met], float]:
    """One project from its first rows on: each turn's challenger, and the accuracy of what serves at last."""
    rng = np.random.default_rng(seed)
    known, messages = begin(world, COURSE.shots, seed, rng)
    is_asked_N = known.split_N != TRAIN
    champion, arrived, history = train_head(world, known), messages[:0], list[Met]()
    for _ in range(COURSE.turns):
        batch, messages = messages[: COURSE.messages], messages[COURSE.messages :]
        arrived = np.concatenate([arrived, batch])
        heard = batch[is_asked_N[batch] & (rng.random(len(batch)) < people.answer)]
        known.add(heard, say(world, people, heard, rng), teaches_only=False)
        unknown = arrived[~is_asked_N[arrived] & ~known.is_known_N[arrived]]
        look_at_rows(world, people, COURSE, known, rng, len(heard), unknown, champion)
        is_spoilt = bool(rng.random() < SPOILT_SHARE)
        challenger = train_head(world, spoilt(world, known, rng) if is_spoilt else known)
        met = _meet(world, people, (champion, challenger), known, rng, plan, is_spoilt)
        history.append(met)
        champion = challenger if met.kind == SHIP else champion
    return history, accuracy(world, champion)


def spoilt(world: World, known: Known, rng: np.random.Generator) -> Known:
    """The same rows, but every one that teaches some of the intents has the label of the likest other one."""
    intents = rng.permutation(world.labels)[: rng.choice(SPOILT_INTENTS)]
    made = Known(known.label_N.copy(), known.split_N)
    made.is_known_N = known.is_known_N
    teaches_N = known.is_known_N & (known.split_N != TEST) & np.isin(known.label_N, intents)
    made.label_N[teaches_N] = world.like_CK[known.label_N[teaches_N], 0]
    return made


def _meet(
    world: World, people: People, heads: tuple[Head, Head], known: Known, rng: np.random.Generator,
    plan: Plan | None, is_spoilt: bool,
) -> Met:  # fmt: skip
    """Gates, then users."""
    official = [head.best(world.test_MD) == world.test_truth_M for head in heads]
    about = Met(
        is_spoilt, GATES, float(official[0].mean() - official[1].mean()),
        compare_paired(official[1], official[0]).p_value <= HARM,
    )  # fmt: skip
    held = known.of(TEST)
    right = [head.best(world.feature_ND[held]) == known.label_N[held] for head in heads]
    slices = {f"label {label}": known.label_N[held] == label for label in range(world.labels)}
    verdict = judge(*right, slices, TurnSection(), changes=NOTHING_ELSE, decide_by="users")
    passes_by = is_spoilt and rng.random() < BY_HAND_SHARE
    if verdict.blocked and not passes_by:
        return about
    users, share, kind = Users([], [], []), PLAN.steps[0], HOLD
    step, count = 0, 0
    while kind in (HOLD, ADVANCE):
        _arrive(world, people, heads, users, share if plan else 0.5, rng)
        step += int(users.is_new[-1].sum())
        count += LOOK
        found = _analysis(users, share, step)
        if plan is None:
            kind = HOLD if count < FIRST_LOOK else SHIP if _is_ahead(found.primary[0]) else KEEP
            continue
        made = decide(plan, found, 0.0)
        kind = made.kind if made.kind not in (HOLD, ADVANCE) or count < MOST_USERS else TIME
        if made.shares is not None:
            share, step = made.shares["challenger"], 0
    return replace(about, kind=kind, users=count, exposed=int(users.all()[0].sum()))


def _arrive(
    world: World, people: People, heads: tuple[Head, Head], users: Users, share: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """A decision period of users, each asking a text drawn anew; a share of them says what was right."""
    place_K = rng.integers(len(world.truth_N), size=LOOK)
    is_new_K = rng.random(LOOK) < share
    answer_K = np.where(is_new_K, *(head.best(world.feature_ND[place_K]) for head in heads[::-1]))
    is_heard_K = rng.random(LOOK) < people.answer
    users.is_new.append(is_new_K)
    users.share.append(np.full(LOOK, share))
    users.accepted.append(np.where(is_heard_K, say(world, people, place_K, rng) == answer_K, np.nan))


def _analysis(users: Users, share: float, step: int) -> Analysis:
    """The figures that decide, as the product reads them from its tables."""
    is_new_T, share_T, accepted_T = users.all()
    said_T = ~np.isnan(accepted_T)
    new_T, outcome_T = is_new_T[said_T], accepted_T[said_T]
    low, high = betting_interval(
        effect_scores(outcome_T, new_T, share_T[said_T], running_mean(outcome_T)), PLAN.alpha
    )
    means = [float(part.mean()) if len(part) else None for part in (outcome_T[~new_T], outcome_T[new_T])]
    effect = Effect(
        "accepted", "challenger", means[0], means[1], low, high, PLAN.alpha, 1.0, len(outcome_T),
        int(new_T.sum()),
    )  # fmt: skip
    count, new = len(is_new_T), int(is_new_T.sum())
    arms = (
        ArmFigures("champion", "champion", 1 - share, count - new, count - new),
        ArmFigures("challenger", "challenger", share, new, new),
    )
    return Analysis(arms, (effect,), (), (), False, {"challenger": step}, share, {})


def _is_ahead(effect: Effect) -> bool:
    return (
        effect.champion is not None and effect.challenger is not None and effect.challenger > effect.champion
    )


def figures(rule: str, histories: list[tuple[list[Met], float]]) -> Iterator[Row]:
    """What became of sound and of spoilt challengers."""
    every = [met for history, _ in histories for met in history]
    for challenger in (SOUND, SPOILT):
        own = [met for met in every if met.is_spoilt == (challenger == SPOILT)]
        users = [met for met in own if met.kind != GATES]
        shipped = [met for met in users if met.kind == SHIP]
        gone = [met for met in users if met.kind in (KEEP, ROLL_BACK)]
        undone = [met for met in gone if met.kind == ROLL_BACK]
        yield {
            "rule": rule, "challenger": challenger, "projects": len(histories), "turns": len(own),
            "stopped_by_gates": len(own) - len(users), "met_users": len(users), "shipped": len(shipped),
            "withdrawn": len(gone), "rolled_back": len(undone),
            "undecided": sum(met.kind == TIME for met in users),
            "harmful": sum(met.is_harmful for met in shipped),
            "false_roll_backs": sum(met.loss <= 0 for met in undone),
            "cost": max((met.loss for met in shipped), default=None),
            "exposed": float(np.mean([met.exposed for met in gone])) if gone else None,
            "median_users": float(np.median([met.users for met in gone])) if gone else None,
            "accuracy": float(np.mean([last for _, last in histories])),
        }  # fmt: skip


if __name__ == "__main__":
    main()
