"""Trains the tagger that the package ships, on sentences that corpus.py makes: a linear-chain CRF.

    python tagger/train.py [--sentences 150000] [--epochs 4] [--out src/millwright/privacy/tagger.safetensors]

The same arguments give the same file on the same machine; the corpus needs jieba 0.42.1 and
zxcvbn 4.5.0. Shape suffixes: B sentences, L tokens of the longest, F features, K tags, R rows of the table.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus, Piece
from safetensors.numpy import save_file

from millwright.privacy import tagger
from millwright.privacy.tokens import FACTS, TOKEN, token_facts

K, GAP = len(tagger.TAGS), np.zeros((tagger.REACH, FACTS), np.uint32)
FORGOTTEN = 0.3  # share of features that training leaves out, so that none is relied on alone
BATCH = 128


def example(pieces: list[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of features (L, F) and tags (L,) of a sentence."""
    text = "".join(piece for piece, _ in pieces)
    tag_of = np.zeros(len(text), int)
    starts = set()
    place = 0
    for piece, entity in pieces:
        if entity:
            tag_of[place : place + len(piece)] = tagger.TAGS.index(f"I-{entity}")
            starts.add(place)
        place += len(piece)
    matches = list(TOKEN.finditer(text))
    facts = np.array([token_facts(match[0]) for match in matches], np.uint32).reshape(-1, FACTS)
    tags, before = [], 0
    for match in matches:
        tag = int(tag_of[match.start()])
        begins = tag and (
            before != tag or any(before_start in starts for before_start in range(match.start(), match.end()))
        )
        tags.append(tag - 1 if begins else tag)
        before = tag
    return tagger.feature_rows(np.concatenate([GAP, facts, GAP])).astype(np.int32), np.array(tags)


def crf_loss(
    score_BLK: torch.Tensor, tag_BL: torch.Tensor, move_KK: torch.Tensor, start_K: torch.Tensor
) -> torch.Tensor:
    """Mean negative log likelihood of tag sequences; tag -1 stands after a sentence's end."""
    is_token_BL = tag_BL >= 0
    known_BL = tag_BL.clamp(min=0)
    own_BL = score_BLK.gather(2, known_BL[..., None])[..., 0] * is_token_BL
    moves_BL = move_KK[known_BL[:, :-1], known_BL[:, 1:]] * is_token_BL[:, 1:]
    gold_B = own_BL.sum(1) + moves_BL.sum(1) + start_K[known_BL[:, 0]]
    all_BK = score_BLK[:, 0] + start_K
    for place in range(1, score_BLK.shape[1]):
        next_BK = torch.logsumexp(all_BK[:, :, None] + move_KK, 1) + score_BLK[:, place]
        all_BK = torch.where(is_token_BL[:, place, None], next_BK, all_BK)
    return (torch.logsumexp(all_BK, 1) - gold_B).mean()


def train(
    examples: list[tuple[np.ndarray, np.ndarray]], epochs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (R, K), moves (K, K) and starts (K,)."""
    torch.manual_seed(0)
    table = torch.nn.EmbeddingBag(2**tagger.BITS, K, mode="sum", sparse=True)
    torch.nn.init.zeros_(table.weight)
    move_KK, start_K = torch.nn.Parameter(torch.zeros(K, K)), torch.nn.Parameter(torch.zeros(K))
    sparse = torch.optim.SparseAdam(table.parameters(), lr=0.02)
    dense = torch.optim.Adam([move_KK, start_K], lr=0.02)
    rng = np.random.default_rng(1)
    by_length = sorted(range(len(examples)), key=lambda place: len(examples[place][1]))
    batches = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    for epoch in range(epochs):
        total = 0.0
        for group in (sparse, dense):
            group.param_groups[0]["lr"] = 0.02 * (1 - epoch / epochs)
        for number in rng.permutation(len(batches)):
            picked = [examples[place] for place in batches[number]]
            lengths = [len(tags) for _, tags in picked]
            tag_BL = torch.full((len(picked), max(lengths)), -1)
            for place, (_, tags) in enumerate(picked):
                tag_BL[place, : len(tags)] = torch.from_numpy(tags)
            rows = torch.from_numpy(np.concatenate([rows for rows, _ in picked])).long()
            kept = torch.from_numpy((rng.random(rows.shape) >= FORGOTTEN) / (1 - FORGOTTEN)).float()
            score_TK = table(rows, per_sample_weights=kept)
            score_BLK = torch.zeros(len(picked), max(lengths), K)
            score_BLK[tag_BL >= 0] = score_TK
            loss = crf_loss(score_BLK, tag_BL, move_KK, start_K)
            sparse.zero_grad()
            dense.zero_grad()
            loss.backward()
            sparse.step()
            dense.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / len(batches):.4f}", flush=True)
    return table.weight.detach().numpy(), move_KK.detach().numpy(), start_K.detach().numpy()


def main() -> None:
    """Make the corpus, train, write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sentences", type=int, default=150_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=tagger.WEIGHTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus(seed=0)
    examples = [example(corpus.sentence("zh" if number % 2 else "en")) for number in range(given.sentences)]
    weight_RK, move_KK, start_K = train([pair for pair in examples if len(pair[1])], given.epochs)
    scale = np.quantile(np.abs(weight_RK[np.abs(weight_RK) > 0]), 0.9999) / 127
    save_file(
        {
            "weights": np.clip(np.round(weight_RK / scale), -127, 127).astype(np.int8),
            "scale": np.array([scale], np.float32),
            "moves": move_KK.astype(np.float32),
            "starts": start_K.astype(np.float32),
        },
        given.out,
        metadata={"tagger": json.dumps(tagger.layout())},
    )
    print(f"wrote {given.out}, {given.out.stat().st_size:,} bytes, scale {scale:.5f}")


if __name__ == "__main__":
    main()
