from collections import Counter

import numpy as np
import pytest

from millwright.data.split import held_out, most_even_seed, split_of, unit_of


def test_units_are_uniform():
    units = np.array([unit_of(f"person {n}", seed=0) for n in range(20_000)])
    assert units.min() >= 0
    assert units.max() < 1
    # Kolmogorov-Smirnov: the largest gap exceeds 1.63 / sqrt(N) with probability 1 %; 2.2 with 1 in 8,000.
    gap = np.abs(np.sort(units) - np.arange(1, 20_001) / 20_000).max()
    assert gap < 2.2 / 20_000**0.5


def test_another_seed_draws_independently():
    one = np.array([unit_of(f"g{n}", 0) for n in range(10_000)])
    other = np.array([unit_of(f"g{n}", 1) for n in range(10_000)])
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 10_000**0.5


def test_the_hash_never_changes_since_projects_rely_on_it():
    assert [round(unit_of(name, 3), 6) for name in ("", "g:anna")] == [0.911485, 0.849489]


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.15), (0.5, 0.5), (0.02, 0.0)])
def test_splits_get_their_shares(validation, test):
    count = 20_000
    found = Counter(split_of(f"g{n}", 5, validation, test) for n in range(count))
    for split, share in [("validation", validation), ("test", test), ("train", 1 - validation - test)]:
        assert found[split] / count == pytest.approx(
            share, abs=4 * (share * (1 - share) / count) ** 0.5 + 1e-9
        )


def test_growing_the_test_share_moves_no_group_out_of_the_test():
    for number in range(2_000):
        if split_of(f"g{number}", 0, 0.1, 0.1) == "test":
            assert split_of(f"g{number}", 0, 0.1, 0.2) == "test"


def test_held_out_is_whatever_does_not_train():
    names = [f"g{n}" for n in range(500)]
    held = [name for name in names if held_out(name, 0, 0.1, 0.15)]
    assert held == [name for name in names if split_of(name, 0, 0.1, 0.15) != "train"]
    assert 0 < len(held) < len(names)


def unevenness(seed, groups, labels, validation, test):
    """Labels absent from training, then chi-squared distance from the expected rows: by counting."""
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    count = Counter(
        (label, split_of(group, seed, validation, test)) for group, label in zip(groups, labels, strict=True)
    )
    absent = sum(count[label, "train"] == 0 for label in set(labels))
    distance = sum(
        (count[label, split] - rows * share) ** 2 / (rows * share)
        for label, rows in Counter(labels).items()
        for split, share in shares.items()
    )
    return absent, distance


def test_the_chosen_seed_is_the_most_even_of_the_first_sixty_four():
    rng = np.random.default_rng(0)
    groups = [f"g{n}" for n in rng.integers(0, 80, 200)]
    labels = [f"label {n}" for n in rng.integers(0, 6, 200)]
    chosen = most_even_seed(groups, labels, 0.1, 0.2)
    best = min(range(64), key=lambda seed: unevenness(seed, groups, labels, 0.1, 0.2))
    assert chosen == best


def test_rare_labels_train_where_a_seed_allows():
    groups = [f"g{n}" for n in range(40)]
    labels = ["rare 1", "rare 2", "rare 3"] + ["common"] * 37
    seed = most_even_seed(groups, labels, 0.3, 0.4)
    assert {split_of(group, seed, 0.3, 0.4) for group in groups[:3]} == {"train"}


def test_a_seed_is_chosen_without_a_test_share():
    assert 0 <= most_even_seed(["a", "b", "c"], ["x", "y", "x"], 0.1, 0) < 64
