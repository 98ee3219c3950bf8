"""Cross-validation of a head, for where validation rows are too few. Shape: N rows, D features, C labels."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from millwright.train.heads import fit_head

FOLDS = 5


def cross_validate(
    feature_ND: np.ndarray,
    truth_N: np.ndarray,
    group_N: Sequence[str],
    *,
    strength: float,
    also: tuple[np.ndarray, np.ndarray],
    also_group: Sequence[str] = (),
    folds: int = FOLDS,
    deal: int = 0,
) -> np.ndarray:
    """Whether a head that never saw a row's group is right on the row, for each row.

    Args:
        feature_ND: float32 features in canonical order of rows.
        truth_N: label numbers in [0, C).
        group_N: rows of one group are judged by the same head.
        strength: inverse of the penalty, over 0.
        also: features and label numbers that teach every head and are not judged (labels' names, weak rows);
            they may be empty.
        also_group: their groups; those of a group teach no head that judges rows of it. None if empty.
        folds: how many heads there are; with as many as labels have groups, each lacks one of each label.
        deal: groups are dealt out anew for each; 0 deals them by name.

    Returns:
        Booleans [N].
    """
    fold_N, groups_N = _folds(truth_N, group_N, folds, deal), np.asarray(group_N, dtype=object)
    groups_A = np.asarray(also_group or [""] * len(also[1]), dtype=object)
    labels = int(max(truth_N.max(), also[1].max(initial=0))) + 1
    right_N = np.zeros(len(truth_N), dtype=bool)
    for fold in np.unique(fold_N):
        judged_N = fold_N == fold
        if judged_N.all():  # one group alone: nobody is left to teach
            break
        others_A = ~np.isin(groups_A, groups_N[judged_N])
        weight_CD, bias_C = fit_head(
            np.concatenate([feature_ND[~judged_N], also[0][others_A]]),
            np.concatenate([truth_N[~judged_N], also[1][others_A]]),
            labels,
            strength,
        )
        right_N[judged_N] = (feature_ND[judged_N] @ weight_CD.T + bias_C).argmax(1) == truth_N[judged_N]
    return right_N


def _folds(truth_N: np.ndarray, group_N: Sequence[str], folds: int, deal: int) -> np.ndarray:
    """A fold for each row: groups are dealt out label by label, so that each fold has its share of each."""
    label = {group: int(truth) for truth, group in zip(truth_N[::-1], reversed(group_N), strict=True)}
    dealt = sorted(label, key=lambda group: (label[group], _shuffled(group, deal)))
    fold = {group: place % folds for place, group in enumerate(dealt)}
    return np.array([fold[group] for group in group_N])


def _shuffled(group: str, deal: int) -> str:
    return blake2b(f"{deal} {group}".encode(), digest_size=16).hexdigest() if deal else group
