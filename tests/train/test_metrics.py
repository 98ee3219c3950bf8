"""Figures against scikit-learn and formulas, and their intervals against theory."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from millwright.errors import BadInput
from millwright.train.metrics import evaluate

LABELS = ["a", "b", "c", "d"]


def answers(rows=400, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, rows)
    probability = generator.dirichlet(np.ones(4), rows) + 0.6 * np.eye(4)[truth]
    return probability / probability.sum(1, keepdims=True), truth


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_precision_recall_and_f1_are_those_of_scikit_learn(average):
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {})
    expected = reference.precision_recall_fscore_support(truth, probability.argmax(1), average=average)[:3]
    ours = [getattr(found, f"{average}_{name}").value for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected)


def test_accuracy_and_log_loss_are_those_of_scikit_learn():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {})
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(truth, probability.argmax(1)))
    assert found.log_loss.value == pytest.approx(reference.log_loss(truth, probability))


def test_per_class_scores_are_those_of_scikit_learn():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {}).per_class
    expected = reference.precision_recall_fscore_support(truth, probability.argmax(1))
    assert [score.f1 for score in found] == pytest.approx(list(expected[2]))
    assert [score.rows for score in found] == list(expected[3])


def test_the_accuracy_interval_has_the_width_of_the_normal_approximation():
    probability, truth = answers(2000)
    found = evaluate(probability, truth, LABELS, {}).accuracy
    deviation = (found.value * (1 - found.value) / 2000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.12)


def test_probabilities_that_mean_what_they_say_have_no_calibration_error():
    probability = np.tile([0.8, 0.2], (100, 1))
    truth = np.array([0] * 80 + [1] * 20)
    assert evaluate(probability, truth, ["a", "b"], {}).calibration_error.value == pytest.approx(0)


def test_sure_and_wrong_is_a_calibration_error_of_the_confidence():
    probability = np.tile([0.9, 0.1], (10, 1))
    assert evaluate(probability, np.ones(10, int), ["a", "b"], {}).calibration_error.value == pytest.approx(
        0.9
    )


def test_a_label_that_the_model_does_not_know_is_always_wrong():
    probability = np.tile([0.9, 0.1], (4, 1))
    assert evaluate(probability, np.array([0, 0, -1, -1]), ["a", "b"], {}).accuracy.value == 0.5


def test_slices_and_confusions_count_rows():
    probability = np.eye(3)[[0, 1, 1, 2]] * 0.97 + 0.01
    truth = np.array([0, 0, 0, 2])
    found = evaluate(probability, truth, ["a", "b", "c"], {"channel": ["app", "app", "chat", "chat"]})
    assert [(s.value, s.rows, s.accuracy.value) for s in found.slices] == [("app", 2, 0.5), ("chat", 2, 0.5)]
    assert [(c.truth, c.predicted, c.count) for c in found.confused] == [("a", "b", 2)]


def test_no_rows_are_refused():
    with pytest.raises(BadInput, match="at least one"):
        evaluate(np.zeros((0, 2)), np.zeros(0, int), ["a", "b"], {})


@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("seed", range(3))
def test_labels_that_nobody_has_or_names_count_for_nothing(average, seed):
    generator = np.random.default_rng(seed)
    truth = generator.choice([0, 2], 60)
    probability = np.zeros((60, 5))
    probability[np.arange(60), generator.choice([0, 2, 3], 60)] = 1.0
    found = evaluate(probability, truth, ["a", "b", "c", "d", "e"], {})
    expected = reference.precision_recall_fscore_support(
        truth, probability.argmax(1), average=average, zero_division=0
    )[:3]
    ours = [getattr(found, f"{average}_{name}").value for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_a_label_that_the_model_does_not_know_counts_as_one_that_is_never_named(average):
    probability, truth = answers(200)
    unknown = np.where(np.arange(200) % 7 == 0, -1, truth)
    found = evaluate(probability, unknown, LABELS, {})
    expected = reference.precision_recall_fscore_support(
        unknown, probability.argmax(1), average=average, zero_division=0
    )[:3]
    ours = [getattr(found, f"{average}_{name}").value for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected)
    assert sum(score.rows for score in found.per_class) == (unknown >= 0).sum()


def test_precision_recall_and_f1_by_hand():
    # truth a a a b b, said a a b b a: of a 3 said, 2 right, 3 there; of b 2 said, 1 right, 2 there
    probability = np.eye(2)[[0, 0, 1, 1, 0]] * 0.8 + 0.1
    first, second = evaluate(probability, np.array([0, 0, 0, 1, 1]), ["a", "b"], {}).per_class
    assert (first.precision, first.recall, first.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (second.precision, second.recall, second.f1) == pytest.approx((1 / 2, 1 / 2, 1 / 2))


def test_a_label_that_is_never_named_has_no_precision_and_no_f1():
    score = evaluate(np.tile([0.9, 0.1], (4, 1)), np.array([0, 0, 1, 1]), ["a", "b"], {}).per_class[1]
    assert (score.precision, score.recall, score.f1, score.rows) == (0, 0, 0, 2)


def test_log_loss_of_a_sure_mistake_is_bounded():
    probability = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = evaluate(probability, np.array([0, 1]), ["a", "b"], {}).log_loss.value
    assert found == pytest.approx(-np.log(1e-15) / 2)


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_the_calibration_error_by_hand(bins):
    # `bins` groups of ten rows at their own confidence, each right on six of ten
    confidences = [0.55, 0.75, 0.95][:bins]
    probability = np.array([[c, 1 - c] for c in confidences for _ in range(10)])
    truth = np.array(([0] * 6 + [1] * 4) * bins)
    expected = sum(abs(0.6 - c) * 10 for c in confidences) / (10 * bins)
    assert evaluate(probability, truth, ["a", "b"], {}).calibration_error.value == pytest.approx(expected)


def test_the_reliability_table_holds_every_row_once_in_the_bin_of_its_confidence():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {}).reliability
    confidence, right = probability.max(1), probability.argmax(1) == truth
    assert sum(part.rows for part in found) == len(truth)
    for part in found:
        inside = (confidence > part.low) & (confidence <= part.high)
        assert part.rows == inside.sum() > 0
        assert part.confidence == pytest.approx(confidence[inside].mean())
        assert part.accuracy == pytest.approx(right[inside].mean())


def test_the_calibration_error_is_that_of_the_reliability_table():
    probability, truth = answers()
    found = evaluate(probability, truth, LABELS, {})
    expected = sum(part.rows * abs(part.accuracy - part.confidence) for part in found.reliability) / len(
        truth
    )
    assert found.calibration_error.value == pytest.approx(expected)


FIGURES = (
    *("accuracy", "macro_precision", "macro_recall", "macro_f1"),
    *("weighted_precision", "weighted_recall", "weighted_f1", "log_loss"),
)


@pytest.mark.parametrize("name", FIGURES)
def test_each_interval_holds_its_figure(name):
    found = getattr(evaluate(*answers(), LABELS, {}), name)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "log_loss"])
def test_intervals_are_percentiles_of_resampled_rows(name):
    """Against a plain bootstrap that draws rows one by one and asks the second library."""
    probability, truth = answers(150)
    measures = {
        "accuracy": lambda rows: reference.accuracy_score(truth[rows], probability[rows].argmax(1)),
        "macro_f1": lambda rows: reference.f1_score(
            truth[rows], probability[rows].argmax(1), average="macro"
        ),
        "log_loss": lambda rows: reference.log_loss(truth[rows], probability[rows], labels=range(4)),
    }
    generator = np.random.default_rng(1)
    drawn = [measures[name](generator.integers(0, 150, 150)) for _ in range(600)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = getattr(evaluate(probability, truth, LABELS, {}), name)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.2 * width)
    assert found.high == pytest.approx(high, abs=0.2 * width)


def test_four_times_the_rows_make_an_interval_half_as_wide():
    few, many = (evaluate(*answers(rows), LABELS, {}).accuracy for rows in (500, 2000))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.2)


def test_the_same_seed_gives_the_same_intervals_and_another_one_others():
    probability, truth = answers()
    first, second, third = (evaluate(probability, truth, LABELS, {}, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first.accuracy.value == third.accuracy.value
    assert first.accuracy != third.accuracy


def test_a_slice_is_measured_like_its_rows_alone():
    probability, truth = answers(600)
    values = ["app" if row % 3 else "chat" for row in range(600)]
    for part in evaluate(probability, truth, LABELS, {"channel": values}).slices:
        inside = np.array([value == part.value for value in values])
        alone = evaluate(probability[inside], truth[inside], LABELS, {}).accuracy
        assert (part.rows, part.accuracy.value) == (inside.sum(), pytest.approx(alone.value))
        assert part.accuracy.low == pytest.approx(alone.low, abs=0.02)
        assert part.accuracy.high == pytest.approx(alone.high, abs=0.02)


def test_a_slice_of_one_row_is_measured_too():
    probability, truth = answers(50)
    found = evaluate(probability, truth, LABELS, {"channel": ["rare", *["common"] * 49]}).slices
    rare = next(part for part in found if part.value == "rare")
    assert rare.rows == 1
    assert rare.accuracy.low == rare.accuracy.value == rare.accuracy.high


def test_the_most_confused_pairs_come_first_and_right_answers_are_none():
    said = [1] * 5 + [2] * 3 + [0] * 4
    truth = np.array([0] * 8 + [0] * 2 + [1] * 2)
    probability = np.eye(3)[said] * 0.7 + 0.1
    found = evaluate(probability, truth, ["a", "b", "c"], {}).confused
    assert [(pair.truth, pair.predicted, pair.count) for pair in found] == [
        ("a", "b", 5),
        ("a", "c", 3),
        ("b", "a", 2),
    ]


def test_confusions_with_labels_that_the_model_does_not_know_are_not_listed():
    found = evaluate(np.tile([0.9, 0.1], (3, 1)), np.array([-1, -1, 1]), ["a", "b"], {})
    assert [(pair.truth, pair.predicted, pair.count) for pair in found.confused] == [("b", "a", 1)]


def test_many_confusions_are_cut_at_the_most_frequent():
    labels = [f"l{n}" for n in range(30)]
    probability = np.eye(30)[(np.arange(30) + 1) % 30] * 0.5 + 0.01
    assert len(evaluate(probability, np.arange(30), labels, {}).confused) == 15


def test_everything_right_is_everything_right_and_a_note_says_what_that_shows():
    found = evaluate(np.eye(3)[[0, 1, 2] * 20] * 0.97 + 0.01, np.array([0, 1, 2] * 20), ["a", "b", "c"], {})
    assert [getattr(found, name).value for name in FIGURES[:-1]] == pytest.approx([1] * 7)
    assert found.confused == ()
    assert f"over {0.05 ** (1 / 60):.3f}" in found.notes[0]


def test_a_note_is_made_of_nothing_when_a_row_is_wrong():
    assert evaluate(*answers(), LABELS, {}).notes == ()


def test_as_json_it_is_plain_values_with_every_figure():
    found = evaluate(*answers(40), LABELS, {"channel": ["app"] * 40})
    tree = json.loads(json.dumps(found.to_json()))
    for name in (*FIGURES, "calibration_error"):
        interval = getattr(found, name)
        assert tree[name] == {"value": interval.value, "low": interval.low, "high": interval.high}
    assert tree["slices"][0]["value"] == "app"
    assert [score["label"] for score in tree["per_class"]] == LABELS


@pytest.mark.parametrize(("answered", "rows"), [(3, 2), (2, 3), (0, 1)])
def test_answers_and_rows_must_be_as_many(answered, rows):
    with pytest.raises(BadInput, match=f"got {answered} answers for {rows} rows; pass one for each"):
        evaluate(np.full((answered, 2), 0.5), np.zeros(rows, int), ["a", "b"], {})


@pytest.mark.parametrize("rows", [1, 16, 300])
def test_rows_that_are_all_right_show_no_more_than_the_exact_bound(rows):
    found = evaluate(np.tile([0.9, 0.1], (rows, 1)), np.zeros(rows, int), ["a", "b"], {})
    lower = binomtest(rows, rows, alternative="greater").proportion_ci(0.95, method="exact").low
    assert found.notes[0].endswith(f"an accuracy over {lower:.3f}")
    assert (found.accuracy.low, found.accuracy.high) == (1, 1)


def test_rows_of_which_one_is_wrong_need_no_note():
    found = evaluate(np.tile([0.9, 0.1], (16, 1)), np.array([1] + [0] * 15), ["a", "b"], {})
    assert found.notes == ()
