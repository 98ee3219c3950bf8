"""The private head: how far a person moves what is released, what its noise hides, and what it learns."""

import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from millwright.errors import BadInput
from millwright.privacy.gaussian_mechanism import delta_of, most_true_positives, mu_of
from millwright.train.calibrate import softmax
from millwright.train.private_head import (
    DELTA,
    MOST_VOTE,
    SENSITIVITY,
    _sums,
    _unit,
    _votes,
    check_people,
    fit_private_head,
    names_tell,
    people_needed,
    private_temperature,
    symmetric_noise,
)

NO_NOISE = np.zeros


def some_rows(
    rows: int = 60, features: int = 5, labels: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features around a centre a label, of every length."""
    chance = np.random.default_rng(seed)
    truth_N = np.arange(rows) % labels
    centre_CD = chance.normal(size=(labels, features))
    feature_ND = centre_CD[truth_N] + chance.normal(scale=0.3, size=(rows, features))
    return (feature_ND * chance.uniform(0.1, 90, (rows, 1))).astype(np.float32), truth_N


def alone(count: int) -> list[str]:
    """Each row is a person of its own."""
    return [str(place) for place in range(count)]


@pytest.mark.parametrize("rows_of_one", [1, 2, 30])
def test_no_person_moves_what_is_released_further_than_the_sensitivity(rows_of_one):
    feature_ND, truth_N = some_rows()
    feature_ND[:rows_of_one] *= 1e6  # who is loudest
    person_N = ["loud"] * rows_of_one + alone(60 - rows_of_one)
    unit_ND = _unit(feature_ND, np.ones(5))
    whole = _sums(unit_ND, truth_N, person_N, 3)
    rest = _sums(unit_ND[rows_of_one:], truth_N[rows_of_one:], person_N[rows_of_one:], 3)
    moved = math.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(whole, rest, strict=True)))
    assert moved <= SENSITIVITY
    assert rows_of_one > 1 or moved == pytest.approx(math.sqrt(2), rel=1e-6)  # one row takes all of it


def test_noise_on_a_symmetric_matrix_is_the_same_in_every_symmetric_direction():
    chance = np.random.default_rng(1)
    drawn = np.stack([symmetric_noise(4, 3.0, chance.standard_normal) for _ in range(4000)])
    assert (drawn == drawn.transpose(0, 2, 1)).all()
    for _ in range(5):
        half = chance.normal(size=(4, 4))
        direction = (half + half.T) / np.linalg.norm(half + half.T)
        assert (drawn * direction).sum((1, 2)).std() == pytest.approx(3.0, rel=5 / math.sqrt(2 * 4000))


def test_without_noise_the_head_is_ridge_regression_on_indicators():
    feature_ND, truth_N = some_rows(rows=200)
    name_CD = np.random.default_rng(5).normal(size=(3, 5))
    head = fit_private_head(feature_ND, truth_N, alone(200), name_CD, 1e9, NO_NOISE)
    centred_ND = feature_ND - name_CD.mean(0)
    lengths_N = np.linalg.norm(centred_ND, axis=1, keepdims=True)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(centred_ND / lengths_N, np.eye(3)[truth_N])
    expected_NC = centred_ND @ ridge.coef_.T
    assert not head.names_taught
    assert feature_ND @ head.weight_CD.T + head.bias_C == pytest.approx(expected_NC, rel=1e-3, abs=1e-3)


def test_what_a_person_says_twice_counts_once():
    feature_ND, truth_N = some_rows()
    names = np.eye(3, 5)
    once = fit_private_head(feature_ND, truth_N, alone(60), names, 1.0, NO_NOISE)
    again = np.r_[0:60, 7, 7, 7]
    person_N = [str(place) for place in again]
    twice = fit_private_head(feature_ND[again], truth_N[again], person_N, names, 1.0, NO_NOISE)
    assert twice.weight_CD == pytest.approx(once.weight_CD, rel=1e-5, abs=1e-6)


def canary_scores(with_canary: bool, mu: float, runs: int, seed: int) -> np.ndarray:
    """What heads say of a canary's text and label, trained with and without it among few others."""
    feature_ND, truth_N = some_rows(rows=4, features=3, labels=2)
    canary_D, names = np.array([0.0, 0.0, 9.0], np.float32), np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    if with_canary:
        feature_ND, truth_N = np.vstack([feature_ND, canary_D]), np.append(truth_N, 1)
    chance = np.random.default_rng(seed)
    heads = (
        fit_private_head(feature_ND, truth_N, alone(len(truth_N)), names, mu, chance.standard_normal)
        for _ in range(runs)
    )
    return np.array([(head.weight_CD @ canary_D + head.bias_C)[1] for head in heads])


def found_and_accused(mu: float) -> tuple[float, float]:
    """Rates at which the best threshold finds the canary and sees it where it is not."""
    inside, outside = canary_scores(True, mu, 2_000, 1), canary_scores(False, mu, 2_000, 2)
    threshold = np.quantile(outside, 0.9)
    return float((inside > threshold).mean()), float((outside > threshold).mean())


def test_a_canary_is_found_no_more_often_than_promised():
    epsilon = 1.0
    mu = mu_of(epsilon, DELTA)
    found, accused = found_and_accused(mu)
    noise = 4 * math.sqrt(0.25 / 2_000)
    assert found <= math.exp(epsilon) * accused + delta_of(mu, epsilon) + noise
    assert found <= most_true_positives(mu, accused) + noise


def test_the_check_of_the_promise_can_fail():
    """With noise for epsilon = 60 the same canary is found far more often than epsilon = 1 allows."""
    found, accused = found_and_accused(mu_of(60.0, DELTA))
    assert found > math.exp(1.0) * accused + 4 * math.sqrt(0.25 / 2_000)


def test_names_tell_where_they_fit_their_labels_and_not_where_they_were_dealt_out_anew():
    chance = np.random.default_rng(3)
    named_CD = _unit(chance.normal(size=(12, 20)), np.zeros(20))
    sums_DC = 10 * named_CD.T + chance.normal(size=(20, 12))
    assert names_tell(named_CD, sums_DC)
    assert not names_tell(named_CD[np.roll(np.arange(12), 5)], sums_DC)
    assert not names_tell(named_CD[:4], sums_DC[:, :4])  # four names cannot show it


def test_names_teach_where_people_are_few():
    chance = np.random.default_rng(4)
    name_CD = chance.normal(size=(10, 16))
    truth_N = np.arange(400) % 10
    feature_ND = name_CD[truth_N] + chance.normal(scale=1.5, size=(400, 16))
    new_ND = name_CD[truth_N] + chance.normal(scale=1.5, size=(400, 16))

    def accuracy(names: np.ndarray) -> tuple[bool, float]:
        """Of a head under noise, on rows that it never saw."""
        noise = np.random.default_rng(5).standard_normal
        head = fit_private_head(feature_ND, truth_N, alone(400), names, 0.25, noise)
        said_N = (new_ND @ head.weight_CD.T + head.bias_C).argmax(1)
        return head.names_taught, float((said_N == truth_N).mean())

    (told, helped), (dealt, alone_again) = accuracy(name_CD), accuracy(np.roll(name_CD, 3, axis=0))
    assert (told, dealt) == (True, False)
    assert helped > alone_again


def votes(people: int, rows_each: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits that are four times too sure, of people with some rows each."""
    chance = np.random.default_rng(6)
    logit_MC = chance.normal(size=(people * rows_each, 4))
    drawn = softmax(logit_MC).cumsum(1) > chance.random((len(logit_MC), 1))
    return 4 * logit_MC, drawn.argmax(1), [str(row // rows_each) for row in range(len(logit_MC))]


def brier(logit_MC: np.ndarray, truth_M: np.ndarray, temperature: float) -> float:
    return float(((softmax(logit_MC, temperature) - np.eye(4)[truth_M]) ** 2).sum(1).mean())


def test_the_temperature_has_the_least_brier_score_of_those_tried():
    logit_MC, truth_M, person_M = votes(people=800, rows_each=1)
    chosen = private_temperature(logit_MC, truth_M, person_M, 5.0, 1.0, NO_NOISE)
    tried = [1.5**power for power in range(-12, 6)]
    assert chosen == pytest.approx(min(tried, key=lambda one: brier(logit_MC, truth_M, one)))
    assert 2 < chosen < 8  # four is right


def test_one_person_moves_the_votes_no_further_than_promised():
    logit_MC, truth_M, person_M = votes(people=30, rows_each=10)
    logit_MC[:10] = 6 * np.eye(4)[(truth_M[:10] + 1) % 4]  # sure, and wrong
    temperature_K = 1.5 ** np.arange(-12.0, 6)
    whole = _votes(logit_MC, truth_M, person_M, temperature_K).sum(0)
    rest = _votes(logit_MC[10:], truth_M[10:], person_M[10:], temperature_K).sum(0)
    assert 0.9 * MOST_VOTE < np.linalg.norm(whole - rest) <= MOST_VOTE + 1e-12


@pytest.mark.parametrize(("people", "mu", "is_chosen"), [(24, 1.0, False), (25, 1.0, True), (49, 0.5, False)])
def test_without_people_enough_for_the_noise_no_temperature_is_chosen(people, mu, is_chosen):
    logit_MC, truth_M, person_M = votes(people, rows_each=2)
    chosen = private_temperature(
        logit_MC, truth_M, person_M, mu, 1.0, np.random.default_rng(0).standard_normal
    )
    assert (chosen is not None) == is_chosen


def test_too_few_people_are_refused_and_as_many_as_it_says_are_enough():
    with pytest.raises(BadInput, match=r"epsilon = 3 .* there are 50, 5.0 a label") as raised:
        check_people(people=50, labels=10, features=768, epsilon=3.0)
    needed = people_needed(10, 768, 3.0)
    assert f"needs {needed:,} people who teach" in str(raised.value)
    assert raised.value.field == "train.epsilon"
    check_people(needed, 10, 768, 3.0)


@pytest.mark.parametrize(("labels", "times"), [(2, 10.0), (30, 10.0), (77, 0.33 * 77)])
def test_the_people_needed_follow_the_noise_of_a_direction(labels, times):
    deviation = math.sqrt(2) / mu_of(3.0, DELTA)
    assert people_needed(labels, 768, 3.0) == math.ceil(times * deviation * math.sqrt(768))


def test_more_people_than_delta_is_meant_for_are_refused():
    with pytest.raises(BadInput, match=r"delta = 1e-06 must be below 1 / people, there are 1,000,000"):
        check_people(people=1_000_000, labels=2, features=8, epsilon=3.0)
