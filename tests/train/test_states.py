"""States of texts: made once, the same to the byte in any company and on any number of threads."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoModel, BertConfig

from millwright.train import states
from millwright.train.network import lower_encoder
from millwright.train.states import (
    batches_by_length,
    batches_by_shape,
    cached_features,
    cached_states,
    tokenize,
)
from tests.train.conftest import CONFIGS, make_backbone

TEXTS = ["card lost", "where is my money please", "pin", "the transfer is pending"]


def features(cache, texts):
    return cached_features(make_backbone("bert"), texts, torch.float32, cache, lambda _: None)


def test_a_second_run_makes_nothing(tmp_path):
    first, made_first = features(tmp_path, TEXTS)
    second, made_second = features(tmp_path, TEXTS)
    assert (made_first, made_second) == (4, 0)
    assert torch.equal(first, second)


def test_adding_one_per_cent_of_rows_runs_those_alone(tmp_path):
    texts = [f"card {'lost ' * (n % 9)}pin {n}" for n in range(300)]
    assert features(tmp_path, texts)[1] == 300
    assert features(tmp_path, [*texts, "help my card", "the pin is lost", "money"])[1] == 3


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_features_are_the_same_to_the_byte_in_any_company(tmp_path, precision):
    backbone = make_backbone("bert")

    def run(name, texts):
        return cached_features(backbone, texts, precision, tmp_path / name, lambda _: None)[0]

    many = TEXTS + [f"card {'lost ' * (n % 9)}pin" for n in range(9)]
    together, backwards = run("together", many), run("backwards", many[::-1])
    assert torch.equal(together, backwards.flip(0))
    for place, text in enumerate(TEXTS):
        assert torch.equal(run(f"alone-{place}", [text])[0], together[place])


def test_features_are_the_same_to_the_byte_with_other_thread_settings(tmp_path):
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(features(tmp_path / str(threads), TEXTS)[0])
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_a_repeated_text_is_run_once(tmp_path):
    found, made = features(tmp_path, ["pin", "pin", "card"])
    assert made == 2
    assert torch.equal(found[0], found[1])


def test_another_backbone_has_a_cache_of_its_own(tmp_path):
    features(tmp_path, TEXTS)
    _, made = cached_features(make_backbone("distilbert"), TEXTS, torch.float32, tmp_path, lambda _: None)
    assert made == 4


def other_heads(backbone):
    config = BertConfig(**{**CONFIGS["bert"].to_dict(), "num_attention_heads": 2})
    model = AutoModel.from_config(config)
    model.load_state_dict(backbone.model.state_dict(), strict=False)
    return replace(backbone, model=model.eval())


def other_words(backbone):
    tokenizer = Tokenizer.from_str(backbone.tokenizer.to_str())
    tokenizer.normalizer = normalizers.Replace("lost", "stolen")
    return replace(backbone, tokenizer=tokenizer)


@pytest.mark.parametrize("change", [other_heads, other_words, lambda one: replace(one, sha256="0" * 64)])
def test_what_the_same_weights_would_read_otherwise_is_made_again(tmp_path, change):
    backbone = make_backbone("bert")
    cached_features(backbone, TEXTS, torch.float32, tmp_path, lambda _: None)
    made = [
        cached_features(one, TEXTS, torch.float32, tmp_path, lambda _: None)[1]
        for one in (change(backbone), make_backbone("bert"), change(backbone))
    ]
    assert made == [4, 0, 0]


@pytest.mark.parametrize(("depth", "precision"), [(1, torch.float32), (2, torch.bfloat16)])
def test_states_of_another_layer_or_precision_are_others(tmp_path, depth, precision):
    backbone = make_backbone("bert")
    cached_states(backbone, TEXTS, 2, torch.float32, tmp_path, lambda _: None)
    assert cached_states(backbone, TEXTS, depth, precision, tmp_path, lambda _: None)[1] == 4


def test_states_have_one_row_a_token(tmp_path):
    made, _ = cached_states(make_backbone("bert"), TEXTS, 2, torch.float32, tmp_path, lambda _: None)
    assert [len(state) for state in made] == [len(text.split()) + 2 for text in TEXTS]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cached_states_are_what_the_layers_made_and_not_rounded(tmp_path, precision):
    backbone = make_backbone("bert")
    layers = lower_encoder(backbone, 2).to(precision).eval()
    for _ in range(2):
        states, _ = cached_states(backbone, TEXTS, 2, precision, tmp_path, lambda _: None)
        for state, ids in zip(states, tokenize(backbone, TEXTS), strict=True):
            with torch.inference_mode():
                expected = layers(input_ids=ids[None]).last_hidden_state[0]
            assert state.dtype == precision
            close = 1e-5 if precision == torch.float32 else 0.1  # a batch of another shape rounds otherwise
            assert torch.allclose(state, expected, atol=close, rtol=0)


def test_the_cache_is_kept_within_its_limit(tmp_path):
    cached_features(make_backbone("bert"), TEXTS, torch.float32, tmp_path, lambda _: None, 100)
    assert sum(os.path.getsize(path) for path in tmp_path.rglob("*.safetensors")) <= 100


def test_batches_hold_every_index_once_within_the_token_limit():
    lengths = [3, 50, 7, 7, 20, 1, 64]
    batches = list(batches_by_length(lengths, tokens_a_batch=64))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 64 for batch in batches)


def test_a_batch_has_a_shape_that_its_texts_lengths_alone_decide():
    few = {width: size for _, size, width in batches_by_shape([3, 7, 500], 64)}
    many = {width: size for _, size, width in batches_by_shape([3, 7, 500] * 50, 64)}
    assert few == many == {4: 16, 8: 8, 500: 1}
    places = [place for indices, _, _ in batches_by_shape([3, 7, 500] * 50, 64) for place in indices]
    assert sorted(places) == list(range(150))


def test_one_per_cent_of_rows_costs_about_one_per_cent_and_filling_up_little():
    drawn = np.random.default_rng(0).lognormal(np.log(14), 0.5, 10_000)  # as messages are long
    lengths = np.clip(np.round(drawn), 4, 128).astype(int).tolist()

    def tokens(some):
        return sum(size * width for _, size, width in batches_by_shape(some, states.TOKENS_A_SHAPE["cpu"]))

    assert tokens(lengths[:100]) < 0.025 * tokens(lengths)
    assert tokens(lengths) < 1.15 * sum(lengths)


def test_the_fast_precision_is_taken_where_features_agree_and_float32_where_they_do_not(monkeypatch):
    monkeypatch.setattr(states, "fast_precision", lambda: torch.bfloat16)
    backbone = make_backbone("bert")
    assert states.checked_precision(backbone, TEXTS) == torch.bfloat16
    monkeypatch.setattr(states, "LEAST_AGREEMENT", 1.1)
    assert states.checked_precision(backbone, TEXTS) == torch.float32


def test_a_backbone_has_a_precision_whatever_the_rows_are(tiny_backbone, monkeypatch):
    monkeypatch.setattr(states, "fast_precision", lambda: torch.bfloat16)
    found, real = [], states.checked_precision
    monkeypatch.setattr(states, "checked_precision", lambda *given: found.append(given[1]) or real(*given))
    assert states.backbone_precision(tiny_backbone) == torch.bfloat16
    monkeypatch.setattr(states, "LEAST_AGREEMENT", 1.1)
    assert states.backbone_precision(tiny_backbone) == torch.float32
    first, second = found
    assert first == second
    assert len({len(ids) for ids in tokenize(tiny_backbone, first)}) > 8


@pytest.mark.parametrize(
    ("capabilities", "is_fast"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"sve": True, "sve_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({"neon": True}, False),
        (None, False),
    ],
)
def test_bfloat16_is_fast_where_the_processor_multiplies_it(monkeypatch, capabilities, is_fast):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if capabilities is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities")
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert states.fast_precision() == (torch.bfloat16 if is_fast else torch.float32)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert states.fast_precision() == torch.float32
