"""Backbones by name: the built-in one is the original, others load from a folder, the rest is refused."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from millwright.errors import BadInput, Corrupt, NotFound
from millwright.train import backbones
from millwright.train.backbones import MINILM_SHA256, load_backbone, weights_sha256, wrap
from tests.train.conftest import CONFIGS, make_backbone, tiny_tokenizer


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_the_built_in_backbone_is_the_original_release():
    backbone = load_backbone("minilm", 128)
    assert (backbone.sha256, backbone.hidden, backbone.layers) == (MINILM_SHA256, 384, 6)


def test_other_weights_under_the_built_in_name_are_refused(monkeypatch):
    monkeypatch.setattr(backbones, "MINILM_SHA256", "0" * 64)
    with pytest.raises(Corrupt, match=r"model.safetensors has sha256 53aa51.*reinstall"):
        load_backbone("minilm", 128)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_local_folder_in_the_hub_layout_loads(family, tmp_path):
    saved = make_backbone(family)
    saved.model.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]").save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path), 32)
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected, found = (backbone.model(input_ids=ids).last_hidden_state for backbone in (saved, loaded))
    assert torch.allclose(expected, found, atol=1e-6)


def test_a_name_that_is_nowhere_says_what_to_do_offline():
    with pytest.raises(
        NotFound, match="no backbone 'no-such/model'.*offline, use 'minilm' or a local folder"
    ):
        load_backbone("no-such/model", 32)


def test_an_unknown_architecture_is_named():
    backbone = make_backbone("bert")
    backbone.model.config.model_type = "gru"
    with pytest.raises(BadInput, match="'mine' has architecture 'gru'; there are bert, roberta"):
        wrap("mine", backbone.model, tiny_tokenizer(), 0, 32)


def test_the_digest_changes_with_one_weight():
    backbone = make_backbone("bert")
    before = weights_sha256(backbone.model)
    with torch.no_grad():
        next(backbone.model.parameters())[0, 0] += 1e-3
    assert weights_sha256(backbone.model) != before


def test_inputs_are_cut_at_what_the_encoder_can_take():
    assert make_backbone("bert").max_tokens == 32
    assert wrap("b", make_backbone("bert").model, tiny_tokenizer(), 0, 4_096).max_tokens == 40
