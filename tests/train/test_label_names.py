"""Labels' names as teachers: they may where they say what rows are about, and only there."""

import numpy as np
import pytest

from millwright.train.label_names import may_teach, words_of

LABELS, WIDTH = 8, 16


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_arrival", "card arrival"),
        ("cardArrival", "card arrival"),
        ("Card Arrival?", "card arrival"),
        ("get-physical-card", "get physical card"),
        ("ATM", "atm"),
        ("转账", "转账"),
        ("3", "3"),
        ("***", "***"),
    ],
)
def test_a_name_becomes_words(label, words):
    assert words_of(label) == words


def rows(of_label_N: np.ndarray, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A direction a label, and rows around the directions of their labels."""
    chance = np.random.default_rng(0)
    direction_CD = np.eye(LABELS, WIDTH, dtype=np.float32)
    feature_ND = direction_CD[of_label_N] + noise * chance.normal(size=(len(of_label_N), WIDTH))
    return direction_CD, feature_ND.astype(np.float32)


def test_names_that_lie_among_their_rows_may_teach():
    truth_N = np.arange(40) % LABELS
    name_CD, feature_ND = rows(truth_N)
    assert may_teach(name_CD, feature_ND, truth_N)


def test_names_of_other_labels_may_not():
    truth_N = np.arange(40) % LABELS
    name_CD, feature_ND = rows(truth_N)
    assert not may_teach(np.roll(name_CD, 1, axis=0), feature_ND, truth_N)


def test_names_that_say_nothing_may_teach_no_more_often_than_the_test_errs():
    truth_N, chance = np.arange(40) % LABELS, np.random.default_rng(1)
    _, feature_ND = rows(truth_N)
    allowed = [
        may_teach(chance.normal(size=(LABELS, WIDTH)).astype(np.float32), feature_ND, truth_N)
        for _ in range(100)
    ]
    # Rows of a label move together, so the test errs more often than its 1 %; it must stay rare.
    assert np.mean(allowed) <= 0.15


def test_the_commonest_label_is_what_names_must_beat():
    truth_N = np.array([0] * 36 + [1, 2, 3, 4])
    name_CD, feature_ND = rows(np.zeros(40, np.int64))  # every row lies at the first name
    assert not may_teach(name_CD, feature_ND, truth_N)


def test_where_every_row_has_one_label_there_is_nothing_to_beat():
    name_CD, feature_ND = rows(np.zeros(5, np.int64))
    assert not may_teach(name_CD, feature_ND, np.zeros(5, np.int64))
