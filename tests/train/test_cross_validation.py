"""Cross-validation of a head: nobody is judged by what taught it, and few rows of a label do no harm."""

import numpy as np
import pytest

from millwright.train.cross_validation import _folds, cross_validate

NOBODY = (np.zeros((0, 8), np.float32), np.zeros(0, np.int64))


def clusters(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 8] around a corner for each of two labels, far apart."""
    chance = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    return (chance.normal(size=(count, 8)) + 10 * truth[:, None]).astype(np.float32), truth


def test_labels_that_can_be_told_are_told():
    feature, truth = clusters(60)
    assert cross_validate(feature, truth, [str(n) for n in range(60)], strength=5.0, also=NOBODY).all()


@pytest.mark.parametrize("copies", [1, 2])
def test_labels_by_chance_are_not_told_even_if_a_group_repeats_its_rows(copies):
    chance = np.random.default_rng(1)
    feature = chance.normal(size=(200, 400)).astype(np.float32)  # so wide that rows are learnt by heart
    truth = chance.integers(0, 2, 200)
    groups = [str(n) for n in range(200)] * copies
    right = cross_validate(
        np.tile(feature, (copies, 1)), np.tile(truth, copies), groups, strength=80.0,
        also=(feature[:0], truth[:0]),
    )  # fmt: skip
    assert right.mean() == pytest.approx(0.5, abs=3.5 * (0.25 / 200) ** 0.5)


def test_names_teach_every_head_and_are_not_judged():
    feature, truth = clusters(10)
    groups = [str(label) for label in truth]  # one fold a label: rows alone could never tell it
    names = (np.stack([np.zeros(8), np.full(8, 10)]).astype(np.float32), np.arange(2))
    alone = cross_validate(feature, truth, groups, strength=5.0, also=NOBODY)
    named = cross_validate(feature, truth, groups, strength=5.0, also=names)
    assert (alone.sum(), named.sum(), len(named)) == (0, 10, 10)


def test_one_group_alone_shows_nothing():
    feature, truth = clusters(10)
    assert not cross_validate(feature, truth, ["all"] * 10, strength=5.0, also=NOBODY).any()


def test_with_as_many_folds_as_rows_a_label_each_head_lacks_one_of_each_in_every_deal():
    labels, rows = 12, 3
    truth, groups = np.arange(labels).repeat(rows), [f"g{number}" for number in range(labels * rows)]
    dealt = [_folds(truth, groups, rows, deal) for deal in range(4)]
    assert all(sorted(fold[truth == label]) == [0, 1, 2] for fold in dealt for label in range(labels))
    assert len({tuple(fold) for fold in dealt}) == 4
