import random

import numpy as np
import polars as pl
import pytest

from millwright.data.split import split_of, splits_of, unit_of, units_of
from millwright.data.texts import canonical_all, clean_all
from millwright.modalities.text import canonical, clean
from millwright.records import SPLITS

# Every kind of character that the fast ways must tell apart: controls, marks that compose, signs, letters
# whose case folds to two, scripts without case, white space of many kinds.
ODD = "\t\n\r\x00\x1f\x7f\x85\xa0\ufeff\ufffd\u0301\u200d\u2028\u3000éÉßﬁ①’£–…İﬀ汉字ΣςΑ👩ªµ½²ﾊﾞ"


def texts(seed, count=4_000):
    chance = random.Random(seed)
    plain = "abcXYZ 09 _-.,:)("

    def character():
        return chance.choice(ODD if chance.random() < 0.15 else plain)

    return ["".join(character() for _ in range(chance.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_a_column_is_cleaned_as_its_texts_are_one_by_one(seed):
    raw = texts(seed)
    assert clean_all(pl.Series(raw)).to_list() == [clean(text) for text in raw]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prepared", [clean, str])
def test_a_column_has_the_canonical_texts_of_its_texts_one_by_one(seed, prepared):
    raw = [prepared(text) for text in texts(seed)]
    assert canonical_all(pl.Series(raw)).to_list() == [canonical(text) for text in raw]


@pytest.mark.parametrize("function", [clean_all, canonical_all])
def test_the_column_that_came_is_not_changed(function):
    raw = texts(0, 200)
    column = pl.Series(raw)
    function(column)
    assert column.to_list() == raw


@pytest.mark.parametrize("function", [clean_all, canonical_all])
def test_an_empty_column_stays_empty(function):
    assert function(pl.Series([], dtype=pl.String)).to_list() == []


def test_units_and_splits_of_many_groups_are_those_of_each():
    groups = ["", "g:anna", *(f"t:é {n}" for n in range(3_000))]
    unit_N = units_of(groups, seed=7)
    assert (unit_N / 2**64).tolist() == [unit_of(group, 7) for group in groups]
    for shares in ((0.1, 0.15), (0.5, 0.0), (0.5, 0.5)):
        found = [SPLITS[split] for split in splits_of(np.asarray(unit_N), *shares)]
        assert found == [split_of(group, 7, *shares) for group in groups]
