"""Multinomial logistic regression, solved from zero by L-BFGS in the features' own eigenbasis.

In that basis the curvature of the loss is nearly a known diagonal, which takes the place of L-BFGS's first
guess: some 30 passes over the rows where the plain method needs hundreds. Rows are taken in blocks of fixed
size, each block's products by one thread, and summed in the blocks' order, so that the same rows in the same
order give the same bytes whatever number of threads there is.

Shape suffixes: N rows, D features, C labels. Source: Nocedal and Wright 2006, algorithm 7.4.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from millwright.machine import cores

ROWS_A_BLOCK = 2_048
WHITENING = 0.25  # the penalty on a direction grows with its variance to this power
REMEMBERED = 10
MOST_STEPS = 300
MOST_HALVINGS = 20


@dataclass(frozen=True)
class Basis:
    """Centred features in blocks, turned so that their covariance is diagonal: `spectrum_D`."""

    blocks: tuple[Tensor, ...]
    mean_D: Tensor
    rotation_DD: Tensor
    spectrum_D: Tensor
    rows: int


@dataclass(frozen=True)
class Solution:
    """Weights [C, D] and bias [C] for the features as they came, and where a next solve may start."""

    weight_CD: np.ndarray
    bias_C: np.ndarray
    loss: float
    passes: int
    coordinates_EC: Tensor  # E = D + 1: the last row is the bias


@contextmanager
def one_thread_each(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that multiply alone, as the caller does until the end; None takes all cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        number = threads or cores()
        with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def eigenbasis(feature_ND: np.ndarray, pool: ThreadPoolExecutor) -> Basis:
    """Centre features and turn them into their eigenbasis; the work that all solves share.

    Args:
        feature_ND: features in canonical order of rows.
        pool: from `one_thread_each`.

    Returns:
        The basis, in float32.
    """
    parts = torch.split(torch.from_numpy(np.ascontiguousarray(feature_ND, np.float32)), ROWS_A_BLOCK)
    rows = len(feature_ND)
    mean_D = _total(pool.map(lambda part: part.double().sum(0), parts)) / rows
    centred = list(pool.map(lambda part: part - mean_D.float(), parts))
    gram_DD = _total(pool.map(lambda part: (part.T @ part).double(), centred)) / rows
    spectrum_D, rotation_DD = torch.linalg.eigh(gram_DD)
    rotation = rotation_DD.float()
    turned = tuple(pool.map(lambda part: part @ rotation, centred))
    return Basis(turned, mean_D.float(), rotation, spectrum_D.clamp(min=0).float(), rows)


def coordinates_of(weight_CD: np.ndarray, bias_C: np.ndarray, basis: Basis) -> Tensor:
    """Where weights [C, D] and a bias [C] for the features as they came stand in a basis [D + 1, C]."""
    weight_DC = torch.from_numpy(weight_CD).T
    bias = torch.from_numpy(bias_C) + basis.mean_D @ weight_DC
    return torch.cat([basis.rotation_DD.T @ weight_DC, bias[None]])


def solve(
    basis: Basis,
    truth_N: np.ndarray,
    labels: int,
    strength: float,
    pool: ThreadPoolExecutor,
    *,
    tolerance: float = 1e-6,
    start_EC: Tensor | None = None,
) -> Solution:
    """Minimise log loss plus the penalty sum_d (s_d / mean s)^WHITENING |w_d|^2 / (2 strength).

    d runs over the directions of the basis and s_d is the variance along one; log loss is the sum over
    rows. The bias bears no penalty.

    Args:
        basis: of the rows' features.
        truth_N: label numbers in the same order, each below `labels`.
        labels: how many labels there are, C.
        strength: inverse of the penalty, over 0.
        pool: from `one_thread_each`.
        tolerance: stops when two steps together lower the mean loss by less than this.
        start_EC: coordinates in this basis to start from; None starts from zero.

    Returns:
        The solution.
    """
    relative_D = (basis.spectrum_D / basis.spectrum_D.mean().clamp(min=1e-12)).clamp(min=1e-6)
    penalty_D = relative_D**WHITENING / (strength * basis.rows)
    scale_D = (basis.spectrum_D / labels + penalty_D).rsqrt()
    truths = torch.split(torch.from_numpy(np.ascontiguousarray(truth_N, np.int64)), ROWS_A_BLOCK)
    one_hot = [torch.nn.functional.one_hot(truth, labels).float() for truth in truths]
    scale_E1 = torch.cat([scale_D, scale_D.new_full((1,), labels**0.5)]).unsqueeze(1)
    penalty_E1 = torch.cat([penalty_D, penalty_D.new_zeros(1)]).unsqueeze(1)

    def objective(scaled_EC: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient at scaled coordinates, summed over the blocks in their order."""
        weight_EC = scaled_EC * scale_E1

        def part(block: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            """Loss and gradient of one block."""
            log_p = torch.addmm(weight_EC[-1], block, weight_EC[:-1]).log_softmax(1)
            residual = log_p.exp() - target
            slope = torch.cat([(residual.T @ block).T, residual.sum(0, keepdim=True)])
            return -(log_p * target).sum(dtype=torch.float64), slope

        parts = list(pool.map(part, basis.blocks, one_hot))
        penalised = penalty_E1 * weight_EC
        loss = _total(loss for loss, _ in parts) / basis.rows
        loss = loss + 0.5 * (penalised * weight_EC).sum(dtype=torch.float64)
        gradient = _total(slope for _, slope in parts) / basis.rows + penalised
        return float(loss), gradient * scale_E1

    at = torch.zeros(len(scale_E1), labels) if start_EC is None else start_EC / scale_E1
    at, loss, passes = _minimise(objective, at, tolerance)
    coordinates = at * scale_E1
    weight_DC = basis.rotation_DD @ coordinates[:-1]
    bias_C = coordinates[-1] - basis.mean_D @ weight_DC
    return Solution(weight_DC.T.contiguous().numpy(), bias_C.numpy(), loss, passes, coordinates)


def _total(parts: Iterator[Tensor]) -> Tensor:
    """Sum in the order given."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _minimise(
    objective: Callable[[Tensor], tuple[float, Tensor]], at: Tensor, tolerance: float
) -> tuple[Tensor, float, int]:
    """L-BFGS with backtracking; the point, its value, and how often the objective was asked."""
    value, gradient = objective(at)
    steps: list[tuple[Tensor, Tensor, float]] = []
    values, passes = [value], 1
    while len(values) <= MOST_STEPS:
        direction = _direction(gradient, steps)
        slope, length = float((gradient * direction).sum(dtype=torch.float64)), 1.0
        for _ in range(MOST_HALVINGS):
            moved = at + length * direction
            new_value, new_gradient = objective(moved)
            passes += 1
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break  # float32 can tell no lower point from this one
        change, bend = moved - at, new_gradient - gradient
        curvature = float((change * bend).sum(dtype=torch.float64))
        if curvature > 0:
            steps = [*steps[1 - REMEMBERED :], (change, bend, curvature)]
        at, value, gradient = moved, new_value, new_gradient
        values.append(value)
        if len(values) > 2 and values[-3] - value < tolerance:
            break
    return at, value, passes


def _direction(gradient: Tensor, steps: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    direction, weights = -gradient, []
    for change, bend, curvature in reversed(steps):
        weight = float((change * direction).sum(dtype=torch.float64)) / curvature
        direction = direction - weight * bend
        weights.append(weight)
    if steps:
        _, bend, curvature = steps[-1]
        direction = direction * (curvature / float((bend * bend).sum(dtype=torch.float64)))
    for (change, bend, curvature), weight in zip(steps, reversed(weights), strict=True):
        back = float((bend * direction).sum(dtype=torch.float64)) / curvature
        direction = direction + (weight - back) * change
    return direction
