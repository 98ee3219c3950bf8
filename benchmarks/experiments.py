"""What the statistics of experiments promise, simulated: false alarms, users to a decision, broken set-ups.

    python benchmarks/experiments.py [--runs 2000] [--users 10000] [--only "false alarms" …]

Every run is watched after every user. A method keeps its promise if it alarms in at most alpha of the runs
in which the versions do not differ, plus two standard errors of a simulation of so many runs.

Shape suffixes: R runs, T users in the order they came.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from record import Row, print_table, read_rows, write_record
from scipy.special import ndtri

from millwright.experiment.adjustment import running_mean
from millwright.experiment.analysis import Effect
from millwright.experiment.confidence_sequences import asymptotic, betting_interval, empirical_bernstein
from millwright.experiment.eprocess import betting, two_proportions
from millwright.experiment.rollout import LEAST_SHIFT
from millwright.experiment.sample_ratio import ALPHA as RATIO_ALPHA
from millwright.experiment.sample_ratio import is_mismatched, mismatch_evidence
from millwright.experiment.scores import effect_scores
from millwright.experiment.thompson import thompson_shares

NAME = "experiments"
ALPHA, POWER = 0.05, 0.8
CHUNK = 50  # runs side by side, so that their arrays stay within the processor's caches
COLUMNS = ("part", "method", "setting", "alarmed", "allowed", "median_users", "fixed_users", "times_fixed")
ONCE, RATIO = "z-test, once at the end", "sequential ratio test"
REVIEW, OPEN = 500, 100  # users between reviews, and how many of the last ones have an open window
FIRST_SHARES = (0.1, 0.5)  # of the challenger, a review each, before Thompson sampling

Alarm = Callable[[np.ndarray, np.ndarray, float | np.ndarray], np.ndarray]


def by_betting(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Ours: a bet on better and a bet on harm, half of alpha each."""
    scores = effect_scores(outcome_RT, arm_RT, np.array(share), running_mean(outcome_RT))
    better_RT = betting(scores)
    harm_RT = betting(-scores)
    return np.maximum(better_RT, harm_RT) >= np.log(2 / ALPHA)


def by_two_proportions(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Ours: the two arms' smoothed rates against one rate."""
    return two_proportions(outcome_RT, arm_RT, np.array(share)) >= np.log(1 / ALPHA)


def by_bernstein(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Ours: the closed form."""
    scores = effect_scores(outcome_RT, arm_RT, np.array(share), running_mean(outcome_RT))
    low_RT, high_RT = empirical_bernstein(scores, ALPHA)
    return (low_RT > 0) | (high_RT < 0)


def by_asymptotic(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Ours, for the eye only: from 100 users an arm on."""
    scores = effect_scores(outcome_RT, arm_RT, np.array(share), running_mean(outcome_RT))
    low_RT, high_RT = asymptotic(scores, arm_RT, ALPHA)
    return (low_RT > 0) | (high_RT < 0)


def by_growthbook(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """The half-width that GrowthBook documents for sequential testing, tuned at its default of 5,000."""
    difference_RT, error_RT, users_T = _two_samples(outcome_RT, arm_RT)
    squared = (-2 * np.log(ALPHA) + np.log(-2 * np.log(ALPHA) + 1)) / 5_000
    known_T = users_T * squared + 1
    half_RT = (
        error_RT
        * np.sqrt(users_T)
        * np.sqrt(2 * known_T / (users_T**2 * squared) * np.log(np.sqrt(known_T) / ALPHA))
    )
    return np.abs(difference_RT) > half_RT


def by_peeking(outcome_RT: np.ndarray, arm_RT: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """The z-test of two proportions, looked at after each user from 100 on, as people do."""
    difference_RT, error_RT, users_T = _two_samples(outcome_RT, arm_RT)
    return (np.abs(difference_RT) > -ndtri(ALPHA / 2) * error_RT) & (users_T >= 100)


METHODS: dict[str, Alarm] = {
    "betting (decides)": by_betting,
    "two proportions": by_two_proportions,
    "empirical Bernstein": by_bernstein,
    "asymptotic": by_asymptotic,
    "GrowthBook's formula": by_growthbook,
    "z-test, peeked": by_peeking,
}


def main() -> None:
    """Simulate, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000, help="runs without a difference")
    parser.add_argument("--users", type=int, default=10_000, help="users of each of these")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="the rest stays")
    given = parser.parse_args()
    kept, rows = read_rows(NAME), list[Row]()
    for name, part in PARTS.items():
        if name not in given.only:
            rows += [row for row in kept if row["part"] == name]
            continue
        made = list(part(given.runs, given.users))
        print_table(made, COLUMNS)
        rows += made
    write_record(NAME, rows)


def false_alarms(runs: int, users: int) -> Iterator[Row]:
    """How often each method ever alarms although the versions do not differ."""
    for rate, share in ((0.1, 0.5), (0.5, 0.5), (0.1, 0.1)):
        alarmed = {name: 0 for name in METHODS}
        for arm_RT, outcome_RT in _chunks(runs, users, (rate, rate), share):
            for name, method in METHODS.items():
                alarmed[name] += int(method(outcome_RT, arm_RT, share).any(axis=1).sum())
        for name, count in alarmed.items():
            yield _false_alarm_row(
                "false alarms", name, f"{rate:.0%} either way, share {share:.0%}", count, runs
            )


def decisions(runs: int, users: int) -> Iterator[Row]:
    """How many users until each method that keeps its promise decides, against the fixed sample."""
    del users
    for first, second in ((0.1, 0.13), (0.1, 0.12), (0.1, 0.2), (0.5, 0.55), (0.5, 0.6), (0.8, 0.85)):
        fixed = _fixed_users(first, second)
        most, few = int(6 * fixed), max(200, runs // 5)
        found: dict[str, list[np.ndarray]] = {name: [] for name in METHODS if name != "z-test, peeked"}
        for arm_RT, outcome_RT in _chunks(few, most, (first, second), 0.5):
            for name, times in found.items():
                alarm_RT = METHODS[name](outcome_RT, arm_RT, 0.5)
                times.append(np.where(alarm_RT.any(axis=1), alarm_RT.argmax(axis=1) + 1, np.inf))
        for name, times in found.items():
            time_R = np.concatenate(times)
            yield {
                "part": "users to a decision",
                "method": name,
                "setting": f"{first:.0%} against {second:.0%}",
                "runs": few,
                "median_users": float(np.median(time_R)) if np.isfinite(np.median(time_R)) else None,
                "fixed_users": fixed,
                "times_fixed": float(np.median(time_R)) / fixed if np.isfinite(np.median(time_R)) else None,
                "decided": float(np.isfinite(time_R).mean()),
            }


def wrong_ratios(runs: int, users: int) -> Iterator[Row]:
    """Whether the ratio test leaves a true assignment alone, and how soon it finds a broken one."""
    for lost in (0.0, 0.05, 0.1):  # of the challenger's users, as when its page fails to load
        kept = 0.5 * (1 - lost) / (1 - 0.5 * lost)
        rng, times = np.random.default_rng(11), []
        for _ in range(0, runs, CHUNK):
            arm_RT = rng.random((CHUNK, users)) < kept
            alarm_RT = mismatch_evidence(arm_RT.cumsum(axis=1), np.arange(1, users + 1), 0.5) >= -np.log(
                RATIO_ALPHA
            )
            times.append(np.where(alarm_RT.any(axis=1), alarm_RT.argmax(axis=1) + 1, np.inf))
        time_R = np.concatenate(times)
        count, setting = int(np.isfinite(time_R).sum()), f"{lost:.0%} of the challenger's users lost"
        if not lost:
            yield _false_alarm_row("sample ratio", RATIO, setting, count, len(time_R), RATIO_ALPHA)
            continue
        yield {
            "part": "sample ratio", "method": RATIO, "setting": setting,
            "runs": len(time_R),
            "alarmed": count / len(time_R),
            "median_users": float(np.median(time_R)) if np.isfinite(np.median(time_R)) else None,
        }  # fmt: skip


def delays(runs: int, users: int) -> Iterator[Row]:
    """Versions that do not differ, but the challenger's failures become known later than its successes."""
    runs, users, window, share = max(50, runs // 4), min(users, 4_000), 500, 0.5
    for name in ("what is known by now", "a fixed window"):
        count = 0
        for arm_RT, outcome_RT in _chunks(runs, users, (0.3, 0.3), share, seed=12):
            rng = np.random.default_rng(int(outcome_RT.sum()))
            slow_RT = np.where(arm_RT & (outcome_RT == 0), 400, 50)
            known_at_RT = np.arange(users) + rng.integers(0, slow_RT)  # all within the window
            ever = np.zeros(len(arm_RT), dtype=bool)
            for now in range(window, users, 50):
                for run in range(len(arm_RT)):
                    if ever[run]:
                        continue
                    if name == "a fixed window":
                        seen_T = np.arange(users) + window <= now
                    else:
                        seen_T = known_at_RT[run] <= now
                    ever[run] = by_betting(outcome_RT[run, seen_T][None], arm_RT[run, seen_T][None], share)[
                        0, -1:
                    ].any()
            count += int(ever.sum())
        yield _false_alarm_row("delayed outcomes", name, "failures known later, no difference", count, runs)


def silences(runs: int, users: int) -> Iterator[Row]:
    """Versions that do not differ, but the challenger's users volunteer complaints more readily."""
    users = min(users, 4_000)
    for name in ("who volunteers", "a random panel that is asked"):
        count = 0
        for arm_RT, outcome_RT in _chunks(runs, users, (0.7, 0.7), 0.5, seed=13):
            rng = np.random.default_rng(int(outcome_RT.sum()))
            talks_RT = np.where(outcome_RT == 1, 0.2, np.where(arm_RT, 0.5, 0.3))
            heard_RT = rng.random(arm_RT.shape) < (talks_RT if name == "who volunteers" else 0.25)
            for run in range(len(arm_RT)):
                heard_T = heard_RT[run]
                count += by_betting(outcome_RT[run, heard_T][None], arm_RT[run, heard_T][None], 0.5).any()
        yield _false_alarm_row("missing outcomes", name, "complaints differ, answers don't", int(count), runs)


def adaptive(runs: int, users: int) -> Iterator[Row]:
    """Shares that follow what was seen: two canary steps, then Thompson sampling by the product's own rule.

    Every review draws new shares from the outcomes whose window has closed.
    """
    for rates in ((0.1, 0.1), (0.5, 0.5), (0.1, 0.13)):
        names = [*METHODS, ONCE, RATIO]
        found = dict.fromkeys(names, 0)
        for outcome_RT, arm_RT, share_RT in _thompson_chunks(runs, users, rates):
            for name, method in METHODS.items():
                found[name] += int(method(outcome_RT, arm_RT, share_RT).any(axis=1).sum())
            difference_RT, error_RT, _ = _two_samples(outcome_RT, arm_RT)
            found[ONCE] += int((np.abs(difference_RT) > -ndtri(ALPHA / 2) * error_RT)[:, -1].sum())
            found[RATIO] += sum(map(is_mismatched, arm_RT, share_RT))
        for name in names:
            setting = f"{rates[0]:.0%} against {rates[1]:.0%}, Thompson sampling"
            alpha = RATIO_ALPHA if name == RATIO else ALPHA
            row = _false_alarm_row("shares that follow outcomes", name, setting, found[name], runs, alpha)
            if rates[0] != rates[1] and name != RATIO:  # then an alarm is right
                del row["allowed"], row["kept"]
            yield row


def _thompson_chunks(
    runs: int, users: int, rates: tuple[float, float]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Outcomes, arms and the share in force for each user, of some runs at once."""
    rng = np.random.default_rng([14, int(1000 * rates[0]), int(1000 * rates[1])])
    for start in range(0, runs, CHUNK):
        shape = (min(CHUNK, runs - start), users)
        place_RT, luck_RT = rng.random(shape), rng.random(shape)
        arm_RT, outcome_RT, share_RT = np.zeros(shape, dtype=bool), np.zeros(shape), np.zeros(shape)
        share_R = np.full(shape[0], FIRST_SHARES[0])
        for number, begin in enumerate(range(0, users, REVIEW)):
            if number < len(FIRST_SHARES):
                share_R[:] = FIRST_SHARES[number]
            else:
                known = slice(0, begin - OPEN)
                runs_so_far = zip(outcome_RT[:, known], arm_RT[:, known], share_R, strict=True)
                share_R = np.array([_drawn(*run) for run in runs_so_far])
            now = slice(begin, begin + REVIEW)
            share_RT[:, now] = share_R[:, None]
            arm_RT[:, now] = place_RT[:, now] < share_R[:, None]
            outcome_RT[:, now] = luck_RT[:, now] < np.where(arm_RT[:, now], rates[1], rates[0])
        yield outcome_RT, arm_RT, share_RT


def _drawn(outcome_T: np.ndarray, arm_T: np.ndarray, share: float) -> float:
    """The challenger's next share, as a review of an experiment draws it; a small change is none."""
    first, second = float(outcome_T[~arm_T].mean()), float(outcome_T[arm_T].mean())
    users, challengers = len(arm_T), int(arm_T.sum())
    seen = Effect("accepted", "v2", first, second, -1.0, 1.0, ALPHA, 1.0, users, challengers)
    drawn = thompson_shares([seen], ["v2"], 1)["v2"]
    return drawn if abs(drawn - share) >= LEAST_SHIFT else share


def speed(runs: int, users: int) -> Iterator[Row]:
    """Seconds that one look at a large experiment takes."""
    del runs, users
    for arm_RT, outcome_RT in _chunks(1, 100_000, (0.3, 0.31), 0.5):
        start = time.perf_counter()
        scores = effect_scores(outcome_RT[0], arm_RT[0], np.array(0.5), running_mean(outcome_RT[0]))
        betting_interval(scores, ALPHA)
        yield {"part": "speed", "method": "betting (decides)", "setting": "an interval of 100,000 users",
               "seconds": time.perf_counter() - start}  # fmt: skip


def _false_alarm_row(
    part: str, method: str, setting: str, count: int, runs: int, alpha: float = ALPHA
) -> Row:
    allowed = alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5
    return {
        "part": part, "method": method, "setting": setting, "runs": runs, "alarmed": count / runs,
        "allowed": allowed, "kept": count / runs <= allowed,
    }  # fmt: skip


def _chunks(
    runs: int, users: int, rates: tuple[float, float], share: float, seed: int = 10
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng([seed, int(1000 * rates[0]), int(1000 * rates[1])])
    for start in range(0, runs, CHUNK):
        arm_RT = rng.random((min(CHUNK, runs - start), users)) < share
        yield arm_RT, (rng.random(arm_RT.shape) < np.where(arm_RT, rates[1], rates[0])).astype(float)


def _two_samples(outcome_RT: np.ndarray, arm_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference of the arms' rates so far, its standard error (infinite where an arm is empty), users."""
    users_T = np.arange(1, outcome_RT.shape[1] + 1).astype(float)
    count_RT = arm_RT.cumsum(axis=1)
    won_RT, all_RT = (outcome_RT * arm_RT).cumsum(axis=1), outcome_RT.cumsum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        first_RT, second_RT = won_RT / count_RT, (all_RT - won_RT) / (users_T - count_RT)
        error_RT = np.sqrt(
            first_RT * (1 - first_RT) / count_RT + second_RT * (1 - second_RT) / (users_T - count_RT)
        )
    error_RT[~np.isfinite(error_RT) | (error_RT == 0)] = (
        np.inf
    )  # GrowthBook, too, says nothing without variance
    return np.nan_to_num(first_RT - second_RT), error_RT, users_T


def _fixed_users(first: float, second: float) -> float:
    """Users of both arms together that the two-sided z-test needs for a power of 80 %."""
    pooled, quantiles = (first + second) / 2, (-ndtri(ALPHA / 2), ndtri(POWER))
    spread = quantiles[0] * (2 * pooled * (1 - pooled)) ** 0.5
    spread += quantiles[1] * (first * (1 - first) + second * (1 - second)) ** 0.5
    return float(2 * (spread / (second - first)) ** 2)


PARTS: dict[str, Callable[[int, int], Iterator[Row]]] = {
    "false alarms": false_alarms,
    "users to a decision": decisions,
    "sample ratio": wrong_ratios,
    "delayed outcomes": delays,
    "missing outcomes": silences,
    "shares that follow outcomes": adaptive,
    "speed": speed,
}


if __name__ == "__main__":
    main()
