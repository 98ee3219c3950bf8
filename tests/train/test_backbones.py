"""Backbones by name: the built-in one is the original, others load from a folder, the rest is refused."""

import shutil
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from millwright.errors import BadInput, Corrupt, NotFound
from millwright.settings import FILENAME
from millwright.train import backbones
from millwright.train.backbones import MINILM_SHA256, load_backbone, weights_sha256, wrap
from tests.desk import save_encoder
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


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(503)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        url = f"http://127.0.0.1:{hub.server_port}"
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", url)
        files = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        with pytest.raises(NotFound, match="no backbone 'no-such/model'.*503.*or a local folder"):
            load_backbone("no-such/model", 32)
        hub.shutdown()
    assert asked == ["/api/models/no-such/model"]


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


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_encoder(tmp_path / "encoder")


def test_a_folder_is_seen_from_the_project_before_the_current_one(tmp_path, folder, monkeypatch):
    (tmp_path / "desk" / "models").mkdir(parents=True)
    (tmp_path / "desk" / FILENAME).touch()
    shutil.copytree(folder, tmp_path / "desk" / "models" / "own")
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "desk" / ".millwright" / "versions" / "v1"
    assert load_backbone("models/own", 32, kept).name == "models/own"
    with pytest.raises(NotFound, match="no backbone 'models/own'"):
        load_backbone("models/own", 32, tmp_path)
    monkeypatch.chdir(tmp_path / "desk")
    assert load_backbone("models/own", 32).name == "models/own"


def test_a_backbone_without_a_saved_pooler_is_the_same_each_time(folder):
    first, second = (load_backbone(str(folder), 32) for _ in range(2))
    assert "pooler" not in " ".join(load_file(folder / "model.safetensors"))
    assert first.sha256 == second.sha256


def test_a_pooler_that_is_saved_does_not_matter(folder):
    bare = load_backbone(str(folder), 32)
    weights = load_file(folder / "model.safetensors")
    weights |= {"pooler.dense.weight": torch.rand(32, 32), "pooler.dense.bias": torch.rand(32)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_backbone(str(folder), 32).sha256 == bare.sha256


def test_weights_without_a_layer_are_refused_instead_of_being_drawn(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.3" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    lacking = len(weights) - len(kept)
    with pytest.raises(
        Corrupt, match=rf"lack 'encoder\.layer\.3\..* and {lacking - 1} more, which would be random"
    ):
        load_backbone(str(folder), 32)


@pytest.mark.parametrize("keep", [0, 8, 1_000, 100_000])
def test_truncated_weights_are_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Corrupt, match="the weights of backbone .* are damaged"):
        load_backbone(str(folder), 32)


def test_a_backbone_without_its_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(
        Corrupt, match=r"tokenizer of backbone .* has 5 tokens, its weights are for 64; fetch"
    ):
        load_backbone(str(folder), 32)


def test_a_tokenizer_of_another_backbone_is_refused(folder):
    larger = Tokenizer(models.WordLevel({f"w{n}": n for n in range(100)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=larger, pad_token="w0").save_pretrained(folder)
    with pytest.raises(Corrupt, match="has 100 tokens, its weights are for 64"):
        load_backbone(str(folder), 32)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_folder_with_broken_json_is_named(folder, name):
    (folder / name).write_text("{")
    with pytest.raises(NotFound, match="no backbone '.*encoder'.* use 'minilm' or a local folder"):
        load_backbone(str(folder), 32)


def test_weights_that_are_pickled_are_never_loaded(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(NotFound, match="model.safetensors"):
        load_backbone(str(folder), 32)


def test_a_family_whose_positions_begin_after_the_padding_bears_fewer_tokens():
    for family in ("roberta", "xlm-roberta"):
        backbone = make_backbone(family)
        assert wrap("b", backbone.model, tiny_tokenizer(), 0, 4_096).max_tokens == 40


def test_a_release_of_transformers_is_no_other_reading():
    backbone = make_backbone("bert")
    before = backbone.reading_sha256
    backbone.model.config.transformers_version = "99.0"
    assert replace(backbone).reading_sha256 == before
    backbone.model.config.hidden_act = "relu"
    assert replace(backbone).reading_sha256 != before
