"""A compiled network on this machine: a tiny one that adds up the ids of a text's words, made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from millwright import machine
from millwright.errors import MissingExtra
from millwright.serve.openvino_body import OpenVinoBody, import_openvino

WORDS = {"[UNK]": 0, "card": 3, "lost": 4}


@pytest.fixture
def folder(tmp_path) -> Path:
    openvino = import_openvino()
    from openvino import opset15 as ops

    ids_BT, mask_BT = (ops.parameter([-1, -1], np.int64, name) for name in ("ids", "mask"))
    sum_B1 = ops.reduce_sum(ops.multiply(ids_BT, mask_BT), [1], keep_dims=True)
    model = openvino.Model([ops.convert(sum_B1, np.float32)], [ids_BT, mask_BT])
    openvino.save_model(model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    (tmp_path / "body.json").write_text(json.dumps({"format": 1, "pad_id": 9, "features": 1}))
    return tmp_path


def opened(folder: Path) -> OpenVinoBody:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return OpenVinoBody(folder, tokenizer, "float32")


def test_a_network_that_it_cannot_run_is_a_missing_extra_that_says_why(folder):
    (folder / "model.xml").write_text('<net name="x" version="99"></net>')
    with pytest.raises(MissingExtra, match=r"OpenVINO cannot run .* on this processor \(.*[Ee]xception"):
        opened(folder)


def test_it_is_given_no_more_threads_than_the_quota_of_the_container(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    body = opened(folder)
    assert body.streams == 1
    assert body._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert body.features(["card lost", "card"]).tolist() == [[7.0], [3.0]]


def test_without_a_quota_it_has_every_core_that_the_process_is_bound_to(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "none")
    assert opened(folder)._compiled.get_property("INFERENCE_NUM_THREADS") == machine.cores()
