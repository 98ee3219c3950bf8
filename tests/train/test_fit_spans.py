"""Training of what finds spans: it learns, twice alike, is saved and read back, and says what it cannot."""

import numpy as np
import pytest
import torch

from millwright.data.prepare import prepare
from millwright.errors import BadInput, Corrupt
from millwright.modalities.spans import FoundSpans, read_spans
from millwright.modalities.words import word_places
from millwright.progress import quiet
from millwright.project import Project
from millwright.records import Row
from millwright.settings import change_settings
from millwright.train import fit_spans as module
from millwright.train.fit import Fitted, fit
from millwright.train.span_model import SpanModel, joined, open_span_model, tag_scores
from millwright.train.word_states import word_features
from tests.conftest import contents
from tests.span_desk import span_project, span_rows
from tests.train.test_chain import all_paths


@pytest.fixture(scope="module")
def project(tmp_path_factory, encoder) -> Project:
    return span_project(tmp_path_factory.mktemp("spans") / "desk", encoder, span_rows(240))


@pytest.fixture(scope="module")
def dataset(project):
    return prepare(project)


@pytest.fixture(scope="module")
def made(project, dataset) -> Fitted:
    return fit(dataset, project.settings, kept=project.kept, progress=quiet)


def model_of(made: Fitted) -> SpanModel:
    assert isinstance(made.classifier, SpanModel)
    return made.classifier


def test_it_finds_the_spans_of_rows_that_it_never_saw(made, dataset):
    rows = dataset.split("test")
    found = model_of(made).find([row.text for row in rows])
    wanted = [read_spans(row.label) for row in rows]
    assert sum(map(len, wanted)) > 30
    right = sum(len(set(one.spans) & set(two)) for one, two in zip(found, wanted, strict=True))
    assert right / sum(map(len, wanted)) > 0.95
    assert right / sum(len(one.spans) for one in found) > 0.95
    assert made.method == "head"
    assert made.facts["validation_f1"] > 0.95


def test_the_same_rows_give_the_same_bytes_with_a_cache_or_without(made, project, dataset, tmp_path):
    again = fit(dataset, project.settings, kept=tmp_path / "other", progress=quiet)
    cached = fit(dataset, project.settings, kept=project.kept, progress=quiet)
    assert (again.facts["texts_run"] > 0, cached.facts["texts_run"]) == (True, 0)
    for name, one in (("first", made), ("again", again), ("cached", cached)):
        (tmp_path / name).mkdir()
        model_of(one).save(tmp_path / name)
    assert contents(tmp_path / "first") == contents(tmp_path / "again") == contents(tmp_path / "cached")


def test_what_was_saved_answers_as_what_was_trained(made, tmp_path):
    model = model_of(made)
    model.save(tmp_path)
    texts = ["my card is lost", "please " * 40 + "money sent", "where", "transfer pending pin"]
    assert open_span_model(tmp_path).find(texts) == model.find(texts)


def test_a_span_after_more_tokens_than_the_backbone_reads_is_found(made):
    text = "please help my " * 20 + "money sent where"
    assert model_of(made).backbone.max_tokens < 60
    (found,) = model_of(made).find([text])
    assert [text[span.start : span.end] for span in found.spans] == ["money sent"]


def test_probabilities_are_the_chains_own_marginals(made):
    """Against all sequences of tags of a short text, listed with their scores."""

    model, text = model_of(made), "my card transfer pending"
    (state_WS,) = model.states([text])
    head = model.head
    paths = all_paths(head.chain, tag_scores(word_features(text, state_WS), head.weight_KD, head.bias_K))
    found = head.read(text, state_WS)
    best = max(paths, key=lambda path: paths[path])
    assert found.probability == pytest.approx(paths[best])
    for span, sure in zip(found.spans, found.probabilities, strict=True):
        own = [
            share
            for path, share in paths.items()
            if share
            and any(
                (word_places(text)[first][0], word_places(text)[last - 1][1], head.labels[label])
                == (span.start, span.end, span.label)
                for first, last, label in joined(path)
            )
        ]
        assert sure == pytest.approx(sum(own))
    assert [text[span.start : span.end] for span in found.spans] == ["card", "transfer pending"]


def test_a_text_without_a_word_has_no_span(made):
    states = torch.zeros(0, model_of(made).head.weight_KD.shape[1])
    assert model_of(made).head.read(" ", states) == FoundSpans((), (), 1.0)


def test_weights_that_do_not_fit_the_labels_are_refused(made, tmp_path):
    model_of(made).save(tmp_path)
    about = (tmp_path / "classifier.json").read_text()
    (tmp_path / "classifier.json").write_text(about.replace('"ITEM",', '"ITEM", "MORE",'))
    with pytest.raises(Corrupt, match=r"weights\.safetensors does not fit 3 labels"):
        open_span_model(tmp_path)


def test_only_so_many_words_teach_and_it_is_told(project, dataset, monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 300)
    made = fit(dataset, project.settings, kept=project.kept, progress=quiet)
    train = dataset.split("train")
    held = sum(len(word_places(row.text)) for row in dataset.split("validation"))
    assert 250 < made.facts["words"] - held <= 300
    assert 0 < made.facts["rows_not_needed"] < len(train)


def test_only_so_many_words_judge_and_it_is_told(project, dataset, monkeypatch):
    monkeypatch.setattr(module, "MOST_HELD_WORDS", 60)
    made = fit(dataset, project.settings, kept=project.kept, progress=quiet)
    train = sum(len(word_places(row.text)) for row in dataset.split("train"))
    assert 0 < made.facts["words"] - train <= 60
    assert 0 < made.facts["rows_not_needed"] < len(dataset.split("validation"))


def test_without_validation_rows_the_chain_prefers_nothing(encoder, tmp_path):
    rows = [{**row, "who": "alma"} for row in span_rows(40, seed=3)]  # one group is in one split
    bare = span_project(tmp_path / "desk", encoder, rows, data={"group": "who"})
    dataset = prepare(bare)
    assert not dataset.split("validation")
    made = fit(dataset, bare.settings, kept=bare.kept, progress=quiet)
    chain = model_of(made).head.chain
    assert chain.scale == 1.0
    assert set(np.unique(chain.move_KK)) == {-np.inf, 0.0}
    assert made.facts["validation_f1"] is None


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("train", {"method": "lora"}, r"train\.method is 'lora', and project\.task 'token-classification'"),
        ("train", {"method": "private-head"}, "set train.method to 'auto' or 'head'"),
        ("train", {"shards": 4}, r"train\.shards is 4, and a head has none; set it to 1"),
        ("serve", {"runtime": "openvino-int8"}, r"serve\.runtime is 'openvino-int8'.*set it to 'auto'"),
    ],
)
def test_settings_that_it_cannot_have_are_refused(project, dataset, section, changes, said):
    settings = change_settings(project.settings, section, **changes)
    with pytest.raises(BadInput, match=said):
        fit(dataset, settings, kept=project.kept, progress=quiet)


def test_rows_whose_spans_are_all_held_out_cannot_teach():
    row = Row("1", "a b", "[]", "train", "file:x:1", "g")
    with pytest.raises(BadInput, match="no training row has a span"):
        module.span_labels([row])


def test_tags_join_to_spans():
    assert joined([0, 1, 2, 2, 3, 1, 0, 3, 4]) == [(1, 4, 0), (4, 5, 1), (5, 6, 0), (7, 9, 1)]
