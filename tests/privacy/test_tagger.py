"""The tagger: its search against all sequences, its shortcut, its file, and what it finds in a corpus."""

import itertools
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from millwright.errors import Corrupt
from millwright.privacy import tagger
from millwright.privacy.candidates import may_hold_a_name
from millwright.privacy.detect import detector
from millwright.privacy.tagger import BITS, REACH, TAGS, Tagger, feature_rows, shipped_tagger
from millwright.privacy.tokens import FACTS, PLAIN_SHAPES, TOKEN, token_facts
from tests.conftest import SHARED

K = len(TAGS)
SYNTHETIC = SHARED / "pii_presidio_synth_v2" / "synth_dataset_v2.json"


def table(seed: int, towards_o: int = 0) -> np.ndarray:
    weight_RK = np.random.default_rng(seed).integers(-5, 6, (2**BITS, K)).astype(np.int8)
    weight_RK[:, 0] += np.int8(towards_o)
    return weight_RK


def scores_of(text: str, weight_RK: np.ndarray, scale: float) -> np.ndarray:
    """Each tag's score at each token, summed one by one; for texts in small letters, which lean nowhere."""
    gap = [(0,) * FACTS] * REACH
    facts = [token_facts(match[0]) for match in TOKEN.finditer(text)]
    assert all(fact[2] in PLAIN_SHAPES for fact in facts)
    rows = feature_rows(np.array([*gap, *facts, *gap], np.uint32))
    return np.array([sum(weight_RK[row].astype(float) for row in own) * scale for own in rows])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("text", ["anna", "anna lives", "王小明说", "to anna 王小"])
def test_the_best_tags_are_those_of_all_sequences_that_score_most(seed, text):
    rng = np.random.default_rng(seed)
    weight_RK = table(seed)
    move_KK, start_K = rng.normal(0, 2, (K, K)).astype(np.float32), rng.normal(0, 2, K).astype(np.float32)
    score_TK = scores_of(text, weight_RK, 0.1)
    places = np.array(list(itertools.product(range(K), repeat=len(score_TK))))
    total = start_K[places[:, 0]] + sum(score_TK[t][places[:, t]] for t in range(len(score_TK)))
    total += sum(move_KK[places[:, t - 1], places[:, t]] for t in range(1, len(score_TK)))
    best = [TAGS[tag] for tag in places[total.argmax()]]
    joined = "".join(tag[0] if tag == "O" else tag[0] + str((TAGS.index(tag) + 1) // 2) for tag in best)
    names = re.finditer(r"[BI]([0-9]+)(?:I\1(?![0-9]))*", joined)
    matches, expected = [*TOKEN.finditer(text)], []
    for name in names:
        first = len(re.findall("[OBI]", joined[: name.start()]))
        last = first + len(re.findall("[BI]", name[0])) - 1
        expected.append((matches[first].start(), matches[last].end(), best[first][2:]))
    (spans,) = Tagger(weight_RK, 0.1, move_KK, start_K).spans([text])
    assert [(span.start, span.end, span.entity) for span in spans] == expected


def test_a_table_that_leans_to_no_name_finds_none_and_one_that_does_not_finds_some():
    moves, starts = np.zeros((K, K), np.float32), np.zeros(K, np.float32)
    texts = ["anna lives in rome", "王小明说", "", "  "]
    assert Tagger(table(0, 60), 0.1, moves, starts).spans(texts) == [[], [], [], []]
    found = Tagger(table(0), 0.1, moves, starts).spans(texts)
    assert found[0]
    assert found[1]
    assert found[2:] == [[], []]


def test_a_text_gets_the_same_names_in_any_company():
    texts = ["My name is Ada Lovelace", "我叫王小明，住在北京", "", "Anna", "nothing here at all"] * 3
    one = shipped_tagger()
    assert one.spans(texts) == [one.spans([text])[0] for text in texts]


def test_a_file_for_other_features_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "tagger.safetensors"
    metadata = {"tagger": json.dumps({**tagger.layout(), "reach": 2})}
    save_file({"weights": np.zeros((2, 2), np.int8)}, path, metadata=metadata)
    monkeypatch.setattr(tagger, "WEIGHTS", path)
    tagger.shipped_tagger.cache_clear()
    try:
        with pytest.raises(Corrupt, match=r"was made for .*'reach': 2.* this release wants"):
            shipped_tagger()
        path.unlink()
        with pytest.raises(Corrupt, match="is missing"):
            shipped_tagger()
    finally:
        tagger.shipped_tagger.cache_clear()


@pytest.mark.parametrize(
    "text", ["Call Zsuzsa", "ask john about it", "我叫王小明", "my name is qwerty", "I’m Ada"]
)
def test_a_text_that_may_hold_a_name_is_looked_at(text):
    assert may_hold_a_name(text)


@pytest.mark.parametrize(
    "text", ["I am not sure why", "My card hasn't arrived", "Can I use it at an ATM?", "It’s late"]
)
def test_an_everyday_text_is_passed_by(text):
    assert not may_hold_a_name(text.replace("I am", "I was"))


@pytest.mark.data
@pytest.mark.skipif(not SYNTHETIC.exists(), reason="needs the datasets (benchmarks/README.md)")
def test_people_are_found_in_templates_that_nothing_was_tuned_on():
    rows = json.loads(SYNTHETIC.read_text())
    finder = detector(frozenset({"PERSON"}))
    hits = gold_count = found_count = 0
    for row, spans in zip(rows, finder.find_all([row["full_text"] for row in rows]), strict=True):
        gold = {
            (span["start_position"], span["end_position"])
            for span in row["spans"]
            if span["entity_type"] == "PERSON"
        }
        found = {(span.start, span.end) for span in spans}
        hits, gold_count = hits + len(gold & found), gold_count + len(gold)
        found_count += len(found)
    assert hits / gold_count > 0.7
    assert hits / found_count > 0.7
