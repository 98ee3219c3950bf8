"""The cache of states: made once a text, dropped when damaged, the same in any batch."""

import torch

from millwright.train.states import StateCache, batches_by_length, cached_features, cached_states, text_key
from tests.train.conftest import make_backbone

TEXTS = ["card lost", "where is my money please", "pin", "the transfer is pending"]


def features(cache, texts):
    return cached_features(make_backbone("bert"), texts, torch.float32, cache, lambda _: None)


def test_a_second_run_makes_nothing(tmp_path):
    first, made_first = features(tmp_path, TEXTS)
    second, made_second = features(tmp_path, TEXTS)
    assert (made_first, made_second) == (4, 0)
    assert torch.equal(first, second)


def test_a_new_text_costs_one_run(tmp_path):
    features(tmp_path, TEXTS)
    assert features(tmp_path, [*TEXTS, "help"])[1] == 1


def test_features_do_not_depend_on_the_batch(tmp_path):
    together, _ = features(tmp_path / "a", TEXTS)
    alone = [features(tmp_path / str(place), [text])[0] for place, text in enumerate(TEXTS)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_repeated_text_is_run_once(tmp_path):
    found, made = features(tmp_path, ["pin", "pin", "card"])
    assert made == 2
    assert torch.equal(found[0], found[1])


def test_a_damaged_shard_is_dropped_and_made_again(tmp_path, caplog):
    whole, _ = features(tmp_path, TEXTS)
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-3] + b"abc")
    again, made = features(tmp_path, TEXTS)
    assert made == 4
    assert torch.equal(whole, again)
    assert shard.name in caplog.text


def test_another_backbone_has_a_cache_of_its_own(tmp_path):
    features(tmp_path, TEXTS)
    _, made = cached_features(make_backbone("distilbert"), TEXTS, torch.float32, tmp_path, lambda _: None)
    assert made == 4


def test_states_have_one_row_a_token(tmp_path):
    states, _ = cached_states(make_backbone("bert"), TEXTS, 2, torch.float32, tmp_path, lambda _: None)
    assert [len(state) for state in states] == [len(text.split()) + 2 for text in TEXTS]


def test_an_empty_cache_holds_nothing(tmp_path):
    found, made = StateCache(tmp_path).fetch([text_key("a")], lambda places: iter([torch.ones(1, 2)]))
    assert made == 1
    assert torch.equal(found[0], torch.ones(1, 2))


def test_batches_hold_every_index_once_within_the_token_limit():
    lengths = [3, 50, 7, 7, 20, 1, 64]
    batches = list(batches_by_length(lengths, tokens_a_batch=64))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 64 for batch in batches)
