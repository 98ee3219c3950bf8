"""Names of people, organisations and places by a token-classification model of the Hugging Face Hub.

It takes the place of the tagger for these three where `privacy.names` names it. A word has the tag of its
first token, as such models are trained; long texts are read in windows that overlap. PyTorch is loaded when
the first text comes.

Shape suffixes: B windows of a batch, T tokens, K tags.
"""

from collections.abc import Collection, Sequence
from functools import cache
from threading import Lock
from typing import Any

from millwright.errors import BadInput, NotFound
from millwright.modalities.words import first_tokens, join_tags, split_tag, word_places
from millwright.privacy.entities import Span
from millwright.privacy.tagger import SCORE
from millwright.store.hub import read_model

FIELD = "privacy.names"
# What label sets call them: CoNLL, OntoNotes, MSRA, CLUENER, WikiNEuRal and their like, in capitals.
KINDS = {
    **dict.fromkeys(("PER", "PERSON", "NAME", "NR", "PERS", "FIRSTNAME", "LASTNAME"), "PERSON"),
    **dict.fromkeys(
        ("ORG", "ORGANIZATION", "ORGANISATION", "COMPANY", "GOVERNMENT", "CORPORATION", "NT"), "ORGANIZATION"
    ),
    **dict.fromkeys(("LOC", "LOCATION", "GPE", "FAC", "PLACE", "CITY", "COUNTRY", "NS"), "LOCATION"),
}
MOST_TOKENS = 512  # of a window
TOKENS_A_BATCH = 4_096


class NamesModel:
    """A loaded model. May be used by several threads, one at a time."""

    def __init__(self, model: Any, tokenizer: Any, kinds: Sequence[str]) -> None:
        """`kinds` has for each of the model's classes its tag: the prefix and our entity, or "O"."""
        self._model, self._tokenizer, self._kinds = model, tokenizer, tuple(kinds)
        positions = min(
            getattr(model.config, "max_position_embeddings", MOST_TOKENS) or MOST_TOKENS, MOST_TOKENS
        )
        # RoBERTa counts its positions from the padding token on, so two of them are no tokens'.
        self._window = min(
            positions - 2 * (model.config.model_type in ("roberta", "xlm-roberta")), MOST_TOKENS
        )
        self._lock = Lock()

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Names in each of the texts, in order, none overlapping."""
        words = [word_places(text, compounds=True) for text in texts]
        tags = [["O"] * len(places) for places in words]
        with self._lock:
            self._tag(texts, words, tags)
        return [
            [
                Span(places[first][0], places[last - 1][1], label, SCORE)
                for first, last, label in join_tags(own)
            ]
            for places, own in zip(words, tags, strict=True)
        ]

    def _tag(self, texts: Sequence[str], words: list[list[tuple[int, int]]], tags: list[list[str]]) -> None:
        import torch

        if not texts:
            return
        read = self._tokenizer(
            list(texts), truncation=True, max_length=self._window, stride=self._window // 4,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        edge = [[-1] * len(places) for places in words]  # how far from its window's edge each word was read
        order = sorted(range(len(read["input_ids"])), key=lambda at: len(read["input_ids"][at]))
        while order:
            batch = [order.pop()]
            while order and (len(batch) + 1) * len(read["input_ids"][batch[0]]) <= TOKENS_A_BATCH:
                batch.append(order.pop())
            padded = self._tokenizer.pad(
                {name: [read[name][at] for at in batch] for name in ("input_ids", "attention_mask")},
                return_tensors="pt",
            )
            with torch.inference_mode():
                best_BT = self._model(**padded).logits.argmax(-1).tolist()
            for at, best_T in zip(batch, best_BT, strict=True):
                text, offsets = read["overflow_to_sample_mapping"][at], read["offset_mapping"][at]
                for word, token in enumerate(first_tokens(words[text], offsets)):
                    far = -1 if token is None else min(token, len(offsets) - 1 - token)
                    if token is not None and far > edge[text][word]:
                        edge[text][word], tags[text][word] = far, self._kinds[best_T[token]]


@cache
def open_names_model(name: str) -> NamesModel:
    """Load a model by name, once.

    Args:
        name: an id on the Hugging Face Hub, or a local folder in the Hub's layout.

    Returns:
        The model.

    Raises:
        NotFound: no such folder, and the Hub does not have it or cannot be reached.
        BadInput: it is no token classifier, has no fast tokenizer, or no label of people, organisations or
            places.
    """
    from safetensors import SafetensorError

    try:
        model, missing, tokenizer = read_model(name, lambda is_local: _read(name, is_local))
    except (OSError, ValueError, SafetensorError) as error:
        first_line = str(error).strip().split("\n", maxsplit=1)[0]
        raise NotFound(
            f"{FIELD}: no model {name!r}: it is not a local folder with config.json, model.safetensors and "
            f"tokenizer.json, and it could not be had from the Hugging Face Hub ({first_line}); offline, "
            "name a local folder, or true for the built-in tagger"
        ) from None
    if missing:
        raise BadInput(
            f"{FIELD}: the weights of {name!r} lack {min(missing)!r}, so it is no trained "
            "token classifier; name one that is",
            field=FIELD,
        )
    if not tokenizer.is_fast:
        raise BadInput(
            f"{FIELD}: {name!r} has no fast tokenizer, which tells where tokens stand; name a model with "
            "tokenizer.json",
            field=FIELD,
        )
    return NamesModel(model.eval(), tokenizer, _kinds(name, model.config.id2label))


def _read(name: str, is_local: bool) -> tuple[Any, Collection[str], Any]:
    """The model, names of weights that it lacks, its tokenizer."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    # Without the last argument the Hub is asked for an adapter, six times where it does not answer.
    model, loading = AutoModelForTokenClassification.from_pretrained(
        name, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
        local_files_only=is_local, trust_remote_code=False,
        adapter_kwargs={"local_files_only": is_local},
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(
        name, use_fast=True, local_files_only=is_local, trust_remote_code=False
    )
    return model, loading["missing_keys"], tokenizer


def _kinds(name: str, labels: dict[int, str]) -> list[str]:
    tags = []
    for number in range(len(labels)):
        prefix, label = split_tag(str(labels[number]))
        kind = KINDS.get(label.upper())
        tags.append(f"{prefix}-{kind}" if kind else "O")
    if not any(tag.endswith("-PERSON") for tag in tags):
        raise BadInput(
            f"{FIELD}: none of the labels of {name!r} means people ({', '.join(map(str, labels.values()))}); "
            "name a model with labels such as B-PER, ORG or GPE",
            field=FIELD,
        )
    return tags
