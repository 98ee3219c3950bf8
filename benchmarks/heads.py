"""What lifts a frozen head, and what does not. `python benchmarks/heads.py`

Cross-validation on training rows of six datasets; no test row is read. A head of each fold chooses its
strength on a tenth of the fold's own rows, as training does, and each way to make a head is compared with
another one on the same rows: pools of states with one more of them, everything else with the head as it is
trained. Each pool has length one, so more of them are longer together, which weakens the penalty: the
controls are the last state given twice, and two states with the last once more, of the same length and
without anything new.

    python benchmarks/heads.py --only Banking77     one dataset; the rest of the record stays

Shape suffixes: N rows, D features, C labels, F random features.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from labelled import DATASETS, sample, sentences
from record import Row, print_table, read_rows, write_record
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from transformers.utils.logging import disable_progress_bar

from millwright.experiment.compare import compare_paired
from millwright.settings import MINILM
from millwright.train import solver
from millwright.train.backbones import load_backbone
from millwright.train.calibrate import fit_temperature, softmax
from millwright.train.heads import STRENGTHS, Head, choose_strength, fit_head, log_loss
from millwright.train.states import backbone_precision, cached_features

ALL = {**DATASETS, "MR": lambda: sentences("rt-polarity.all", "latin-1")}
FOLDS = 5
MAX_TOKENS = 128
RANDOM_FEATURES = 1_024
SMOOTHING = 0.1
AS_TRAINED = "as trained"
COLUMNS = ("dataset", "rows", "labels", "head", "accuracy", "against", "gain", "low", "high", "p", "seconds")

Fit = Callable[[np.ndarray, np.ndarray, int, float], Head]


@dataclass(frozen=True)
class Way:
    """A way to make a head: what it is compared with, of which features, solved how."""

    name: str
    against: tuple[str, ...]
    features: Callable[[np.ndarray, int], np.ndarray] = lambda three_ND, _: three_ND
    whitening: float = solver.WHITENING
    fit: Fit | None = None  # the trained one


def last(three_ND: np.ndarray, hidden: int) -> np.ndarray:
    """The mean of the last state alone."""
    return three_ND[:, -hidden:]


def two(three_ND: np.ndarray, hidden: int) -> np.ndarray:
    """The last state and the one two layers below."""
    return three_ND[:, hidden:]


def with_random(three_ND: np.ndarray, _: int) -> np.ndarray:
    """Random Fourier features of a Gaussian kernel beside the three pools (Rahimi and Recht 2007).

    The kernel's width is the median distance of rows; a random feature has the pools' length altogether.
    """
    chance = np.random.default_rng(0)
    some_ND = three_ND[chance.permutation(len(three_ND))[:500]]
    width = np.median(
        np.linalg.norm(some_ND[:, None] - some_ND[None], axis=2)[np.triu_indices(len(some_ND), 1)]
    )
    direction_DF = chance.standard_normal((three_ND.shape[1], RANDOM_FEATURES)) / width
    phase_F = chance.uniform(0, 2 * np.pi, RANDOM_FEATURES)
    wave_NF = np.sqrt(2 / RANDOM_FEATURES) * np.cos(three_ND @ direction_DF + phase_F)
    return np.hstack([three_ND, wave_NF]).astype(np.float32)


def by_scikit_learn(feature_ND: np.ndarray, truth_N: np.ndarray, labels: int, strength: float) -> Head:
    """scikit-learn's logistic regression, whose penalty is the same in every direction."""
    fitted = LogisticRegression(C=strength, max_iter=1_000).fit(feature_ND, truth_N)
    weight_CD, bias_C = fitted.coef_, fitted.intercept_
    if labels == 2:
        weight_CD, bias_C = np.vstack([-weight_CD, weight_CD]) / 2, np.hstack([-bias_C, bias_C]) / 2
    return weight_CD.astype(np.float32), bias_C.astype(np.float32)


def smoothed(feature_ND: np.ndarray, truth_N: np.ndarray, labels: int, strength: float) -> Head:
    """The trained head's loss with a tenth of each target spread over all labels."""
    with solver.one_thread_each() as pool:
        basis = solver.eigenbasis(feature_ND, pool)
    turned_ND = torch.cat(basis.blocks)
    target_NC = torch.nn.functional.one_hot(torch.from_numpy(truth_N).long(), labels).float()
    target_NC = target_NC * (1 - SMOOTHING) + SMOOTHING / labels
    relative_D = (basis.spectrum_D / basis.spectrum_D.mean()).clamp(min=1e-6)
    penalty_D1 = (relative_D**solver.WHITENING / (strength * basis.rows))[:, None]
    scale_D1 = (basis.spectrum_D / labels + penalty_D1[:, 0]).rsqrt()[:, None]
    weight_DC = torch.zeros(len(relative_D), labels, requires_grad=True)
    bias_C = torch.zeros(labels, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight_DC, bias_C], max_iter=200, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        """Mean loss and penalty, with their gradient."""
        optimizer.zero_grad()
        scaled_DC = weight_DC * scale_D1
        log_p = (turned_ND @ scaled_DC + bias_C).log_softmax(1)
        value = -(target_NC * log_p).sum(1).mean() + 0.5 * (penalty_D1 * scaled_DC**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    weight = basis.rotation_DD @ (weight_DC * scale_D1).detach()
    return weight.T.numpy(), (bias_C.detach() - basis.mean_D @ weight).numpy()


WAYS = (
    Way("last state", (), last),
    Way("last state twice", (), lambda three_ND, hidden: np.hstack([last(three_ND, hidden)] * 2)),
    Way("two states", ("last state", "last state twice"), two),
    Way(
        "two states, the last again",
        (),
        lambda three_ND, hidden: np.hstack([two(three_ND, hidden), last(three_ND, hidden)]),
    ),
    Way(AS_TRAINED, ("two states", "two states, the last again")),
    Way("penalty alike in all directions", (AS_TRAINED,), whitening=0.0),
    Way("penalty by variance to the power 0.5", (AS_TRAINED,), whitening=0.5),
    Way("random features beside", (AS_TRAINED,), with_random),
    Way("label smoothing 0.1", (AS_TRAINED,), fit=smoothed),
    Way("scikit-learn's solver", (AS_TRAINED,), fit=by_scikit_learn),
)


@contextmanager
def penalty_by(whitening: float) -> Iterator[None]:
    """Let the solver's penalty grow with another power of the variance."""
    before, solver.WHITENING = solver.WHITENING, whitening
    try:
        yield
    finally:
        solver.WHITENING = before


def chosen(parts: list[tuple[np.ndarray, np.ndarray]], labels: int, fit: Fit | None) -> float:
    """The strength with the least loss on the second part after a temperature, as training chooses."""
    if fit is None:
        return choose_strength(parts[0], parts[1], labels)[0]
    losses = []
    for strength in STRENGTHS:
        weight_CD, bias_C = fit(*parts[0], labels, strength)
        logit_NC = parts[1][0] @ weight_CD.T + bias_C
        losses.append(log_loss(softmax(logit_NC, fit_temperature(logit_NC, parts[1][1])), parts[1][1]))
        if len(losses) > 1 and losses[-1] > losses[-2]:
            break
    return STRENGTHS[int(np.argmin(losses))]


def right_answers(feature_ND: np.ndarray, truth_N: np.ndarray, way: Way) -> np.ndarray:
    """Which rows a head that did not see them gets right, [N] booleans."""
    right_N = np.zeros(len(truth_N), bool)
    labels = int(truth_N.max()) + 1
    with penalty_by(way.whitening):
        for learn, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(feature_ND, truth_N):
            held = np.arange(len(learn)) % 10 == 0
            parts = [(feature_ND[part], truth_N[part]) for part in (learn[~held], learn[held])]
            strength = chosen(parts, labels, way.fit)
            weight, bias = (way.fit or fit_head)(feature_ND[learn], truth_N[learn], labels, strength)
            right_N[judge] = (feature_ND[judge] @ weight.T + bias).argmax(1) == truth_N[judge]
    return right_N


def measure(name: str) -> Iterator[Row]:
    """A row for each way on one dataset."""
    texts, truth_N, names = sample(ALL[name]())
    backbone = load_backbone(MINILM, MAX_TOKENS)
    with TemporaryDirectory() as folder:
        precision = backbone_precision(backbone)
        three, _ = cached_features(backbone, texts, precision, Path(folder), lambda done: None)
    right: dict[str, np.ndarray] = {}
    for way in WAYS:
        begun = time.process_time()
        feature_ND = way.features(three.numpy(), backbone.hidden)
        right[way.name] = right_answers(feature_ND, truth_N, way)
        row: Row = {
            "dataset": name,
            "rows": len(texts),
            "labels": len(names),
            "head": way.name,
            "accuracy": round(float(right[way.name].mean()), 4),
            "seconds": round(time.process_time() - begun, 1),
        }
        compared = [{**row, **gain(other, right[other], right[way.name])} for other in way.against]
        print_table(compared or [row], COLUMNS)
        yield from compared or [row]


def gain(other: str, before_N: np.ndarray, after_N: np.ndarray) -> Row:
    """Percentage points over another way with their 95 % interval, and p of the exact paired test."""
    found = compare_paired(before_N, after_N)
    points = {key: round(100 * value, 2) for key, value in vars(found.difference).items()}
    figures: Row = {"gain": points["value"], "low": points["low"], "high": points["high"]}
    return {"against": other, **figures, "p": round(found.p_value, 4)}


def main() -> None:
    """Measure what was asked for, and write the record; what was not asked for stays."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ALL), default=list(ALL))
    only = parser.parse_args().only
    disable_progress_bar()
    rows = read_rows("heads")
    for name in only:
        rows = [row for row in rows if row["dataset"] != name] + list(measure(name))
        rows.sort(key=lambda row: list(ALL).index(str(row["dataset"])))
        write_record("heads", rows)
    print_table(rows, COLUMNS)


if __name__ == "__main__":
    main()
