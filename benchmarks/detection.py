"""Scores and times the detection of personal data beside Presidio; says what masking costs in accuracy.

    python benchmarks/detection.py                    all of it: minutes
    python benchmarks/detection.py --only presidio    or million, chinese, accuracy; the rest stays

Needs the datasets beside the checkout. Writes docs/benchmarks/detection.json. One thread each.
"""

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import time
import venv
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record import BENCH, DATA, ROOT, Row, print_table, read_rows, write_record

from millwright.privacy.detect import detector
from millwright.privacy.mask import Masker, policies_of
from millwright.project import open_project
from millwright.scaffold import new_project
from millwright.settings import FILENAME, PrivacySection, change_settings, dump_settings
from millwright.steps import evaluate, train

NAME = "detection"
PEER = Path(__file__).parent / "peers" / "presidio"
MILLION = 1_000_000
MOST_BY_PEER = 3_000  # texts: it would take an hour or more over a million
MSRA_SENTENCES = 5_000
ROUNDS = 3


def main() -> None:
    """Measure what was asked for and write the record."""
    parts = {"presidio": presidio, "million": million, "chinese": chinese, "accuracy": accuracy}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    asked = parser.parse_args()
    rows = [row for row in read_rows(NAME) if row["part"] not in asked.only]
    for part in asked.only:
        found = [{"part": part, **row} for row in parts[part]()]
        print_table(found, list(dict.fromkeys(key for row in found for key in row)))
        rows += found
        write_record(NAME, sorted(rows, key=lambda row: list(parts).index(str(row["part"]))))


def presidio() -> list[Row]:
    """F2 on held-out templates and texts a second, both in one process of the peer's environment."""
    dataset = DATA / "pii_presidio_synth_v2" / "synth_dataset_v2.json"
    found = _by_peer("detect.py", str(dataset), str(ROUNDS))
    return [*({"what": "F2", **score} for score in found["scores"]), {"what": "speed", **found["speed"]}]


def _by_peer(script: str, *arguments: str) -> Any:
    """What a script prints that runs in the peer's environment, on one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [_peer_python(), PEER / script, *arguments],
        env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _peer_python() -> Path:
    """The peer's interpreter; its environment is made when it is missing."""
    environment = BENCH / "presidio"
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", PEER / "requirements.txt"], check=True)
        (environment / "ready").touch()
    return python


def million() -> list[Row]:
    """Seconds in which a million texts are masked, in pieces as `prepare` does, and in which Presidio finds.

    Presidio's are those of its batch engine on the first texts, times as many. Both have one core.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # `mask_all` would take all
    synthetic = json.loads((DATA / "pii_presidio_synth_v2" / "synth_dataset_v2.json").read_text())
    sets = {
        "Banking77, few names": [text for text, _ in _banking("train")],
        "presidio synth, names in most": [row["full_text"] for row in synthetic],
    }
    rows: list[Row] = []
    for name, texts in sets.items():
        count = MILLION if name.startswith("Banking") else MILLION // 10
        found = Masker(policies_of(PrivacySection()))
        found.mask("Warm up, John Smith")
        start, counts = time.perf_counter(), Counter[str]()
        many = itertools.islice(itertools.cycle(texts), count)
        while piece := list(itertools.islice(many, 50_000)):
            found.mask_all(piece, counts)
        taken = time.perf_counter() - start
        one = time.perf_counter()
        for text in texts[:2_000]:
            found.mask(text)
        one = (time.perf_counter() - one) / min(len(texts), 2_000)
        with TemporaryDirectory() as folder:
            (file := Path(folder) / "texts.json").write_text(json.dumps(texts[:MOST_BY_PEER]))
            peer_per_s = _by_peer("batch.py", str(file))
        rows.append(
            {
                "what": name,
                "texts": count,
                "seconds": round(taken, 1),
                "seconds_a_million": round(taken * MILLION / count, 1),
                "peer_texts": min(len(texts), MOST_BY_PEER),
                "peer_seconds_a_million": round(MILLION / peer_per_s, 1),
                "ratio": round(count / taken / peer_per_s, 1),
                "microseconds_alone": round(one * 1e6, 1),
                "masked": sum(counts.values()),
            }
        )
    os.sched_setaffinity(0, cores)
    return rows


def chinese() -> list[Row]:
    """Exact spans of names in two Chinese corpora that nothing was trained on."""
    sets: dict[str, Callable[[], Iterable[tuple[str, set[tuple[int, int, str]]]]]] = {
        "CLUENER dev": _cluener,
        f"MSRA, {MSRA_SENTENCES:,} sentences": _msra,
    }
    finder, rows = detector(frozenset({"PERSON", "ORGANIZATION", "LOCATION"})), []
    for name, read in sets.items():
        hits, gold_count, found_count = Counter[str](), Counter[str](), Counter[str]()
        for text, gold in read():
            found = {(span.start, span.end, span.entity) for span in finder.find(text)}
            hits.update(kind for *_, kind in found & gold)
            gold_count.update(kind for *_, kind in gold)
            found_count.update(kind for *_, kind in found)
        for kind in sorted(gold_count):
            precision, recall = hits[kind] / max(found_count[kind], 1), hits[kind] / gold_count[kind]
            rows.append(
                {
                    "what": name,
                    "entity": kind,
                    "spans": gold_count[kind],
                    "precision": round(precision, 3),
                    "recall": round(recall, 3),
                    "f1": round(2 * precision * recall / ((precision + recall) or 1), 3),
                }
            )
    return rows


def _cluener() -> Iterable[tuple[str, set[tuple[int, int, str]]]]:
    kinds = {
        "name": "PERSON", "company": "ORGANIZATION", "organization": "ORGANIZATION",
        "government": "ORGANIZATION", "address": "LOCATION",
    }  # fmt: skip
    for line in (DATA / "ner_zh_cluener" / "dev.json").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield (
            row["text"],
            {
                (start, end + 1, kinds[kind])
                for kind, mentions in row["label"].items()
                if kind in kinds
                for places in mentions.values()
                for start, end in places
            },
        )


def _msra() -> Iterable[tuple[str, set[tuple[int, int, str]]]]:
    kinds = {"PER": "PERSON", "ORG": "ORGANIZATION", "LOC": "LOCATION"}
    with zipfile.ZipFile(DATA / "ner_zh_msra" / "dh_msra.zip") as packed:
        content = packed.read(packed.namelist()[0]).decode().replace("\r", "")
    sentences = [sentence for sentence in content.split("\n\n") if sentence.strip()]
    for sentence in random.Random(0).sample(sentences, MSRA_SENTENCES):
        text, spans = "", []
        for line in sentence.strip().split("\n"):
            sign, _, tag = line.partition("\t")
            if tag.startswith("B"):
                spans.append((len(text), len(text) + len(sign), kinds[tag[2:5]]))
            elif tag.startswith("I") and spans:
                start, _, kind = spans.pop()
                spans.append((start, len(text) + len(sign), kind))
            text += sign
        yield text, set(spans)


def accuracy() -> list[Row]:
    """Accuracy of a head on test rows, trained and tested with masking and without."""
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        for name, make in {"customer-desk": _desk, "Banking77": _banking_project}.items():
            for masks in (True, False):
                home = Path(folder) / f"{name}-{masks}"
                make(home)
                project = open_project(home)
                settings = change_settings(project.settings, "privacy", mask=masks)
                settings = change_settings(settings, "train", method="head")
                (home / FILENAME).write_text(dump_settings(settings), encoding="utf-8")
                project = open_project(home)
                train(project)
                found, _ = evaluate(project)
                interval = found.accuracy
                rows.append(
                    {
                        "what": name,
                        "mask": masks,
                        "rows": found.rows,
                        "accuracy": round(interval.value, 4),
                        "low": round(interval.low, 4),
                        "high": round(interval.high, 4),
                    }
                )
    return rows


def _desk(home: Path) -> None:
    new_project(home, template="customer-desk")


def _banking_project(home: Path) -> None:
    for part in ("train", "test"):
        with (home.parent / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *_banking(part)])
    new_project(home, data=home.parent / "train.csv", test_data=home.parent / "test.csv")


def _banking(part: str) -> list[tuple[str, str]]:
    (path,) = (DATA / "banking77").glob(f"*{part}*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        text, label, *_ = (
            tuple(row) for row in zip(*itertools.islice(csv.reader(file), 1, None), strict=True)
        )
    return list(zip(text, label, strict=True))


if __name__ == "__main__":
    main()
