"""What a challenger forgot, against coin tosses and the closure of all subsets, and its false alarms."""

from itertools import combinations, product

import numpy as np
import pytest

from millwright.errors import BadInput
from millwright.experiment.forgetting import forgotten, slices_of
from millwright.experiment.verdict import judge
from millwright.records import Row
from millwright.settings import TurnSection


def stacked(parts):
    """Answers of (both, only_before, only_after) rows a slice, and which rows belong to each slice."""
    before, after, owner = [], [], []
    for name, (both, only_before, only_after) in parts.items():
        before += [True] * (both + only_before) + [False] * only_after
        after += [True] * both + [False] * only_before + [True] * only_after
        owner += [name] * (both + only_before + only_after)
    slices = {name: np.array([own == name for own in owner]) for name in parts}
    return np.array(before), np.array(after), slices


def tossed(only_before, only_after):
    tosses = list(product([0, 1], repeat=only_before + only_after))
    return sum(sum(toss) >= only_before for toss in tosses) / len(tosses)


def test_p_values_are_those_of_coin_tosses_closed_over_all_sets_of_slices():
    parts = {"a": (5, 12, 0), "b": (9, 9, 1), "c": (20, 6, 0), "d": (3, 5, 4), "e": (8, 0, 9)}
    alone = {name: tossed(*counts[1:]) for name, counts in parts.items()}
    closed = {
        name: max(
            min(1.0, len(chosen) * min(alone[one] for one in chosen))
            for size in range(1, len(parts) + 1)
            for chosen in combinations(parts, size)
            if name in chosen
        )
        for name in parts
    }
    found = {loss.name: loss.p_value for loss in forgotten(*stacked(parts), alpha=0.499)}
    expected = {name: p_value for name, p_value in closed.items() if p_value <= 0.499}
    assert sorted(expected) == ["a", "b", "c"]
    assert found == pytest.approx(expected)


def test_the_largest_loss_comes_first_with_its_accuracies():
    first, second = forgotten(
        *stacked({"small": (60, 30, 2), "large": (10, 30, 0), "none": (50, 3, 9)}), 0.05
    )
    assert (first.name, first.rows, first.before, first.after) == ("large", 40, 1.0, 0.25)
    assert (second.name, second.rows, second.size) == ("small", 92, pytest.approx(28 / 92))


def test_any_false_name_at_all_is_no_more_frequent_than_alpha():
    generator, runs = np.random.default_rng(3), 600
    owner = np.arange(600) % 20
    slices = {str(name): owner == name for name in range(20)} | {"half": owner < 10}
    alarms = sum(bool(forgotten(*(generator.random((2, 600)) < 0.6), slices, 0.05)) for _ in range(runs))
    assert alarms / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_slices_too_small_to_show_anything_take_no_power_from_the_others():
    before, after, slices = stacked({"lost": (0, 6, 0), "kept": (40, 0, 0)})
    tiny = {f"tiny {place}": np.arange(46) == place for place in range(40)}
    assert [loss.name for loss in forgotten(before, after, slices | tiny, 0.05)] == ["lost"]


def test_slices_are_labels_and_the_values_of_columns():
    def row(label, **slices):
        return Row("id", "text", label, "test", "file:a.csv:1", "g", None, tuple(slices.items()))

    rows = [row("card", channel="web"), row("pin", channel="web"), row("card", channel="mail"), row("pin")]
    found = {name: np.flatnonzero(flags).tolist() for name, flags in slices_of(rows).items()}
    assert found == {
        "label 'card'": [0, 2],
        "label 'pin'": [1, 3],
        "channel 'mail'": [2],
        "channel 'web'": [0, 1],
    }
    assert list(slices_of(rows[:2])) == ["label 'card'", "label 'pin'"]


def test_a_challenger_that_is_better_on_the_whole_and_forgot_a_label_is_kept_back():
    parts = {"label 'card'": (10, 0, 80), "label 'pin'": (10, 30, 0)}
    found = judge(*stacked(parts), TurnSection())
    assert found.comparison.difference.value == pytest.approx(50 / 130)
    assert not found.promotes
    assert "turn.max_slice_loss = 0.1 is exceeded by label 'pin'" in found.reason
    assert found.reason.endswith("; worse on label 'pin' 100% to 25% of 40 rows, p = 1.9e-09")


@pytest.mark.parametrize(("allowed", "promotes"), [(0.74, False), (0.75, True), (1.0, True)])
def test_how_much_a_slice_may_lose_is_a_setting_and_the_loss_is_named_anyway(allowed, promotes):
    parts = {"label 'card'": (10, 0, 80), "label 'pin'": (10, 30, 0)}
    found = judge(*stacked(parts), TurnSection(max_slice_loss=allowed))
    assert found.promotes is promotes
    assert "worse on label 'pin' 100% to 25%" in found.reason
    assert found.reason.startswith("promoted: " if promotes else "kept the champion: better on the whole, ")


def test_more_than_three_losses_are_counted():
    parts = {f"label '{name}'": (0, 30, 0) for name in "abcde"}
    assert judge(*stacked(parts), TurnSection()).reason.endswith("; and 2 more")


def test_flags_must_be_one_a_row():
    with pytest.raises(BadInput, match="slice 'a' has 2 flags for 3 and 3 answers"):
        forgotten(np.ones(3), np.ones(3), {"a": np.array([True, False])}, 0.05)
