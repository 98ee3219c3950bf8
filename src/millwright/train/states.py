"""Runs the frozen layers once per text and keeps what they made, on disk, by text and backbone.

A text runs in a batch whose shape is a function of its own length, on one thread: what is made of it is
the same to the byte whatever runs beside it and however many cores there are.

Shape suffixes: B texts of a batch, T tokens, H hidden width, D features.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from millwright.modalities.text import bare
from millwright.train.backbones import Backbone
from millwright.train.cache import Made, fetch, text_key
from millwright.train.network import POOLS, frozen_network, lower_encoder, pad
from millwright.train.solver import one_thread_each

TOKENS_A_BATCH = 4_096
TOKENS_A_SHAPE = {"cpu": 256, "cuda": 32_768}  # what few rows are filled up to, so no larger than is quick
WIDTH_STEP = 4
LEAST_AGREEMENT = 0.999
PROBES = 16
NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # capabilities: two of x86, two of ARM
MOST_CACHE_BYTES = 4_000_000_000

Run = Callable[[Tensor, Tensor], list[Tensor]]


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_precision() -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively and PyTorch makes use of that, else float32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Not every release of PyTorch that may be installed tells.
    can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    # It is oneDNN that multiplies bfloat16 fast, and PyTorch for Apple's processors has none.
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    is_native = has_onednn and any(can.get(name) for name in NATIVE_BFLOAT16)
    return torch.bfloat16 if is_native else torch.float32


def backbone_precision(backbone: Backbone) -> torch.dtype:
    """The precision in which frozen layers run: `checked_precision` over words of the backbone's vocabulary.

    No row decides it, so what is cached stays what is asked for when rows come and go.
    """
    chance, words = random.Random(0), backbone.tokenizer.get_vocab_size()
    drawn = [[chance.randrange(words) for _ in range(length)] for length in range(1, PROBES + 1)]
    return checked_precision(backbone, backbone.tokenizer.decode_batch(drawn))


def checked_precision(backbone: Backbone, texts: Sequence[str]) -> torch.dtype:
    """The fast precision if features of `texts` agree with float32 (cosines above .999), else float32."""
    fast = fast_precision()
    if fast == torch.float32:
        return torch.float32
    ids_BT, mask_BT = pad(tokenize(backbone, texts), backbone.pad_id)
    with torch.inference_mode():
        exact, quick = (
            torch.cat(_feature_run(backbone, dtype)(ids_BT.to(device()), mask_BT.to(device())))
            for dtype in (torch.float32, fast)
        )
    agreement = nn.functional.cosine_similarity(exact, quick).min().item()
    return fast if agreement > LEAST_AGREEMENT else torch.float32


def tokenize(backbone: Backbone, texts: Sequence[str]) -> list[Tensor]:
    """Token ids [T] of each text, special tokens included, cut at the backbone's `max_tokens`."""
    read = [bare(text) for text in texts]
    return [torch.tensor(encoding.ids) for encoding in backbone.tokenizer.encode_batch_fast(read)]


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


def batches_by_shape(lengths: Sequence[int], tokens_a_shape: int) -> Iterator[tuple[list[int], int, int]]:
    """Indices in batches with the number of texts and of tokens to which each is to be filled up.

    Both are functions of a text's length alone: tokens are its length rounded up, texts as many as make
    `tokens_a_shape` tokens.
    """
    by_width: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_width.setdefault(-(-length // WIDTH_STEP) * WIDTH_STEP, []).append(index)
    for width, indices in sorted(by_width.items()):
        size = max(1, tokens_a_shape // width)
        for start in range(0, len(indices), size):
            yield indices[start : start + size], size, width


def cached_features(
    backbone: Backbone,
    texts: Sequence[str],
    precision: torch.dtype,
    cache: Path,
    progress: Callable[[float], None],
    most_bytes: int = MOST_CACHE_BYTES,
) -> tuple[Tensor, int]:
    """Features [N, D] of the frozen backbone, and how many texts had to be run."""

    def make(places: list[int]) -> Made:
        """Features of the texts at these places."""
        run = _feature_run(backbone, precision)
        return _run(run, backbone, [texts[place] for place in places], places, progress)

    folder = cache / maker_key(backbone, "features", precision, POOLS)
    found, made = fetch(folder, [text_key(text) for text in texts], make, most_bytes)
    return torch.cat(found), made


def cached_states(
    backbone: Backbone,
    texts: Sequence[str],
    depth: int,
    precision: torch.dtype,
    cache: Path,
    progress: Callable[[float], None],
    most_bytes: int = MOST_CACHE_BYTES,
) -> tuple[list[Tensor], int]:
    """States [T, H] of each text after `depth` layers in `precision`, and how many texts had to be run."""

    def make(places: list[int]) -> Made:
        """States of the texts at these places."""
        encoder = lower_encoder(backbone, depth).to(device(), precision).eval()

        def run(ids_BT: Tensor, mask_BT: Tensor) -> list[Tensor]:
            """States of a batch, each cut to its own tokens."""
            state_BTH = encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            lengths = mask_BT.sum(1).tolist()
            return [state[:length].clone() for state, length in zip(state_BTH, lengths, strict=True)]

        return _run(run, backbone, [texts[place] for place in places], places, progress)

    unrounded = "" if precision == torch.bfloat16 else "unrounded"  # earlier releases rounded float32
    folder = cache / maker_key(backbone, f"states-{depth}", precision, unrounded)
    return fetch(folder, [text_key(text) for text in texts], make, most_bytes)


# Another release may multiply in another order.
_MAKERS = f"torch {torch.__version__} transformers {transformers.__version__}"


def maker_key(backbone: Backbone, kind: str, precision: torch.dtype, pools: str = "") -> str:
    """The name of the folder of what a backbone makes, so that nothing made otherwise is taken for it."""
    made_by = f"{backbone.reading_sha256} {kind} {precision} {pools} {device().type} {_MAKERS}"
    return f"{kind}-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"


def _feature_run(backbone: Backbone, precision: torch.dtype) -> Run:
    network = frozen_network(backbone, device(), precision)
    return lambda ids_BT, mask_BT: [feature[None].cpu() for feature in network.features(ids_BT, mask_BT)]


def _run(
    run: Run, backbone: Backbone, texts: list[str], places: list[int], progress: Callable[[float], None]
) -> Made:
    """Place and result of each text, as batches are done."""
    for index, tensor in run_all(run, backbone.pad_id, tokenize(backbone, texts), progress):
        yield places[index], tensor


def run_all(
    run: Run, pad_id: int, token_ids: Sequence[Tensor], progress: Callable[[float], None]
) -> Iterator[tuple[int, Tensor]]:
    """Run token ids [T] in batches whose shape follows from each one's length.

    Args:
        run: makes a tensor of each row of a batch of token ids [B, T] with their mask.
        pad_id: the padding token's id.
        token_ids: what is run.
        progress: called with the fraction done.

    Yields:
        The number of some token ids, and what was made of them, as batches are done.
    """
    kind = device().type

    def one(batch: tuple[list[int], int, int]) -> tuple[list[int], list[Tensor]]:
        """Run one batch, padded to its size and width."""
        indices, size, width = batch
        items = [token_ids[index] for index in indices]
        items += [items[-1]] * (size - len(items))
        ids_BT, mask_BT = pad(items, pad_id)
        short = (0, width - ids_BT.shape[1])
        ids_BT = nn.functional.pad(ids_BT, short, value=pad_id)
        mask_BT = nn.functional.pad(mask_BT, short)
        with torch.inference_mode():
            made = run(ids_BT.to(device()), mask_BT.to(device()))
        return indices, [tensor.cpu() for tensor in made[: len(indices)]]

    batches = list(batches_by_shape([len(ids) for ids in token_ids], TOKENS_A_SHAPE[kind]))
    done = 0
    with one_thread_each(1 if kind == "cuda" else None) as pool:
        for indices, made in pool.map(one, batches):
            yield from zip(indices, made, strict=True)
            done += len(indices)
            progress(done / len(token_ids))
