from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from millwright.data import duplicates
from millwright.data.duplicates import Resemblance, bands_of
from millwright.data.spill import Spill


def shingles(text):
    words = text.split()
    if len(words) == 1 and not text.isascii():
        words = list(text)
    return {(word,) for word in words} | set(zip(words, words[1:], strict=False))


def jaccard(one, other):
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def near_duplicates(texts, similarity):
    """(earlier, later, similarity) for each later text that resembles an earlier one, all held in memory."""
    with TemporaryDirectory() as folder:
        seen = Resemblance(Spill(Path(folder), 1 << 62), similarity, len(texts))
        seen.add(texts)
        return [
            pair for found in seen.pairs() for pair in zip(*(part.tolist() for part in found), strict=True)
        ]


def brute_force(texts, similarity):
    """Later text -> its best similarity to an earlier one, of those that reach `similarity`."""
    best, sets = {}, list(map(shingles, texts))
    for earlier, later in combinations(range(len(texts)), 2):
        common = len(sets[earlier] & sets[later])
        found = common / (len(sets[earlier]) + len(sets[later]) - common)
        if found >= similarity:
            best[later] = max(found, best.get(later, 0))
    return best


def corpus(count, seed=0):
    """Random texts, half of them with a changed copy."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{n}" for n in range(400)])
    texts = []
    for number in range(count):
        text = list(rng.choice(words, rng.integers(12, 60)))
        texts.append(" ".join(text))
        if number % 2:
            text[rng.integers(len(text))] = "changed" if number % 4 == 1 else f"changed{number}"
            texts.append(" ".join(text))
    return list(dict.fromkeys(texts))


def test_finds_what_brute_force_finds():
    texts = corpus(300)
    expected = brute_force(texts, 0.85)
    found = {later: similarity for _, later, similarity in near_duplicates(texts, 0.85)}
    assert len(expected) > 80
    # Each pair is missed with probability (1 - .85^5)^13 < .0005 at most: two of 150 is beyond chance.
    assert len(set(expected) - set(found)) <= 1
    assert {later: pytest.approx(expected[later]) for later in found} == found


def test_every_similarity_is_the_exact_jaccard_index():
    texts = corpus(100, seed=1)
    for earlier, later, similarity in near_duplicates(texts, 0.6):
        assert earlier < later
        assert similarity == pytest.approx(jaccard(texts[earlier], texts[later]))
        assert similarity >= 0.6


def test_texts_that_share_nothing_are_no_duplicates():
    assert near_duplicates([f"a{n} b{n} c{n}" for n in range(200)], 0.5) == []


def test_the_order_of_words_counts():
    one, other = "a b c d e f g h", "h g f e d c b a"
    assert jaccard(one, other) == pytest.approx(8 / 22)
    assert near_duplicates([one, other], 0.85) == []


def test_scripts_without_spaces_are_compared_by_character():
    texts = [
        "我的银行卡什么时候才能寄到我家里来呢请告诉我",
        "我的银行卡什么时候才能寄到我家里来呢请告诉吧",
        "今天天气很好",
    ]
    found = near_duplicates(texts, 0.7)
    assert [(earlier, later) for earlier, later, _ in found] == [(0, 1)]
    assert found[0][2] == pytest.approx(jaccard(texts[0], texts[1]))


@pytest.mark.parametrize("ending", ["", " thanks"])
def test_scripts_without_spaces_are_compared_by_character_also_where_spaces_part_clauses(ending):
    question = "我的卡被机器吞了 请问现在应该怎么办才能取回来"
    found = near_duplicates([question + ending, question + "呢" + ending, "今天 天气很好"], 0.7)
    assert [(earlier, later) for earlier, later, _ in found] == [(0, 1)]


@pytest.mark.parametrize("texts", [[], ["alone"], ["", "?"]])
def test_too_few_texts_have_no_pairs(texts):
    assert near_duplicates(texts, 0.85) == []


def test_many_copies_of_one_text_cost_one_pair_each():
    base = " ".join(f"w{n}" for n in range(60))
    texts = [f"{base} end{n}" for n in range(500)]
    found = near_duplicates(texts, 0.85)
    assert [later for _, later, _ in found] == list(range(1, 500))


def test_the_result_does_not_change_from_run_to_run():
    texts = corpus(60)
    assert near_duplicates(texts, 0.8) == near_duplicates(texts, 0.8)


@pytest.mark.parametrize("texts", [1, 10_000, 10**7])
@pytest.mark.parametrize("similarity", [0.31, 0.5, 0.7, 0.85, 0.95, 1.0])
def test_bands_miss_a_pair_just_similar_enough_once_in_two_thousand(similarity, texts):
    bands, rows = bands_of(similarity, texts)
    assert (1 - similarity**rows) ** bands <= 0.0005
    assert bands <= 80


def test_more_texts_take_more_selective_bands():
    rows = [bands_of(0.85, 10**power)[1] for power in range(2, 8)]
    assert rows == sorted(rows)
    # A chance pair of similarity .1 shares a band with probability .1 ** rows: at most one mate a text.
    assert all(power <= row for power, row in zip(range(2, 8), rows, strict=True))


@pytest.mark.parametrize(("words", "similarity"), [(14, 0.86), (4, 0.55)])
def test_planted_pairs_are_found(words, similarity):
    pairs = 3_000
    originals = [[f"w{number}x{n}" for n in range(words)] for number in range(pairs)]
    copies = [[*original[:-1], f"new{number}"] for number, original in enumerate(originals)]
    texts = [" ".join(text) for text in [*originals, *copies]]
    assert jaccard(texts[0], texts[pairs]) == pytest.approx((2 * words - 3) / (2 * words + 1))
    found = [(earlier, later) for earlier, later, _ in near_duplicates(texts, similarity)]
    assert set(found) <= {(number, pairs + number) for number in range(pairs)}
    # At most .0005 of them are missed, 1.5 on average; nine more would be six standard deviations.
    assert pairs - len(found) <= 10


def test_blocks_and_parts_of_any_size_find_the_same(monkeypatch, tmp_path):
    texts = corpus(120)
    whole = near_duplicates(texts, 0.8)
    monkeypatch.setattr(duplicates, "BYTES_A_BLOCK", 700)
    monkeypatch.setattr(duplicates, "TEXTS_A_PART", 50)
    monkeypatch.setattr(duplicates, "STRETCH_BITS", 3)
    monkeypatch.setattr(duplicates, "SHINGLES_AT_ONCE", 100)
    seen = duplicates.Resemblance(Spill(tmp_path, 1_000), 0.8, len(texts))
    for start in range(0, len(texts), 37):
        seen.add(texts[start : start + 37])
    found = [np.concatenate(part) for part in zip(*seen.pairs(), strict=True)]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == whole
    assert len(whole) > 50


def test_a_text_within_another_is_found_at_just_its_similarity():
    words = [f"w{n}" for n in range(10)]
    texts = [" ".join(words[:6]), " ".join(words)]  # 11 of 19 shingles
    assert [pair[:2] for pair in near_duplicates(texts, 11 / 19)] == [(0, 1)]
    longer = " ".join([*words, words[0]])  # and one pair more: 11 of 20, though 20 * .55 is over 11
    assert [pair[:2] for pair in near_duplicates([texts[0], longer], 0.55)] == [(0, 1)]
