"""What finds spans is worth on three corpora, taught by more and more rows. `python benchmarks/spans.py`

CLUENER (Chinese, ten labels) is measured on its official validation rows, MSRA (Chinese, three labels) on
sentences that a hash holds out, presidio-research's synth_dataset_v2 (English, 17 labels) on the sentences
whose templates a hash holds out. Everything goes through the verbs: new, prepare, train. Nothing is masked,
since what would be masked is what is to be found. Rows that teach are the first of a shuffle with a fixed
seed; those that measure are the same for all sizes.
"""

import argparse
import io
import json
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from record import DATA, Row, print_table, read_rows, write_record
from transformers.utils.logging import disable_progress_bar

from millwright.modalities.spans import read_row, write_spans
from millwright.project import Project
from millwright.registry.versions import version_manifest
from millwright.scaffold import new_project
from millwright.settings import change_settings
from millwright.steps import predict, train

SIZES = (500, 2_000, 8_000)
MOST_TEST = 2_000
TIMED = 500  # texts
COLUMNS = (
    *("dataset", "rows", "f1", "f1_low", "f1_high", "precision", "recall", "macro_f1", "exact_rows"),
    *("calibration_error", "test_rows", "test_spans", "labels", "train_seconds", "texts_per_second"),
)


@dataclass(frozen=True)
class Corpus:
    """Rows that may teach, and rows that measure."""

    learn: list[Row]
    test: list[Row]


def cluener() -> Corpus:
    """Fine-grained Chinese entities; the end of a place is its last character."""

    def rows(name: str) -> Iterator[Row]:
        """Rows of one file."""
        for line in (DATA / "ner_zh_cluener" / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            spans = [
                {"start": start, "end": last + 1, "label": label}
                for label, said in row["label"].items()
                for places in said.values()
                for start, last in places
            ]
            yield {"text": row["text"], "spans": json.dumps(spans)}

    return Corpus(list(rows("train.json")), list(rows("dev.json")))


def msra() -> Corpus:
    """Chinese people, organisations and places, as characters with tags."""
    with (
        zipfile.ZipFile(DATA / "ner_zh_msra" / "dh_msra.zip") as packed,
        packed.open(packed.namelist()[0]) as file,
    ):
        corpus = io.TextIOWrapper(file, encoding="utf-8").read()
    rows = []
    for sentence in corpus.split("\n\n"):
        pairs = [line.split("\t") for line in sentence.splitlines() if "\t" in line]
        if pairs:
            text, spans = read_row(*(json.dumps(column) for column in zip(*pairs, strict=True)))
            rows.append({"text": text, "spans": write_spans(spans)})
    return _held_out(rows, lambda row: str(row["text"]))


def synth() -> Corpus:
    """English sentences made of templates; those of one template stay on one side."""
    rows = []
    for row in json.loads((DATA / "pii_presidio_synth_v2" / "synth_dataset_v2.json").read_text("utf-8")):
        spans = [
            {"start": span["start_position"], "end": span["end_position"], "label": span["entity_type"]}
            for span in row["spans"]
        ]
        rows.append(
            {"text": row["full_text"], "spans": json.dumps(spans), "template": str(row["template_id"])}
        )
    return _held_out(rows, lambda row: str(row["template"]))


DATASETS: dict[str, Callable[[], Corpus]] = {"CLUENER": cluener, "MSRA": msra, "synth_dataset_v2": synth}


def _held_out(rows: list[Row], group: Callable[[Row], str]) -> Corpus:
    """A fifth of the groups measures."""
    held = [random.Random(f"held {group(row)}").random() < 0.2 for row in rows]
    learn = [row for row, out in zip(rows, held, strict=True) if not out]
    return Corpus(learn, [row for row, out in zip(rows, held, strict=True) if out])


def measure(corpus: Corpus, size: int, folder: Path) -> Row:
    """Train on some rows of a corpus; the figures of its test rows."""
    for name, rows in (("learn", corpus.learn[:size]), ("test", corpus.test[:MOST_TEST])):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")
    made, _ = new_project(folder / "desk", data=folder / "learn.jsonl", test_data=folder / "test.jsonl")
    project = Project(made.folder, change_settings(made.settings, "privacy", mask=False))
    start = time.perf_counter()
    version = train(project)
    seconds = time.perf_counter() - start
    manifest = version_manifest(project, version.name)
    found, texts = manifest["metrics"], [str(row["text"]) for row in corpus.test[:TIMED]]
    predict(project, texts[:8])
    start = time.perf_counter()
    predict(project, texts)
    rate = len(texts) / (time.perf_counter() - start)
    return {
        "rows": manifest["dataset"]["splits"]["train"] + manifest["dataset"]["splits"]["validation"],
        "f1": found["f1"]["value"],
        "f1_low": found["f1"]["low"],
        "f1_high": found["f1"]["high"],
        **{name: found[name]["value"] for name in ("precision", "recall", "macro_f1", "exact_rows")},
        "calibration_error": found["calibration_error"],
        "test_rows": found["rows"],
        "test_spans": found["spans"],
        "labels": len(manifest["labels"]),
        "train_seconds": round(seconds, 1),
        "texts_per_second": round(rate, 1),
    }


def main() -> None:
    """Measure what was asked for and write the record, in which other rows stay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    asked = parser.parse_args()
    disable_progress_bar()
    rows = [row for row in read_rows("spans") if row["dataset"] not in asked.datasets]
    for name in asked.datasets:
        corpus = DATASETS[name]()
        random.Random(0).shuffle(corpus.learn)
        random.Random(1).shuffle(corpus.test)
        for size in asked.sizes:
            if size > len(corpus.learn) and size != min(s for s in asked.sizes if s >= len(corpus.learn)):
                continue
            with TemporaryDirectory() as folder:
                rows.append({"dataset": name, **measure(corpus, size, Path(folder))})
            print_table(rows[-1:], COLUMNS)
    write_record("spans", rows)


if __name__ == "__main__":
    main()
