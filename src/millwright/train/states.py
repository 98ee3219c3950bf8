"""Runs the frozen layers once per text and keeps what they made, on disk, by text and backbone.

Shape suffixes: T tokens of one text, H hidden width, D features.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from millwright.store.files import write_bytes
from millwright.train.backbones import Backbone
from millwright.train.network import Network, lower_encoder, pad, whole_network

TOKENS_A_BATCH = 4_096
LEAST_AGREEMENT = 0.999
logger = logging.getLogger(__name__)


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_precision() -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32


def checked_precision(backbone: Backbone, texts: Sequence[str]) -> torch.dtype:
    """The fast precision if features of `texts` agree with float32 (cosines above .999), else float32."""
    fast = fast_precision()
    sample = list(texts[:16])
    if fast == torch.float32 or not sample:
        return torch.float32
    token_ids = tokenize(backbone, sample)
    exact, quick = (
        torch.stack(list(_run(_feature_maker(backbone, dtype), token_ids, backbone.pad_id)))
        for dtype in (torch.float32, fast)
    )
    agreement = nn.functional.cosine_similarity(exact, quick).min().item()
    return fast if agreement > LEAST_AGREEMENT else torch.float32


def tokenize(backbone: Backbone, texts: Sequence[str]) -> list[Tensor]:
    """Token ids [T] of each text, special tokens included, cut at the backbone's `max_tokens`."""
    return [torch.tensor(encoding.ids) for encoding in backbone.tokenizer.encode_batch(list(texts))]


def batches_by_length(lengths: Sequence[int], tokens_a_batch: int = TOKENS_A_BATCH) -> Iterator[list[int]]:
    """Indices in batches of similar length, each of at most `tokens_a_batch` tokens with padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > tokens_a_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class StateCache:
    """Tensors by text for one maker (backbone, depth, precision), in content-named shards.

    The name of a shard is the hash of its bytes: one that was truncated or edited is dropped and
    what it held is made again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._found.update(_read_shard(path))

    def fetch(
        self, keys: Sequence[str], make: Callable[[list[int]], Iterator[Tensor]]
    ) -> tuple[list[Tensor], int]:
        """The tensor of each key, made and stored where it is missing.

        Args:
            keys: one key a text.
            make: given the places of the missing, yields their tensors [t, width] in that order.

        Returns:
            The tensors in the order of `keys`, and how many had to be made.
        """
        missing = {key: place for place, key in enumerate(keys) if key not in self._found}
        if missing:
            made = list(make(list(missing.values())))
            self._found.update(zip(missing, made, strict=True))
            _write_shard(self.folder, list(missing), made)
        return [self._found[key] for key in keys], len(missing)


def text_key(text: str) -> str:
    """The key of a text in a cache: 32 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached_features(
    backbone: Backbone,
    texts: Sequence[str],
    precision: torch.dtype,
    cache: Path,
    progress: Callable[[float], None],
) -> tuple[Tensor, int]:
    """Features [N, D] of the frozen backbone, and how many texts had to be run."""
    store = StateCache(cache / _maker_key(backbone, "features", precision))

    def make(places: list[int]) -> Iterator[Tensor]:
        token_ids = tokenize(backbone, [texts[place] for place in places])
        run = _feature_maker(backbone, precision)
        return (feature.unsqueeze(0) for feature in _run(run, token_ids, backbone.pad_id, progress))

    found, made = store.fetch([text_key(text) for text in texts], make)
    return torch.cat(found), made


def cached_states(
    backbone: Backbone,
    texts: Sequence[str],
    depth: int,
    precision: torch.dtype,
    cache: Path,
    progress: Callable[[float], None],
) -> tuple[list[Tensor], int]:
    """States [T, H] of each text after `depth` layers, and how many texts had to be run."""
    store = StateCache(cache / _maker_key(backbone, f"states-{depth}", precision))

    def make(places: list[int]) -> Iterator[Tensor]:
        token_ids = tokenize(backbone, [texts[place] for place in places])
        encoder = lower_encoder(backbone, depth).to(device(), precision).eval()

        def run(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
            states = encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.to(torch.bfloat16)
            return [
                state[:length].clone() for state, length in zip(states, mask_BT.sum(1).tolist(), strict=True)
            ]

        return _run(run, token_ids, backbone.pad_id, progress)

    return store.fetch([text_key(text) for text in texts], make)


def _maker_key(backbone: Backbone, kind: str, precision: torch.dtype) -> str:
    made_by = f"{backbone.sha256} {kind} {backbone.max_tokens} {precision}"
    return f"{kind}-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"


def _feature_maker(backbone: Backbone, precision: torch.dtype) -> Callable[[Tensor, Tensor], list[Tensor]]:
    network: Network = whole_network(backbone, 1).to(device(), precision).eval()
    return lambda ids_BT, mask_BT: list(network.features(ids_BT, mask_BT))


def _run(
    run: Callable[[Tensor, Tensor], list[Tensor]],
    token_ids: list[Tensor],
    pad_id: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[Tensor]:
    found: list[Tensor | None] = [None] * len(token_ids)
    done = 0
    with torch.inference_mode():
        for batch in batches_by_length([len(ids) for ids in token_ids]):
            ids_BT, mask_BT = pad([token_ids[index] for index in batch], pad_id)
            for index, result in zip(batch, run(ids_BT.to(device()), mask_BT.to(device())), strict=True):
                found[index] = result.cpu()
            done += len(batch)
            progress(done / len(token_ids))
    return (result for result in found if result is not None)


def _write_shard(folder: Path, keys: list[str], tensors: list[Tensor]) -> None:
    content = save(
        {
            "keys": torch.tensor([list(bytes.fromhex(key)) for key in keys], dtype=torch.uint8),
            "lengths": torch.tensor([len(tensor) for tensor in tensors]),
            "values": torch.cat(tensors),
        }
    )
    write_bytes(folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors", content)


def _read_shard(path: Path) -> dict[str, Tensor]:
    content = path.read_bytes()
    try:
        if hashlib.sha256(content).hexdigest()[:32] != path.stem:
            raise SafetensorError("its bytes are not those that its name was made of")
        shard = load(content)
    except SafetensorError as error:
        logger.warning("dropping damaged cache shard %s: %s", path, error)
        path.unlink()
        return {}
    keys = [bytes(key).hex() for key in shard["keys"].tolist()]
    return dict(zip(keys, shard["values"].split(shard["lengths"].tolist()), strict=True))
