"""Small random encoders of every family, with a word-level tokenizer: real architectures, no download."""

import copy
from collections.abc import Iterable

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from millwright.train.backbones import Backbone, wrap
from millwright.train.network import Network, lower_encoder
from millwright.train.states import tokenize
from millwright.train.tune import Plan

# Tensors here are tiny: a second thread costs more than it brings, and sums in another order.
torch.set_num_threads(1)

WORDS = [
    *("card", "lost", "stolen", "pin", "forgot", "blocked", "transfer", "pending"),
    *("money", "sent", "where", "please", "help", "my", "the", "is"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WIDTH = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}

CONFIGS = {
    "bert": BertConfig(vocab_size=64, max_position_embeddings=40, **WIDTH),
    "distilbert": DistilBertConfig(
        vocab_size=64, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=40
    ),
    "roberta": RobertaConfig(vocab_size=64, max_position_embeddings=42, pad_token_id=0, **WIDTH),
    "xlm-roberta": XLMRobertaConfig(vocab_size=64, max_position_embeddings=42, pad_token_id=0, **WIDTH),
    "electra": ElectraConfig(vocab_size=64, embedding_size=16, max_position_embeddings=40, **WIDTH),
    "modernbert": ModernBertConfig(
        vocab_size=64, pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **WIDTH
    ),
}


def mostly_quick(methods: Iterable[str]) -> list[object]:
    """Methods as parameters of a test; those that go the ways of others are run by `make test-slow`."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow) if name in ("full", "adalora") else name for name in methods]


def tiny_tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def make_backbone(family: str) -> Backbone:
    torch.manual_seed(7)
    return wrap(
        f"tiny-{family}", AutoModel.from_config(copy.deepcopy(CONFIGS[family])), tiny_tokenizer(), 0, 32
    )


@pytest.fixture(params=list(CONFIGS))
def tiny_backbone(request) -> Backbone:
    return make_backbone(request.param)


def plan(method: str = "top", **changes: object) -> Plan:
    """A short training of a tiny network, but for what a test changes."""
    fields = {
        "learning_rate": 5e-3,
        "epochs": 4,
        "patience": 9,
        "batch_size": 4,
        "label_smoothing": 0.0,
        "seed": 1,
    }
    return Plan(method=method, pad_id=0, **{**fields, **changes})


def inputs_for(network: Network, backbone: Backbone, texts: list[str]) -> list[torch.Tensor]:
    """What a network takes of texts: token ids, or the states of the layers below its own."""
    token_ids = tokenize(backbone, texts)
    if not network.depth:
        return token_ids
    encoder = lower_encoder(backbone, network.depth).eval()
    with torch.inference_mode():
        made = [encoder(input_ids=ids[None], attention_mask=torch.ones(1, len(ids))) for ids in token_ids]
    return [out.last_hidden_state[0].clone() for out in made]
