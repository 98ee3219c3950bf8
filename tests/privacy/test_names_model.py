"""A token-classification model in a folder takes the tagger's place, with places right in any script."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from millwright.errors import BadInput, NotFound
from millwright.modalities.words import first_tokens, join_tags, join_words, word_places
from millwright.privacy.detect import detector
from millwright.privacy.mask import masker
from millwright.privacy.names_model import open_names_model
from tests.privacy.test_mask import project_with

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-GPE", "I-GPE", "B-MISC"]
# What each piece is tagged as; the model is made to know this table and nothing else.
PIECES = {
    "zelda": 1, "quux": 2, "acme": 3, "corp": 4, "oslo": 5, "café": 1, "##s": 0, "##land": 6, "東": 5,
    "京": 6,
    "mon": 7, "mueller": 1, "مريم": 1, "i": 0, "met": 0, "at": 0, "in": 0, ".": 0, ",": 0, "-": 0, "'": 0,
    "zoë": 1,
}  # fmt: skip


def save_model(folder: Path, tags: list[str], *, positions: int = 32) -> str:
    """A BERT of which each token's tag is that of PIECES: a layer that adds nothing, a head that looks up."""
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PIECES])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    size = len(vocabulary)
    config = BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4,
        max_position_embeddings=positions, id2label=dict(enumerate(tags)),
        label2id={tag: number for number, tag in enumerate(tags)},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        model.bert.embeddings.word_embeddings.weight[:, :size] = torch.eye(size, 32)[:, :size]
        for piece, tag in PIECES.items():
            model.classifier.weight[tag % len(tags), vocabulary[piece]] = 1.0
        for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
            model.classifier.weight[0, vocabulary[piece]] = 1.0
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("names"), TAGS)


def names_in(model: str, text: str) -> list[tuple[str, str]]:
    (spans,) = open_names_model(model).spans([text])
    return [(span.entity, text[span.start : span.end]) for span in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I met Zelda Quux at Acme Corp.", [("PERSON", "Zelda Quux"), ("ORGANIZATION", "Acme Corp")]),
        ("in Oslo, in Osloland", [("LOCATION", "Oslo"), ("LOCATION", "Osloland")]),
        ("東京 in 東京.", [("LOCATION", "東京"), ("LOCATION", "東京")]),
        ("\U0001f600\U0001f468\u200d\U0001f469 Zelda", [("PERSON", "Zelda")]),
        ("i met مريم in Oslo", [("PERSON", "مريم"), ("LOCATION", "Oslo")]),
        ("\u2003Zoe\u0308 at\u00a0Oslo", [("LOCATION", "Oslo")]),
        ("Zoë at\r\nOslo", [("PERSON", "Zoë"), ("LOCATION", "Oslo")]),
        ("Zelda-Quux met", [("PERSON", "Zelda-Quux")]),
        ("mon", []),
        ("", []),
    ],
)
def test_finds_names_at_their_places(model, text, expected):
    assert names_in(model, text) == expected


@given(
    st.lists(st.sampled_from(["\U0001f600", "é", "e\u0301", "\u200d", " ", "İ", "ß", "東", "\n", "x", "क्षि"]))
)
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_whatever_stands_before_and_after_a_name_its_place_is_found(model, around):
    beside = "".join(around)
    text = f"{beside} Zelda {beside}"
    (spans,) = open_names_model(model).spans([text])
    people = [(span.start, span.end) for span in spans if span.entity == "PERSON"]
    assert people == [match.span() for match in re.finditer("Zelda", text)]


def test_a_long_text_is_read_to_its_end_and_texts_together_as_alone(model):
    texts = [f"{'i met ' * count}Zelda Quux in Oslo" for count in (0, 3, 13, 14, 15, 40, 200)]
    together = open_names_model(model).spans(texts)
    for text, spans in zip(texts, together, strict=True):
        assert [text[span.start : span.end] for span in spans] == ["Zelda Quux", "Oslo"]
        assert [spans] == open_names_model(model).spans([text])


def test_takes_the_taggers_place_for_names_and_leaves_patterns_and_addresses(model):
    text = "I met mueller and John Smith, mail js@example.com, 12 Baker Street"
    by_tagger = {(span.entity, text[span.start : span.end]) for span in detector().find(text)}
    by_model = {(span.entity, text[span.start : span.end]) for span in detector(names=model).find(text)}
    assert ("PERSON", "John Smith") in by_tagger
    assert ("PERSON", "mueller") not in by_tagger
    assert by_model == {
        ("PERSON", "mueller"),
        *(item for item in by_tagger if item[0] in ("EMAIL_ADDRESS", "ADDRESS")),
    }


def test_a_project_masks_by_the_model_that_its_settings_name(model, tmp_path):
    project = project_with(tmp_path, names=model, policies={"ORGANIZATION": "mask"})
    assert masker(project).mask("i met zelda at ACME corp") == "i met <PERSON> at <ORGANIZATION>"


def test_a_folder_inside_the_project_is_found_from_anywhere(tmp_path):
    project = project_with(tmp_path / "desk", names="ner")
    save_model(tmp_path / "desk" / "ner", TAGS)
    assert masker(project).mask("met Zelda") == "met <PERSON>"


def test_says_what_to_do_where_there_is_no_such_model(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        NotFound, match=r"privacy\.names: no model '.*absent'.*offline, name a local folder, or true"
    ):
        open_names_model(str(tmp_path / "absent"))


def test_refuses_a_model_that_knows_no_people(tmp_path):
    with pytest.raises(BadInput, match=r"none of the labels .* means people \(O, B-DISEASE, I-DISEASE\)"):
        open_names_model(save_model(tmp_path, ["O", "B-DISEASE", "I-DISEASE"]))


def test_refuses_an_encoder_without_a_trained_head(tmp_path):
    folder = save_model(tmp_path, TAGS)
    BertForTokenClassification.from_pretrained(folder).bert.save_pretrained(folder)
    with pytest.raises(BadInput, match=r"lack 'classifier\.bias', so it is no trained token classifier"):
        open_names_model(folder)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A I-A O B-A B-A", [(0, 2, "A"), (3, 4, "A"), (4, 5, "A")]),
        ("I-A I-A I-B O I-B", [(0, 2, "A"), (2, 3, "B"), (4, 5, "B")]),
        ("S-A B-A I-A E-A I-A", [(0, 1, "A"), (1, 4, "A"), (4, 5, "A")]),
        ("U-A B-A L-A", [(0, 1, "A"), (1, 3, "A")]),
        ("A A O B", [(0, 2, "A"), (3, 4, "B")]),
        ("", []),
    ],
)
def test_joins_tags_of_any_scheme(tags, spans):
    assert join_tags(tags.split()) == spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3pm, isn't it?", ["It", "'", "s", "3", "pm", ",", "isn", "'", "t", "it", "?"]),
        ("北京2008 奥运", ["北", "京", "2008", "奥", "运"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301s x_y", ["cafe\u0301s", "x", "_", "y"]),
        ("\U0001f600ok", ["\U0001f600", "ok"]),
    ],
)
def test_words_of_any_script(text, words):
    assert [text[start:end] for start, end in word_places(text)] == words


def test_words_and_tokens_meet_by_their_characters():
    assert first_tokens([(0, 3), (4, 6), (6, 7), (9, 12)], [(0, 0), (0, 2), (2, 3), (3, 7), (0, 0)]) == [
        1,
        3,
        3,
        None,
    ]


def test_tokens_make_a_text_that_reads_as_it_is_written():
    text, places = join_words(["I", "saw", "北", "京", "2008", "today", "."])
    assert text == "I saw北京2008 today ."
    assert [text[start:end] for start, end in places] == ["I", "saw", "北", "京", "2008", "today", "."]
