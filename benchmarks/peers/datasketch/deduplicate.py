"""Finds exact and near duplicates with pandas and datasketch; prints JSON. Runs in .bench/datasketch.

Does less than `millwright prepare`: it neither splits nor checks nor writes. It hashes with `update_batch`
and compares each candidate exactly. MinHashLSH would choose bands that miss a quarter of the pairs near the
threshold, so it is given the bands that Millwright takes at these sizes, which are also faster.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
from datasketch import MinHash, MinHashLSH

BANDS, ROWS, SIMILARITY = 13, 5, 0.85


def shingles(text: str) -> set[str]:
    """Words and word pairs of a canonical text."""
    words = text.split() or [text]
    return set(words) | {f"{one} {other}" for one, other in pairwise(words)}


def peak_mb() -> float:
    """The process's own peak; that of `resource` counts what the parent held when it started this."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Read the CSV that is named, and print counts and seconds."""
    start, start_cpu = time.perf_counter(), time.process_time()
    rows = pd.read_csv(sys.argv[1], dtype=str, keep_default_na=False)
    rows = rows[rows["message"].str.strip() != ""]
    canonical = rows["message"].str.normalize("NFKC").str.casefold()
    rows["canonical"] = canonical.str.replace(r"[\W_]+", " ", regex=True).str.strip()
    kept = rows.drop_duplicates(["canonical", "intent"])
    texts = kept["canonical"].drop_duplicates().tolist()
    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    sets: list[set[str]] = []
    near = 0
    for number, text in enumerate(texts):
        own = shingles(text)
        sets.append(own)
        minhash = MinHash(num_perm=BANDS * ROWS)
        minhash.update_batch([shingle.encode() for shingle in own])
        candidates = [sets[int(other)] for other in lsh.query(minhash)]
        near += any(len(own & other) >= SIMILARITY * len(own | other) for other in candidates)
        lsh.insert(str(number), minhash, check_duplication=False)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - start_cpu,
                "peak_mb": peak_mb(),
                "exact": len(rows) - len(kept),
                "near": int(near),
            }
        )
    )


if __name__ == "__main__":
    main()
