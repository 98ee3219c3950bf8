"""Writes docs/benchmarks.md from the records in docs/benchmarks: a table and a picture for each.

    python benchmarks/pages.py

A record without a section below still gets a table of all its columns.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goals import Goal, bound_of_serving, goals
from pictures import bars, gains, lines
from record import MEASURED, RECORDS, ROOT, Row

PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `python benchmarks/pages.py` from the records in `docs/benchmarks/`; each section names the
command that made its record. Machines differ and are noisy: read ratios, which come from runs that took
turns on one machine, and compare absolute figures only within a table, and only where no line below it says
that its rows are of several runs. A goal whose contestants did not take turns, or were not measured, is open.
Servers answer the same inputs with the same weights, in the precision that a row or its section names, and
that they agree is checked before anything is timed; detectors and searches for duplicates are checked by what
they find. All of it runs on the machine's own cores, load generator included.
"""


@dataclass(frozen=True)
class Section:
    """How a record is shown: words, the columns of the table with their headings, and a picture."""

    title: str
    text: str
    columns: dict[str, str] = field(default_factory=dict)
    picture: Callable[[list[Row]], str] | None = None


def _serving_picture(rows: list[Row]) -> str:
    measured = [row for row in rows if "missing" not in row]
    most = max(int(str(row["concurrency"])) for row in measured)
    shown = [row for row in measured if row["concurrency"] == most]
    values = {"ours_per_s": "Millwright, in turns with it", "peer_per_s": "the peer"}
    return bars(shown, lambda row: str(row["title"]), values, f"requests a second, {most} connections")


def _ceiling_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if "ceiling" in row]
    values = {"measured": "measured", "ceiling": "the bound by matrix products alone"}
    return bars(shown, lambda row: f"{row['what']}, {row['precision']}", values, "sentences a second")


def _overhead_picture(rows: list[Row]) -> str:
    loads = [row for row in rows if "per_s" in row]
    most = max(int(str(row["concurrency"])) for row in loads)
    shown = [row for row in loads if row["concurrency"] == most]
    unit = f"requests a second, {most} connections"
    return bars(shown, lambda row: f"{row['app']} in {row['host']}", {"per_s": "requests/s"}, unit)


def _wheel_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if "scale" in row]
    return lines(shown, "rows", "processor_seconds", "stage", ("rows", "processor seconds"))


def _few_shot_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if "draws" in row]
    return lines(shown, "shots", "accuracy", "contestant", ("rows a class", "accuracy on test rows"))


def _label_names_picture(rows: list[Row]) -> str:
    return lines(rows, "shots", "gain", "dataset", ("rows a class", "gain in accuracy"))


def _heads_picture(rows: list[Row]) -> str:
    """Gains over the head as trained, and of what it has over what it would be without."""
    shown = [row for row in rows if row.get("gain") is not None]
    return gains(
        shown, lambda row: f"{row['head']} against {row['against']}", "dataset", "gain in accuracy, points"
    )


def _curve(row: Row) -> list[list[object]]:
    """Seconds and accuracy as training went on, or those at its end."""
    curve = row.get("curve")
    return curve if isinstance(curve, list) and curve else [[row["seconds"], row["accuracy"]]]


def _maker(row: Row) -> str:
    return str(row["processor"]).rpartition(", ")[0].replace("(R)", "")


def _accuracy_picture(rows: list[Row]) -> str:
    points = [
        {"line": f"{row['title']}; {_maker(row)}", "seconds": seconds, "accuracy": accuracy}
        for row in rows
        for seconds, accuracy in _curve(row)
    ]
    return lines(points, "seconds", "accuracy", "line", ("seconds from the CSV", "accuracy on test rows"))


def _experiments_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if row["part"] == "false alarms"]
    values = {"alarmed": "ever alarmed", "allowed": "allowed: alpha and two standard errors"}
    return bars(shown, lambda row: f"{row['method']}, {row['setting']}", values, "share of runs")


def _review_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if row["part"] == "what to label"]
    values = {"accuracy": "accuracy on test rows"}
    return bars(shown, lambda row: f"{row['what']}, {row['setting']}", values, "accuracy on test rows")


def _turning_picture(rows: list[Row]) -> str:
    """Turn by turn over labels, and what a head on all labels reaches as level lines."""
    steps = [row for row in rows if row["part"] == "turn by turn" and "suspected" not in str(row["what"])]
    shown = {"accuracy": "{what}: the version that serves", "newest": "{what}: the newest version"}
    points: list[Row] = [
        {"labels": row["labels"], "shown": row[key], "line": line.format(what=row["what"])}
        for key, line in shown.items()
        for row in steps
    ]
    ends = [min(int(str(row["labels"])) for row in steps), max(int(str(row["labels"])) for row in steps)]
    for row in rows:
        if row["part"] == "all labels":
            line = f"all {row['labels']:,} labels, {row['setting']}"
            points += [{"labels": end, "shown": row["accuracy"], "line": line} for end in ends]
    return lines(points, "labels", "shown", "line", ("labels given", "accuracy on test rows"))


def _preparation_picture(rows: list[Row]) -> str:
    return lines(rows, "rows", "seconds", "contestant", ("rows", "seconds"))


def _detection_picture(rows: list[Row]) -> str:
    shown = [row for row in rows if "f2" in row]
    values = {"precision": "precision", "recall": "recall", "f2": "F2"}
    return bars(shown, lambda row: f"{row['contestant']}, {row['half']}, {row['match']}", values, "share")


def _private_picture(rows: list[Row]) -> str:
    names = {"head": "head", "no noise": "no noise"}
    shown = [
        {**row, "line": names.get(str(row["epsilon"]), f"epsilon {row['epsilon']}")}
        for row in rows
        if row["part"] == "accuracy" and str(row["dataset"]).startswith("Banking77")
    ]
    return lines(shown, "people_a_label", "accuracy", "line", ("people a label", "accuracy on test rows"))


def _weak_picture(rows: list[Row]) -> str:
    values = {"without": "without weak rows", "all": "with all", "as_trained": "as trained"}
    return bars(
        rows, lambda row: f"{row['dataset']}, {row['shots']} a class", values, "accuracy on test rows"
    )


def _turn_picture(rows: list[Row]) -> str:
    values = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99"}
    return bars(rows, lambda row: f"beside {row['beside']}, {row['rate']:g} a second", values, "milliseconds")


def _erasure_picture(rows: list[Row]) -> str:
    return bars(
        rows, lambda row: f"{row['what']}, {row['rows']:,} rows", {"seconds": "s"}, "processor seconds"
    )


def _shards_picture(rows: list[Row]) -> str:
    values = {"train_s": "train", "erase_s": "erase one person"}
    return bars(rows, lambda row: f"{row['method']}, {row['shards']} shards", values, "processor seconds")


def _harmful_picture(rows: list[Row]) -> str:
    values = {"shipped": "shipped", "harmful": "harmful among them", "withdrawn": "withdrawn"}
    return bars(rows, lambda row: f"{row['rule']}: {row['challenger']}", values, "challengers")


def _with(rows: Sequence[Row], key: str) -> list[Row]:
    return [row for row in rows if row.get(key) is not None]


def _what(row: Row) -> str:
    return str(row["what"]) + (f", {row['connections']} connections" if "connections" in row else "")


SECTIONS = {
    "time_to_accuracy": Section(
        "Time to accuracy",
        "Banking77, official split, the built-in backbone, from the CSV to a trained model; accuracy is on "
        "the test rows, which training never sees. Rows of a processor without its family are older: there "
        "the clock started after `millwright new` (about a second), the Trainer's seconds hold an evaluation "
        "after each epoch, and Millwright's accuracy leaves out three test rows that the training file has.",
        {
            "title": "contestant",
            "processor": "processor",
            "seconds": "seconds",
            "seconds_range": "range",
            "runs": "runs",
            "times_faster": "seconds to its best over the head's",
            "times_low": "lowest",
            "times_high": "highest",
            "accuracy": "accuracy at last",
            "reached_93_s": "seconds to 93 %",
            "reached_94_s": "seconds to 94 %",
            "load": "load average",
        },
        _accuracy_picture,
    ),
    "few_shot": Section(
        "Few rows a class",
        "The mean accuracy over draws of training rows, its range, and the median of the seconds. The head "
        "and a peer take turns at each draw, and are compared on the draws that both were given. The head is "
        "what `millwright train` makes, whose labels' names teach too (below); SetFit is not told them.",
        {
            "part": "part",
            "contestant": "contestant",
            "shots": "rows a class",
            "draws": "draws",
            "seed": "draw",
            "accuracy": "accuracy",
            "low": "lowest",
            "high": "highest",
            "heads_accuracy": "the head's on these draws",
            "seconds": "seconds",
            "times_faster": "seconds over the head's",
            "times_low": "least",
            "times_high": "most",
        },
        _few_shot_picture,
    ),
    "label_names": Section(
        "Labels' names as teachers",
        "A head of a few training rows a class, measured on the other training rows, the mean of five "
        "draws: without the classes' names, with each name as one more text of its class, with every name "
        "given to another class (the control), and as training does it, which asks the rows whether the "
        "names say what they are about. The gain is that of the last over the first.",
        {
            "dataset": "dataset",
            "shots": "rows a class",
            "without": "without names",
            "named": "with names",
            "shuffled": "with wrong names",
            "as_trained": "as trained",
            "used": "share of draws that use them",
            "gain": "gain",
            "gain_sd": "its deviation over draws",
        },
        _label_names_picture,
    ),
    "heads": Section(
        "What lifts a head",
        "Cross-validation on training rows; no test row is read. Each way to make a head is compared with "
        "another one on the same rows: the gain in percentage points, its 95 % interval, and p of the exact "
        "paired test, one-sided. Two states twice and the like are controls: as long as what has one more "
        "state, with nothing new. As trained are three pools (the last state, the one two layers below, the "
        "words themselves) with a penalty that grows with a direction's variance to the power 0.25.",
        {
            "dataset": "dataset",
            "rows": "rows",
            "labels": "labels",
            "head": "head",
            "accuracy": "accuracy",
            "against": "against",
            "gain": "gain, points",
            "low": "lowest",
            "high": "highest",
            "p": "p",
            "seconds": "processor seconds",
        },
        _heads_picture,
    ),
    "weak": Section(
        "Weak labels",
        "A head of a few labelled rows a class, measured on the official test rows, the mean of two draws: "
        "without weak rows, with all of them, with few of each class, and as training decides on the "
        "labelled rows alone. Weak rows are the other training rows, labelled by functions: on Banking77 "
        "keywords made of the classes' names by a rule, on SST-2 words of praise and blame. Without names: "
        "the same rows with classes whose names say nothing.",
        {
            "dataset": "dataset",
            "shots": "rows a class",
            "without": "without weak rows",
            "all": "with all",
            "few": "with few",
            "as_trained": "as trained",
            "used": "share of draws that use them",
            "higher": "had the higher one been taken",
            "least_gain": "least gain of a draw",
            "weak_rows": "weak rows",
            "weak_right": "right labels among them",
            "majority_right": "by majority",
        },
        _weak_picture,
    ),
    "spans": Section(
        "Finding spans",
        "Entity-level F1 (start, end and label all right) of the head over words of the frozen built-in "
        "backbone, by rows that taught, with 95 % bootstrap intervals over rows. The backbone reads English; "
        "of Chinese it knows single characters at most. CLUENER on its official validation rows, MSRA on "
        "sentences and synth_dataset_v2 on templates that a hash holds out. Texts a second are those of "
        "`millwright.predict`.",
        {
            "dataset": "dataset",
            "rows": "rows that taught",
            "labels": "labels",
            "f1": "F1",
            "f1_low": "lowest",
            "f1_high": "highest",
            "precision": "precision",
            "recall": "recall",
            "macro_f1": "macro F1",
            "exact_rows": "rows all right",
            "calibration_error": "calibration error",
            "test_rows": "test rows",
            "test_spans": "test spans",
            "train_seconds": "seconds of training",
            "texts_per_second": "texts/s",
        },
        lambda rows: lines(rows, "rows", "f1", "dataset", ("rows that taught", "F1")),
    ),
    "serving": Section(
        "Serving",
        "A head tuned on Banking77, its test sentences one a request. Every peer runs the exported network "
        "in PyTorch with the settings that were fastest of those tried at 64 connections (`--tune`), in "
        "bfloat16 where that was faster and its answers agree; with one connection, too, so that LitServe, "
        "Ray Serve and TorchServe may wait 10 ms for company there (without all of it each would still "
        "be slower). FastAPI with a pipeline stays as tutorials write it, float32 and one text at a time. "
        "Ratio: Millwright's requests a second over the peer's, the median of the pairs and their range. The "
        "last column is Millwright's p99 when requests arrive at random at the peer's rate (an open loop, "
        "whose latency counts from the arrival), to be held against the peer's p50.",
        {
            "title": "peer",
            "concurrency": "connections",
            "ours_per_s": "ours, requests/s",
            "peer_per_s": "peer, requests/s",
            "ratio": "ratio",
            "ratio_low": "lowest",
            "ratio_high": "highest",
            "ours_p50_ms": "ours p50, ms",
            "peer_p50_ms": "peer p50, ms",
            "ours_p99_ms": "ours p99, ms",
            "peer_p99_ms": "peer p99, ms",
            "ours_p99_ms_at_peers_rate": "ours p99 at the peer's rate, ms",
            "errors": "errors",
            "pairs": "pairs",
            "load_before": "load average before",
            "peer_agreement": "peer agrees",
            "peer_settings": "peer's settings",
        },
        _serving_picture,
    ),
    "ceiling": Section(
        "Ceiling",
        "What the machine multiplies, copies and tokenizes at most, and how near the encoder comes. The "
        "bound of a precision is its best matrix-product rate over the operations of a mean Banking77 "
        "sentence, so it leaves out attention's softmax, normalisation, memory and tokenization. By kind of "
        "layer, as OpenVINO counts on one thread, kinds under a hundredth left out: FullyConnected and its "
        "kin multiply by weights, Subgraph joins what works on single numbers.",
        {
            "part": "part",
            "what": "what",
            "precision": "precision",
            "measured": "measured",
            "low": "lowest",
            "high": "highest",
            "unit": "unit",
            "ceiling": "bound",
            "times_from_ceiling": "times from the bound",
            "agreement": "agrees with float32",
            "share": "share of the time",
        },
        _ceiling_picture,
    ),
    "http_overhead": Section(
        "HTTP overhead",
        "Millwright's service over a model that does nothing, against applications that only parse and "
        "answer JSON. Shares are of the bare application in the same round. The stages of an answer are "
        "measured one at a time without a network; threads that take turns add to their sum.",
        {
            "part": "part",
            "stage": "stage",
            "microseconds": "processor time a request, microseconds",
            "app": "application",
            "host": "server",
            "concurrency": "connections",
            "per_s": "requests/s",
            "processor_us": "processor time a request, microseconds",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "errors": "errors",
            "share_of_same_host": "share of bare, same server",
            "share_low": "lowest",
            "share_high": "highest",
            "share_of_best_bare": "share of the better bare server",
        },
        _overhead_picture,
    ),
    "wheel_cost": Section(
        "The whole wheel",
        "New, train, serve and hear, turn, on the demo's data and on so many times its rows, which are "
        "recombined messages of the same intent. An exponent of 1 is cost that grows as the rows do.",
        {
            "stage": "stage",
            "scale": "times",
            "rows": "rows",
            "messages": "messages",
            "seconds": "seconds",
            "processor_seconds": "processor seconds",
            "peak_mib": "peak MiB",
            "exponent_seconds": "exponent of seconds",
            "exponent_processor_seconds": "exponent of processor seconds",
        },
        _wheel_picture,
    ),
    "preparation": Section(
        "Data preparation",
        "`millwright prepare` on invented messages with planted duplicates, which each contestant must "
        "find. Nothing is masked, since the peer cannot; a row of its own tells what masking adds, in which "
        "memory leaves out the workers that mask very many texts.",
        {
            "rows": "rows",
            "contestant": "contestant",
            "seconds": "seconds",
            "seconds_range": "range",
            "rows_per_second": "rows/s",
            "peak_mb": "peak MB",
            "exact": "exact duplicates",
            "near": "near duplicates",
            "times_faster": "times faster",
            "times_faster_range": "range",
            "load_before_and_after": "load average before, after",
            "time_exponent": "exponent of time",
            "memory_exponent": "exponent of memory",
        },
        _preparation_picture,
    ),
    "detection": Section(
        "Detection of personal data",
        "F2 by the scorer of presidio-evaluator over all kinds, on the sentences of presidio-research's "
        "synth_dataset_v2 whose templates a hash holds out, and on the others, at two overlaps from which "
        "spans are the same. Presidio is its default analyzer, score 0.4 and more, with spaCy's "
        "en_core_web_sm. Both are timed in turns in one process on one thread, one text at a time; the ratio "
        "is that of texts a second. Million: Millwright masks a million texts in pieces (a tenth of them "
        "where most hold names), Presidio's batch engine finds in the first few, and its rate is taken for "
        "all. "
        "Chinese: exact spans. Accuracy: a head trained and tested with masking and without.",
        {
            "part": "part",
            "what": "what",
            "half": "half",
            "contestant": "contestant",
            "match": "overlap",
            "entity": "entity",
            "mask": "masked",
            "spans": "spans",
            "precision": "precision",
            "recall": "recall",
            "f2": "F2",
            "f1": "F1",
            "texts": "texts",
            "ours_per_s": "ours, texts/s",
            "peer_per_s": "Presidio, texts/s",
            "ratio": "ratio",
            "ratio_low": "lowest",
            "ratio_high": "highest",
            "seconds": "seconds",
            "seconds_a_million": "seconds a million",
            "peer_texts": "texts to Presidio",
            "peer_seconds_a_million": "Presidio, seconds a million",
            "microseconds_alone": "µs alone",
            "rows": "rows",
            "accuracy": "accuracy",
            "low": "lowest",
            "high": "highest",
        },
        _detection_picture,
    ),
    "private_head": Section(
        "Privacy of a head",
        "Accuracy: the built-in backbone, frozen; the mean over three draws of who teaches and of the noise; "
        "delta is 1e-6, each row is a person. No noise is the same ridge regression without any, head what "
        "`--method head` trains. Kept is the accuracy over always answering the commonest label, as a share "
        "of that without noise. Names say nothing where they were dealt out anew, as a control. With fewer "
        "people than needed training is refused. Membership: a random half of Banking77's rows teaches, the "
        "other half does not, 32 shadows made alike; found is the share of those who taught at a rate of "
        "false accusations, promised the most that epsilon and delta allow.",
        {
            "part": "part",
            "dataset": "dataset",
            "people": "people",
            "people_a_label": "a label",
            "epsilon": "epsilon",
            "needed": "needed",
            "refused": "refused",
            "accuracy": "accuracy",
            "low": "lowest",
            "high": "highest",
            "kept": "kept",
            "nameless": "names say nothing",
            "kept_nameless": "kept",
            "what": "what",
            "attack": "attack",
            "area": "area",
            "false": "false",
            "found": "found",
            "found_low": "low",
            "found_high": "high",
            "promised": "promised",
        },
        _private_picture,
    ),
    "during_turn": Section(
        "While a turn trains",
        "Messages arrive at random at a rate; latency counts from arrival. The turn tunes the last layers. A "
        "gentle turn is what `millwright run` starts: it works when nothing else wants the cores. The three "
        "take turns, a fresh server each.",
        {
            "rate": "requests/s",
            "beside": "beside",
            "p50_ms": "p50 ms",
            "p95_ms": "p95 ms",
            "p99_ms": "p99 ms",
            "p99_range": "range of p99",
            "times_alone": "p99 over that alone",
            "turn_seconds": "seconds of the turn",
            "errors": "errors",
        },
        _turn_picture,
    ),
    "vault": Section(
        "Sealing and erasing",
        "Rows sealed and in the clear, in turns, 64 to a commit, each commit synced to disk; the server's "
        "journal does this beside the answers, not before them. Then one person's erasure from the built-in "
        "desk.",
        {
            "what": "what",
            "microseconds_a_row": "µs a row",
            "range": "range",
            "seconds": "seconds",
        },
        lambda rows: bars(_with(rows, "microseconds_a_row"), _what, {"microseconds_a_row": "µs"}, "µs a row"),
    ),
    "erasure": Section(
        "Erasing people beside training",
        "Invented messages, four rows a customer; a head, served by PyTorch, so that no runtime is judged. "
        "Each call rewrites the file, forgets cached features, prepares a dataset, trains the successor "
        "once, lets it serve, and signs a receipt for each person. The trainings prepare, train and measure. "
        "Processor seconds. Times cheaper, for each person: than a training with nothing cached.",
        {
            "rows": "rows",
            "what": "what",
            "people": "people",
            "seconds": "seconds",
            "seconds_a_person": "seconds a person",
            "times_cheaper": "times cheaper",
        },
        _erasure_picture,
    ),
    "shards": Section(
        "Training by shards",
        "A sample of Banking77's training rows with invented people, five rows each; the official test rows "
        "measure. The last layers are tuned in one piece and in shards by person whose answers are averaged. "
        "Loss is accuracy against one piece, with the 95 % interval of paired differences. Then somebody is "
        "erased, with successor and receipt: of shards only the person's is trained anew. Frozen states are "
        "cached; processor seconds. The fewer rows a label has in each shard, the more shards cost.",
        {
            "rows": "rows",
            "method": "method",
            "shards": "shards",
            "train_s": "train, s",
            "accuracy": "accuracy",
            "loss": "loss",
            "loss_low": "lowest",
            "loss_high": "highest",
            "calibration_error": "calibration error",
            "megabytes": "MB",
            "erase_s": "erase one, s",
            "trained_anew": "trained anew",
        },
        _shards_picture,
    ),
    "wheel": Section(
        "The wheel turns",
        "Banking77 with five rows an intent at first; the rest arrive as messages of simulated people, of "
        "whom three in ten answer: those who are always asked with a label, the others by correcting a "
        "mistake. One label in ten is wrong, reviewers' too, and names one of the five likest intents. "
        "Each turn has the same number of labels; what people did not say is spent on review, of rows by "
        "the queue or by chance. The split, the head, the queue, the suspected labels, the verdict of a "
        "turn and the decision to roll back are the product's own; the official test rows measure and "
        "decide nothing. Accuracy is that of the version that serves, newest that of the newest version, "
        "promoted or not. A head on all labels holds nobody out, so it has more to learn from. The small "
        "projects have 20 intents each and their own messages. A promotion is worse if the official test "
        "rows say so at all, harmful if an exact paired test says so at 5 %; the largest cost is negative "
        "where each promotion gained. After a promotion half of the next turn's users get the former "
        "champion, and the rule of experiments may roll back; a roll-back is false if the version that "
        "went was not worse. One turn's users are few: that none was rolled back says little. As a "
        "control a turn promotes whatever is higher on its held-out rows.",
        {
            "part": "part",
            "what": "rows for review",
            "setting": "setting",
            "turn": "turn",
            "labels": "labels",
            "accuracy": "accuracy",
            "low": "lowest",
            "high": "highest",
            "newest": "newest",
            "share_of_all": "share of all labels' accuracy",
            "draws": "draws",
            "projects": "projects",
            "promotions": "promotions",
            "worse": "worse",
            "harmful": "harmful",
            "cost": "largest cost",
            "blocked": "kept for a slice",
            "roll_backs": "roll-backs",
            "false_roll_backs": "false roll-backs",
        },
        _turning_picture,
    ),
    "feedback": Section(
        "Opinions",
        "The built-in desk is served over HTTP, and clients send labels, ratings, comments and scores in a "
        "closed loop; each is acknowledged once it is synced to disk. In the last round the server is killed "
        "with SIGKILL half-way. Lost are acknowledged opinions that are not in the database afterwards. The "
        "disk alone syncs one write of 4 KiB after another.",
        {
            "what": "what",
            "connections": "connections",
            "per_s": "a second",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "acknowledged": "acknowledged",
            "refused": "refused",
            "lost": "lost",
        },
        lambda rows: bars(rows, _what, {"per_s": "a second"}, "acknowledged a second"),
    ),
    "harmful": Section(
        "Challengers that do harm",
        "Small projects as above, but half of the turns' challengers are spoilt: every row that taught one, "
        "three or eight of the 20 intents has the likest intent's label. Half of the spoilt ones pass by the "
        "gates, as one that a person puts before users by hand. Users ask texts drawn anew, three in ten say "
        "what was right, one in ten of them wrongly; the experiment has steps of 10 and 50 %, a look every "
        "100 users, 6,000 at most. Shipped is harmful if an exact paired test on the official test rows says "
        "at 5 % that the version is worse; a roll-back is false if it was not worse at all. Withdrawn are "
        "those that were rolled back, and those of which a gain of a point was ruled out, which what is "
        "worse reaches first; without a least effect it is a roll-back. Exposed are the users, on average, "
        "who met a challenger that was withdrawn. The control ships the same challengers if they are ahead "
        "after 200 users. Shares, scores, intervals, gates and decisions are the product's own.",
        {
            "rule": "rule",
            "challenger": "challenger",
            "projects": "projects",
            "turns": "challengers",
            "stopped_by_gates": "stopped by gates",
            "met_users": "met users",
            "shipped": "shipped",
            "harmful": "harmful among shipped",
            "cost": "largest cost",
            "withdrawn": "withdrawn",
            "rolled_back": "rolled back",
            "false_roll_backs": "false roll-backs",
            "exposed": "exposed",
            "median_users": "users until then",
            "undecided": "undecided at 6,000",
            "accuracy": "accuracy at last",
        },
        _harmful_picture,
    ),
    "review": Section(
        "Review and drift",
        "Banking77, official split, the built-in backbone, frozen. Labels changed at random are easier to "
        "find than a person's mistakes. What to label starts from 77 rows by chance and adds 77 at a time. "
        "A history of checks without drift may ever alarm in 5 % and two standard errors; drift is planted "
        "by replacing a share of the window by one intent.",
        {
            "part": "part",
            "what": "what",
            "setting": "setting",
            "draws": "draws",
            "precision": "precision",
            "recall": "recall",
            "accuracy": "accuracy",
            "low": "lowest",
            "high": "highest",
            "share": "share of draws",
            "allowed": "allowed",
        },
        _review_picture,
    ),
    "experiments": Section(
        "Experiments",
        "Simulated users, every method watched after each of them. False alarms are runs in which a method "
        "ever alarmed although the versions do not differ; allowed is 5 % (0.1 % for the ratio test) and two "
        "standard errors. Users to a decision are the median, against the sample that a z-test fixed in "
        "advance needs for a power of 80 %. GrowthBook's formula is the one of its documentation, tuned at "
        "its default of 5,000. The rows on delayed and missing outcomes show the rule that Millwright "
        "follows beside the one that misleads. Where shares follow outcomes, reviews draw them by the rule "
        "of --thompson; of 10 % against 13 % it is the share of runs that found the difference.",
        {
            "part": "part",
            "method": "method",
            "setting": "setting",
            "runs": "runs",
            "alarmed": "alarmed",
            "allowed": "allowed",
            "kept": "promise kept",
            "median_users": "median users",
            "fixed_users": "fixed sample",
            "times_fixed": "times fixed",
            "decided": "decided by six times fixed",
            "seconds": "seconds",
        },
        _experiments_picture,
    ),
}


def page(records: Sequence[dict[str, object]]) -> str:
    """The page as Markdown, sections in the order of SECTIONS and unknown records after them."""
    by_name = {str(record["name"]): _rows(record) for record in records}
    parts = [INTRODUCTION, *_goals(goals(by_name)), bound_of_serving(by_name.get("ceiling", [])), ""]
    for record in records:
        name, rows = str(record["name"]), _rows(record)
        section = SECTIONS.get(name) or Section(name.replace("_", " ").capitalize(), "")
        parts += [f"## {section.title}", ""]
        parts += [section.text, ""] if section.text else []
        if (RECORDS / f"{name}.svg").exists():
            parts += [f"![{section.title}](benchmarks/{name}.svg)", ""]
        parts += [*_tables(rows, section.columns or _all_columns(rows)), _absent(rows), _made_by(record), ""]
    return "\n".join(part for part in parts if part is not None)


def _goals(told: Iterable[Goal]) -> list[str]:
    """What was set out to be reached, and what was."""
    rows: list[Row] = [
        {"goal": goal, "measured": measured, "met": "open" if met is None else met}
        for goal, measured, met in told
    ]
    return ["## Goals", "", table(rows, {"goal": "goal", "measured": "measured", "met": "met"})]


def _tables(rows: Sequence[Row], columns: dict[str, str]) -> list[str]:
    """One table, or one for each part of a record that has parts, under its name where it has one."""
    if "part" not in columns:
        return [table(rows, columns)]
    rest = {key: name for key, name in columns.items() if key != "part"}
    made = []
    for part in dict.fromkeys(row.get("part") for row in rows):
        own = [row for row in rows if row.get("part") == part]
        made += [] if part is None else [f"### {str(part)[0].upper()}{str(part)[1:]}", ""]
        made.append(table(own, rest))
    return made


def table(rows: Sequence[Row], columns: dict[str, str]) -> str:
    """Rows as a Markdown table; columns that no row fills are left out."""
    measured = [row for row in rows if "missing" not in row]
    shown = {key: name for key, name in columns.items() if any(row.get(key) is not None for row in measured)}
    head = ["| " + " | ".join(shown.values()) + " |", "|" + "---|" * len(shown)]
    body = ["| " + " | ".join(cell(row.get(key)) for key in shown) + " |" for row in measured]
    return "\n".join([*head, *body, ""])


def cell(value: object) -> str:
    """A value for people: three digits (four near one), or all of a number over a hundred."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else ("yes" if value else "no")
    if isinstance(value, list):
        return " to ".join(map(cell, value))
    if isinstance(value, float):
        digits = 4 if 0.9 <= abs(value) < 1 else 3  # of shares near one the last digit tells most
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def _absent(rows: Sequence[Row]) -> str | None:
    found = [f"- {row['title']} was not measured: {row['missing']}" for row in rows if "missing" in row]
    return "\n".join([*found, ""]) if found else None


def _made_by(record: dict[str, object]) -> str:
    machine, versions = record["machine"], record["versions"]
    assert isinstance(machine, dict)
    assert isinstance(versions, dict)
    parts = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "millwright")
    instructions = ", ".join(machine.get("instructions") or [])
    where = f"{machine.get('processor')} with {machine.get('cores')} cores ({instructions})"
    return (
        f"`{record['made_by']}`, last `{record.get('last_run', record['made_by'])}` on "
        f"{record.get('date', 'an unknown day')}; {where}, {machine.get('memory_gib')} GiB, "
        f"Python {machine.get('python')}; Millwright {versions.get('millwright')}, {parts}."
        f"{_earlier(record)}\n"
    )


def _earlier(record: dict[str, object]) -> str:
    """Which rows an earlier run left, and when and where it was; "" if the last run made them all."""
    runs = Counter(row.get(MEASURED) for row in _rows(record))
    if len(runs) < 2:
        return ""
    told = "; ".join(f"{count} of {run or 'that run'}" for run, count in runs.items())
    return f" Its rows are of several runs: {told}."


def _rows(record: dict[str, object]) -> list[Row]:
    rows = record["rows"]
    assert isinstance(rows, list)
    return rows


def _all_columns(rows: Sequence[Row]) -> dict[str, str]:
    return {
        key: key.replace("_", " ")
        for row in rows
        for key, value in row.items()
        if key != MEASURED and not isinstance(value, (dict, list))
    }


def read_records() -> list[dict[str, Any]]:
    """Every record, in the order of SECTIONS, those without a section last."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(Path(RECORDS).glob("*.json"))}
    return [found.pop(name) for name in SECTIONS if name in found] + list(found.values())


def main() -> None:
    """Draw and write."""
    records = read_records()
    for record in records:
        section = SECTIONS.get(record["name"])
        if section and section.picture and record["rows"]:
            measured = [row for row in record["rows"] if "missing" not in row]
            (RECORDS / f"{record['name']}.svg").write_text(section.picture(measured))
    PAGE.write_text(page(records))
    print(f"wrote {PAGE.relative_to(ROOT)} from {len(records)} records")


if __name__ == "__main__":
    main()
