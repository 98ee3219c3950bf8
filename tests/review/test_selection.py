"""Selection, suspected labels and agreement against brute force, planted errors and a published example."""

import numpy as np
import pytest

from millwright.review.agreement import adjudicated, krippendorff_alpha, weight_of
from millwright.review.label_errors import out_of_fold, suspects
from millwright.review.selection import RANDOM_SHARE, by_margin, k_center, unlike, worth_labelling


def test_k_center_takes_the_farthest_each_time():
    rng = np.random.default_rng(0)
    candidate_ND, known_MD = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    covered, expected = list(known_MD), []
    for _ in range(10):
        reach = [min(np.linalg.norm(one - other) for other in covered) for one in candidate_ND]
        expected.append(int(np.argmax(reach)))
        covered.append(candidate_ND[expected[-1]])
    assert list(k_center(candidate_ND, known_MD, 10)) == expected


def test_k_center_reaches_every_cluster_first_and_takes_nothing_twice():
    candidate_ND = np.repeat(np.eye(4) * 10, 5, axis=0) + np.arange(20)[:, None] * 1e-3
    taken = k_center(candidate_ND, np.empty((0, 4)), 100)
    assert sorted(taken[:4] // 5) == [0, 1, 2, 3]
    assert sorted(taken) == list(range(20))


def test_margin_takes_the_closest_calls_first():
    probability_NC = np.array([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.5, 0.1, 0.4], [0.34, 0.33, 0.33]])
    assert list(by_margin(probability_NC, 3)) == [3, 1, 2]


@pytest.mark.parametrize(("known", "reason"), [(2, "coverage"), (40, "margin")])
def test_a_fifth_comes_by_chance_and_the_rest_by_what_is_known(known, reason):
    rng = np.random.default_rng(1)
    feature_ND, probability_NC = rng.normal(size=(100, 4)), rng.dirichlet(np.ones(3), 100)
    chosen, why = worth_labelling(feature_ND, probability_NC, rng.normal(size=(known, 4)), 50, seed=0)
    assert len(set(chosen)) == 50
    assert why.count("chance") == round(RANDOM_SHARE * 50)
    assert set(why) == {reason, "chance"}


def blobs(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of three clusters, true labels, and labels of which some were changed."""
    truth_N = np.arange(300) % 3
    feature_ND = np.eye(3)[truth_N] * 3 + rng.normal(size=(300, 3))
    given_N = truth_N.copy()
    wrong = rng.permutation(300)[: int(noise * 300)]
    given_N[wrong] = (given_N[wrong] + rng.integers(1, 3, len(wrong))) % 3
    return feature_ND, truth_N, given_N


def nearest_mean(feature_ND, truth_N):
    mean_CD = np.array([feature_ND[truth_N == label].mean(axis=0) for label in range(3)])

    def probabilities(held_HD):
        score_HC = -((held_HD[:, None] - mean_CD) ** 2).sum(axis=2) / 2
        raised_HC = np.exp(score_HC - score_HC.max(axis=1, keepdims=True))
        return raised_HC / raised_HC.sum(axis=1, keepdims=True)

    return probabilities


def test_planted_wrong_labels_are_suspected_and_what_they_look_like_is_right():
    feature_ND, truth_N, given_N = blobs(np.random.default_rng(2), 0.1)
    found, looks_like = suspects(out_of_fold(feature_ND, given_N, nearest_mean), given_N)
    wrong = np.flatnonzero(truth_N != given_N)
    assert len(set(found) & set(wrong)) / len(wrong) >= 0.8
    assert len(set(found) & set(wrong)) / len(found) >= 0.5
    caught = [place for place, row in enumerate(found) if row in set(wrong)]
    assert (looks_like[caught] == truth_N[found[caught]]).mean() >= 0.9


def test_suspects_follow_the_definition_row_by_row():
    rng = np.random.default_rng(3)
    probability_NC, given_N = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60)
    threshold = [
        np.mean([p[j] for p, y in zip(probability_NC, given_N, strict=True) if y == j]) for j in range(4)
    ]
    expected = {}
    for row, (p, y) in enumerate(zip(probability_NC, given_N, strict=True)):
        reached = [j for j in range(4) if p[j] >= threshold[j]]
        if reached and max(reached, key=lambda j: p[j]) != y:
            expected[row] = max(reached, key=lambda j: p[j])
    found, looks_like = suspects(probability_NC, given_N)
    assert dict(zip(found.tolist(), looks_like.tolist(), strict=True)) == expected


def test_no_row_is_judged_by_a_model_that_saw_it():
    feature_ND, truth_N = np.arange(30.0)[:, None], np.arange(30) % 2

    def fit(seen_ND, _):
        seen = set(seen_ND[:, 0])
        return lambda held_HD: np.array([[float(x in seen), 0.0] for x in held_HD[:, 0]])

    assert not out_of_fold(feature_ND, truth_N, fit).any()


PUBLISHED = [  # Krippendorff 2011, section C: four observers, twelve units, nominal alpha .743
    "123321412...",
    "1233224125.3",
    ".33323422 51.".replace(" ", ""),
    "1233244125 1.".replace(" ", ""),
]


def test_agreement_is_that_of_the_published_example():
    units = [[row[unit] for row in PUBLISHED if row[unit] != "."] for unit in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_agreement_of_two_without_gaps_is_the_published_binary_one():
    # Krippendorff 2011, section A: two observers, ten units, alpha .095
    first, second = "0100000001", "1110010000"
    assert krippendorff_alpha(list(zip(first, second, strict=True))) == pytest.approx(0.095, abs=0.0005)


def test_agreement_at_its_ends():
    assert krippendorff_alpha([["a"], []]) is None
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert krippendorff_alpha([["a", "a"]]) == 1.0
    assert krippendorff_alpha([["a", "b"], ["b", "a"]]) < 0


@pytest.mark.parametrize(
    ("labels", "needed", "expected"),
    [
        (["a"], 1, "a"),
        (["a"], 2, None),
        (["a", "b"], 2, None),
        (["a", "b", "a"], 2, "a"),
        (["a", "b", "c"], 3, None),
    ],
)
def test_a_majority_of_enough_annotators_decides(labels, needed, expected):
    people = {str(number): label for number, label in enumerate(labels)}
    alike = {name: weight_of(0, 0, 3) for name in people}
    assert adjudicated(people, needed, alike) == expected


@pytest.mark.parametrize("labels", [2, 77])
def test_annotators_of_one_weight_decide_by_the_majority_however_many_they_are(labels):
    weight = weight_of(3, 5, labels) + 1.0
    for count in range(1, 9):
        for ayes in range(count + 1):
            people = {str(number): "a" if number < ayes else "b" for number in range(count)}
            expected = "a" if 2 * ayes > count else "b" if 2 * ayes < count else None
            assert adjudicated(people, 1, dict.fromkeys(people, weight)) == expected


def test_people_of_little_weight_need_more_than_a_narrow_majority():
    def told(ayes: int, noes: int) -> str | None:
        people = {f"a{n}": "a" for n in range(ayes)} | {f"b{n}": "b" for n in range(noes)}
        return adjudicated(people, 1, dict.fromkeys(people, 0.5))

    # Each vote more multiplies the odds by exp(0.5); 75 % are odds of 3, which takes three votes more.
    assert [told(votes, 1) for votes in (2, 3, 4)] == [None, None, "a"]


def test_gold_rows_weigh_by_the_log_of_the_odds():
    # 19 right of 20, and 4 of 5 expected beforehand: 23 of 25; one of three wrong labels of four has 2/25.
    assert weight_of(19, 20, 4) == pytest.approx(np.log((23 / 25) / (2 / 25 / 3)))
    assert weight_of(0, 40, 4) == 0.0


def test_who_knows_better_outvotes_and_who_guesses_counts_for_nothing():
    weights = {"ada": weight_of(20, 20, 3), "bob": weight_of(9, 20, 3), "cyd": weight_of(0, 20, 3)}
    assert adjudicated({"ada": "pin", "bob": "card"}, 2, weights) == "pin"
    assert adjudicated({"ada": "pin", "bob": "card", "cyd": "card"}, 2, weights) == "pin"
    assert adjudicated({"cyd": "card"}, 1, weights) is None


def test_a_slight_advantage_decides_nothing():
    weights = {"ada": weight_of(9, 10, 3), "bob": weight_of(8, 10, 3)}
    assert adjudicated({"ada": "pin", "bob": "card"}, 2, weights) is None


def test_what_is_unlike_all_known_rows_is_found_by_a_brute_force_over_pairs():
    rng = np.random.default_rng(4)
    known_MD = rng.normal(size=(300, 8))
    feature_ND = np.concatenate([rng.normal(size=(40, 8)), rng.normal(size=(3, 8)) + 9])
    between = [min(((one - other) ** 2).sum() for at, other in enumerate(known_MD) if at != place)
               for place, one in enumerate(known_MD)]  # fmt: skip
    usual = np.quantile(between, 0.99)
    away = np.array([min(((one - other) ** 2).sum() for other in known_MD) for one in feature_ND])
    expected = [place for place in np.argsort(-away) if away[place] > usual]
    assert list(unlike(feature_ND, known_MD, 99)) == expected
    assert set(expected[:3]) == {40, 41, 42}
    assert list(unlike(feature_ND, known_MD, 2)) == expected[:2]
    assert not len(unlike(feature_ND, known_MD[:19], 9))


def test_chance_draws_requests_however_many_have_the_same_text():
    rng, times_N = np.random.default_rng(0), np.array([900] + [1] * 100)
    feature_ND, probability_NC = rng.normal(size=(101, 4)), rng.dirichlet(np.ones(3), size=101)
    chosen, why = worth_labelling(feature_ND, probability_NC, feature_ND, 101, 0, times_N)
    drawn = chosen[np.array(why) == "chance"]
    assert len(drawn) == 20
    assert (drawn == 0).mean() == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / 20) ** 0.5)
    assert not set(drawn) & set(chosen[np.array(why) != "chance"])
