"""A trained model on disk and back: the same answers, and a refusal of what does not fit."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from millwright.data.prepare import prepare
from millwright.errors import CannotStore, Corrupt, NotFound
from millwright.settings import TrainSection, change_settings
from millwright.train.backbones import load_backbone
from millwright.train.classifier import Classifier, assemble, open_classifier
from millwright.train.fit import fit
from millwright.train.methods import METHODS
from millwright.train.network import feature_count
from tests.conftest import full_disk
from tests.desk import LABELS, make_classifier, make_desk, telling_rows
from tests.train.conftest import make_backbone

TEXTS = [
    "my card is lost",
    "forgot pin",
    "where is the money sent please help",
    "transfer",
    "words it never saw",
]


def saved(classifier: Classifier, folder):
    folder.mkdir(exist_ok=True)
    classifier.save(folder)
    return folder


def by_name(classifier: Classifier, encoder) -> Classifier:
    """The same over the encoder's folder, so that it can be opened by name."""
    return replace(classifier, backbone=replace(classifier.backbone, name=str(encoder)))


@pytest.mark.parametrize("method", list(METHODS))
def test_what_was_trained_answers_the_same_after_it_was_saved_and_opened(tmp_path, encoder, method):
    project = make_desk(tmp_path / "desk", encoder, telling_rows(60), train={"top_layers": 1, "rank": 4})
    some = {"method": method, "epochs": 1, "batch_size": 4, "epsilon": 80.0}  # few people: much may be told
    settings = change_settings(project.settings, "train", **some)
    made = fit(prepare(project), settings, kept=project.kept, progress=lambda stage, done: None).classifier
    found = open_classifier(saved(made, tmp_path / "v1"))
    assert np.array_equal(found.probabilities(TEXTS), made.probabilities(TEXTS))
    for name in ("labels", "method", "settings", "temperature", "precision"):
        assert getattr(found, name) == getattr(made, name), name


def test_weights_are_safetensors_that_hold_what_was_tuned(tmp_path, encoder):
    made = by_name(make_classifier(), encoder)
    weights = load_file(saved(made, tmp_path / "v1") / "weights.safetensors")
    assert weights.keys() == made.tuned.keys()
    assert all(torch.equal(weights[name], made.tuned[name]) for name in weights)


def test_the_tokenizer_is_kept_as_it_cuts(tmp_path, encoder):
    made = by_name(make_classifier(), encoder)
    kept = Tokenizer.from_file(str(saved(made, tmp_path / "v1") / "tokenizer.json"))
    for text in TEXTS:
        assert kept.encode(text).ids == made.backbone.tokenizer.encode(text).ids
    assert len(kept.encode("card " * 500).ids) == made.backbone.max_tokens


def test_a_version_reads_with_its_own_tokenizer_whatever_became_of_the_backbones(tmp_path, encoder):
    here = shutil.copytree(encoder, tmp_path / "backbone")
    made = by_name(make_classifier(), here)
    folder = saved(made, tmp_path / "v1")
    assert open_classifier(folder).backbone.tokenizer.to_str() == made.backbone.tokenizer.to_str()
    other = json.loads((here / "tokenizer.json").read_text())
    vocabulary = other["model"]["vocab"]
    vocabulary["card"], vocabulary["pin"] = vocabulary["pin"], vocabulary["card"]
    (here / "tokenizer.json").write_text(json.dumps(other))
    assert np.array_equal(open_classifier(folder).probabilities(TEXTS), made.probabilities(TEXTS))


def test_the_description_is_json_that_says_what_the_weights_are_for(tmp_path, encoder):
    made = by_name(make_classifier(settings=TrainSection(seed=5)), encoder)
    about = json.loads((saved(made, tmp_path / "v1") / "classifier.json").read_text())
    assert about["labels"] == list(LABELS)
    assert about["backbone"] == {"name": str(encoder), "sha256": made.backbone.sha256, "max_tokens": 32}
    assert about["train"]["seed"] == 5
    assert (about["method"], about["temperature"], about["precision"]) == ("head", 1.5, "float32")


def test_probabilities_are_the_softmax_of_logits_over_the_temperature(encoder):
    made = make_classifier()
    network = made.network
    for text, found in zip(TEXTS, made.probabilities(TEXTS), strict=True):
        ids = torch.tensor([made.backbone.tokenizer.encode(text).ids])
        with torch.inference_mode():
            logits = network.head(network.features(ids, torch.ones_like(ids)))[0].double() / 1.5
        assert found == pytest.approx(torch.softmax(logits, 0).numpy(), abs=1e-6)


def test_each_row_of_probabilities_sums_to_one():
    found = make_classifier().probabilities(TEXTS)
    assert found.shape == (len(TEXTS), 3)
    assert found.dtype == np.float64
    assert found.sum(1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-12)


def test_an_answer_does_not_depend_on_what_is_asked_with_it():
    made = make_classifier()
    together = made.probabilities(TEXTS)
    alone = np.concatenate([made.probabilities([text]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)


def test_no_texts_have_no_answers():
    assert make_classifier().probabilities([]).shape == (0, 3)


def test_a_text_of_a_megabyte_is_answered():
    assert make_classifier().probabilities(["card " * 200_000]).shape == (1, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99, this Millwright reads 2; open it with the version that wrote it"),
        ({"format": None}, "has format None"),
        ({"method": "top"}, "the weights do not fit method 'top'"),
        ({"labels": ["card", "pin"]}, "the weights do not fit method 'head'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, encoder, change, message):
    folder = saved(by_name(make_classifier(), encoder), tmp_path / "v1")
    about = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(Corrupt, match=message):
        open_classifier(folder)


def test_a_backbone_that_has_other_weights_now_is_refused(tmp_path, encoder):
    made = by_name(make_classifier(), encoder)
    other = replace(made, backbone=replace(made.backbone, sha256="0" * 64))
    with pytest.raises(
        Corrupt, match="has other weights than those v1 was trained on; restore them or train"
    ):
        open_classifier(saved(other, tmp_path / "v1"))


def test_a_backbone_that_is_gone_is_named(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    made = by_name(make_classifier(), tmp_path / "gone")
    with pytest.raises(NotFound, match="no backbone '.*gone'"):
        open_classifier(saved(made, tmp_path / "v1"))


@pytest.mark.parametrize(
    "harm", [lambda content: content[:50], lambda content: b"", lambda content: b"\x80\x04pickle"]
)
def test_damaged_weights_are_refused_by_name(tmp_path, encoder, harm):
    folder = saved(by_name(make_classifier(), encoder), tmp_path / "v1")
    path = folder / "weights.safetensors"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(Corrupt, match=r"weights\.safetensors is damaged"):
        open_classifier(folder)


def test_missing_files_are_refused_by_name(tmp_path, encoder):
    for name in ("weights.safetensors", "classifier.json"):
        folder = saved(by_name(make_classifier(), encoder), tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(Corrupt, match=name):
            open_classifier(folder)


@pytest.mark.parametrize("change", ["a tensor too many", "a tensor too few", "another shape"])
def test_weights_of_another_structure_are_refused(tmp_path, encoder, change):
    folder = saved(by_name(make_classifier(), encoder), tmp_path / "v1")
    weights = load_file(folder / "weights.safetensors")
    if change == "a tensor too many":
        weights["encoder.embeddings.word_embeddings.weight"] = torch.zeros(64, 32)
    elif change == "a tensor too few":
        weights.pop("head.bias")
    else:
        weights["head.weight"] = weights["head.weight"][:, :-1].contiguous()
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(Corrupt, match="the weights do not fit method 'head' .*; train a new version"):
        open_classifier(folder)


@pytest.mark.parametrize("most_bytes", [10, 1_000, 1_600])
def test_a_full_disk_is_told_while_saving(tmp_path, encoder, most_bytes):
    made = by_name(make_classifier(), encoder)
    (tmp_path / "v1").mkdir()
    with full_disk(most_bytes), pytest.raises(CannotStore, match="free space"):
        made.save(tmp_path / "v1")


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_assembling_leaves_the_backbone_as_it_was(family):
    backbone = make_backbone(family)
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    width = feature_count(backbone)
    tuned = {"head.weight": torch.zeros(2, width), "head.bias": torch.zeros(2)}
    assemble(["a", "b"], "head", backbone, TrainSection(), 1.0, torch.float32, tuned)
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_classifier_over_the_built_in_backbone_comes_back(tmp_path):
    backbone = load_backbone("minilm", 64)
    width = feature_count(backbone)
    chance = torch.Generator().manual_seed(0)
    tuned = {"head.weight": torch.randn(3, width, generator=chance), "head.bias": torch.zeros(3)}
    made = assemble(LABELS, "head", backbone, TrainSection(), 1.0, torch.float32, tuned)
    found = open_classifier(saved(made, tmp_path / "v1"))
    assert np.array_equal(found.probabilities(TEXTS), made.probabilities(TEXTS))
    assert (tmp_path / "v1" / "weights.safetensors").stat().st_size < 100_000  # the backbone is not in it
