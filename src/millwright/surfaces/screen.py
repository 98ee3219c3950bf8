"""What the command line shows: JSON or tables on stdout, progress and errors on stderr.

Tables fit 80 columns; paths and commands are never wrapped, so that they can be copied.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from millwright.records import Answer, Interval, JsonObject, TurnRecord

if TYPE_CHECKING:
    from millwright.bench.measure import LoadFigures
    from millwright.data.personal import Finding
    from millwright.registry.versions import VersionInfo
    from millwright.serve.runtime_record import RuntimeRecord
    from millwright.train.choose import BackboneScore
    from millwright.train.metrics import Evaluation

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

MOST_CONFUSED = 5
SPAN_FIGURES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "macro_f1": "macro F1",
    "exact_rows": "rows all right",
}


def show_error(message: str) -> None:
    """Write a message as one red line to stderr, not wrapped."""
    err.print(" ".join(message.split()), style="red", markup=False, soft_wrap=True)


def show_json(value: object) -> None:
    """Write one JSON document and a line end to stdout at once; dataclasses and paths are spelt out."""
    sys.stdout.write(json.dumps(value, default=_spell_out, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def show_as_it_is(text: str) -> None:
    """Write lines for a program to stdout, tabs as they are."""
    sys.stdout.write(f"{text}\n" if text else "")
    sys.stdout.flush()


def show_line(text: str) -> None:
    """Write one line of text to stdout, not wrapped, markup as it is written."""
    out.print(text, soft_wrap=True)


def show_path(name: str, path: Path) -> None:
    """Write where something is, from the working folder where it is below that."""
    out.print(f"{name} {path_from_here(path)}", markup=False, soft_wrap=True)


def show_next(command: str) -> None:
    """Write what to type next."""
    out.print(f"next: {command}", markup=False, soft_wrap=True)


def path_from_here(path: Path) -> Path:
    """`path` as it may be typed in the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def progress_bars(as_json: bool) -> Iterator[Callable[[str, float], None]]:
    """Bars on stderr, one a stage; none where stderr is no terminal.

    Args:
        as_json: True for a program that reads: then there are no bars either.

    Yields:
        A function of a stage's name and the fraction of it done.
    """
    if as_json or not err.is_terminal:
        yield lambda stage, fraction: None
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=36),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def progress(stage: str, fraction: float) -> None:
            """Move the bar of a stage, which appears when it is first named."""
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(stage), total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield progress


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table; cells are written as they are, None as an empty cell.

    Args:
        headers: a header a column; all empty shows none.
        rows: the cells.
        right: headers of the columns of numbers, which are set flush right and never folded.

    Returns:
        The table.
    """
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    made.show_header = any(headers)
    for header in headers:
        if header in right:
            made.add_column(header, justify="right", no_wrap=True)
        else:
            made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    return made


def data_table(report: JsonObject) -> Table:
    """The figures of a dataset's report that a person looks at first."""
    splits = ", ".join(f"{count:,} {split}" for split, count in report["splits"].items())
    near, across = report["near_duplicates"], report["texts_in_more_than_one_split"]["count"]
    spans = report.get("spans")
    unit = "rows" if spans is None else "spans"
    balance = f"the largest has {report['largest_over_smallest_label']} times the {unit} of the smallest"
    characters = report["characters"]
    rows: list[tuple[str, object]] = [
        ("rows", f"{report['rows']:,}: {splits}"),
        ("labels", f"{len(report['labels']):,}; {balance}"),
        *([("spans", f"{spans['count']:,}; {spans['rows_without']:,} rows have none")] if spans else []),
        *([("weakly labelled", f"{report['weak']:,} of the training rows")] if report.get("weak") else []),
        ("characters", f"median {characters['median']:,}, longest {characters['max']:,}"),
        ("left out", ", ".join(f"{count:,} {why}" for why, count in report["excluded"].items()) or "none"),
        (
            "masked",
            ", ".join(f"{count:,} {name}" for name, count in report.get("masked", {}).items()) or "nothing",
        ),
        ("near duplicates", f"{_count(near['pairs'], 'pair')}, {near['across_splits']:,} across splits"),
        ("in more than one split", _count(across, "text")),
        ("conflicting labels", _count(report["conflicting_labels"]["count"], "text")),
        ("broken", _count(report["broken_texts"]["count"], "text")),
        *(("note", note) for note in report["notes"]),
    ]
    return table(("", ""), rows)


def findings_table(found: Sequence["Finding"]) -> Table:
    """Personal data by file and column, with the shapes of a few."""
    rows = [
        (item.source, item.column, item.entity, f"{item.cells:,}", f"{item.count:,}", "  ".join(item.samples))
        for item in found
    ]
    headers = ("file or table", "column", "entity", "cells", "times", "what it looks like")
    return table(headers, rows, right=("cells", "times"))


def evaluation_table(found: "Evaluation") -> RenderableType:
    """Overall figures with their intervals, every slice, the most frequent confusions, and the notes."""
    figures = {
        "accuracy": found.accuracy,
        "macro precision": found.macro_precision,
        "macro recall": found.macro_recall,
        "macro F1": found.macro_f1,
        "weighted precision": found.weighted_precision,
        "weighted recall": found.weighted_recall,
        "weighted F1": found.weighted_f1,
        "calibration error": found.calibration_error,
        "log loss": found.log_loss,
    }
    parts: list[RenderableType] = [figures_table(f"{found.rows:,} rows", figures)]
    if found.slices:
        rows = [
            (f"{part.name}: {part.value or 'unknown'}", f"{part.rows:,}", *_interval(part.accuracy))
            for part in found.slices
        ]
        numbers = ("rows", "accuracy", "95 % interval")
        parts += ["", table(("slice", *numbers), rows, right=numbers)]
    if found.confused:
        pairs = [(pair.truth, pair.predicted, pair.count) for pair in found.confused[:MOST_CONFUSED]]
        parts += ["", table(("most confused: truth", "taken for", "rows"), pairs, right=("rows",))]
    if found.notes:
        parts += ["", *(f"[yellow]note:[/] {escape(note)}" for note in found.notes)]
    return Group(*parts)


def version_table(manifest: JsonObject, aliases: Sequence[str]) -> RenderableType:
    """Where a version came from, what was measured, and what it cost."""
    splits = manifest["dataset"]["splits"]
    rows_of_splits = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    rows = [
        ("version", ", ".join((manifest["name"], *aliases))),
        ("made", minute(manifest["created_at"])),
        ("dataset", f"{manifest['dataset']['id']}: {rows_of_splits}"),
        ("labels", f"{len(manifest['labels']):,}"),
        ("backbone", manifest["backbone"]["name"]),
        ("method", f"{manifest['method']}: {manifest['why']}"),
    ]
    if shards := manifest["facts"].get("shards"):
        sizes = ", ".join(f"{shard['rows']:,}" for shard in shards)
        rows.append(("shards", f"{len(shards)} that learnt apart, of {sizes} rows"))
    if "weak" in manifest["facts"]:
        rows.append(("weak rows", manifest["facts"]["weak"]["why"]))
    if (privacy := manifest["facts"].get("privacy")) is not None:
        spent = manifest["spent"]
        told = f"epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}, of {privacy['people']:,} people"
        rows.append(("private", f"{told}; {spent['epsilon']:.3g} in all {spent['releases']} releases"))
    parts: list[RenderableType] = [table(("", ""), rows), ""]
    metrics = manifest["metrics"]
    if metrics is None:
        parts.append("nothing was measured: the dataset has no test rows")
    else:
        names = {"accuracy": "accuracy", "macro_f1": "macro F1", "calibration_error": "calibration error"}
        names["log_loss"] = "log loss"
        if "per_label" in metrics:
            names = SPAN_FIGURES
        figures = {shown: Interval(**metrics[name]) for name, shown in names.items()}
        parts.append(figures_table(f"{metrics['rows']:,} test rows", figures))
    facts = manifest["facts"]
    costs = [
        (stage, f"{cost['seconds']:,.1f}", f"{cost['rows_per_second']:,.0f}", _megabytes(cost))
        for stage, cost in facts["stages"].items()
    ]
    numbers = ("seconds", "rows/s", "peak MB")
    parts += ["", table(("stage", *numbers), costs, right=numbers)]
    parts.append(f"peak memory {facts['peak_memory_bytes'] / 1e6:,.0f} MB")
    return Group(*parts)


def membership_table(audit: JsonObject) -> Table:
    """How well attacks tell who taught a version: a line an attack and a rate of false accusations."""
    rows = []
    for attack in audit["attacks"]:
        for place, (rate, point) in enumerate(zip(audit["rates"], attack["points"], strict=True)):
            found = ("others too few", "") if point is None else _with_interval(point["true_positives"])
            promised = "" if audit["promised"] is None else f"{audit['promised'][place]:.4f}"
            area = f"{attack['area']['value']:.3f}"
            rows.append((attack["name"], area, f"{rate:.1%}", *found, promised))
    numbers = ("area", "false", "found", "promised at most")
    return table(
        ("attack", "area", "false", "found", "95 % interval", "promised at most"), rows, right=numbers
    )


def _with_interval(figure: JsonObject) -> tuple[str, str]:
    return f"{figure['value']:.4f}", f"{figure['low']:.4f} to {figure['high']:.4f}"


def runtime_table(record: "RuntimeRecord") -> RenderableType:
    """How a version runs on this machine, and what the other ways would have been."""
    rows = [
        (
            one.name,
            f"{one.texts_per_second:,.0f}" if one.texts_per_second else "",
            "" if one.agreement is None else f"{one.agreement:.2%}",
            "" if one.accuracy is None else f"{one.accuracy:.2%}",
            "serves" if one.name == record.runtime else one.refused or "slower, not judged",
        )
        for one in sorted(record.candidates, key=lambda one: -one.texts_per_second)
    ]
    numbers = ("texts/s", "as float32", "validation")
    caution = "validation rows teach in the end: their share of right answers compares runtimes alone"
    source = f"measured on {record.machine}"
    if record.speeds_of:
        source += f"; texts/s with {record.speeds_of}, whose network is the same"
    return Group("", table(("runtime", *numbers, ""), rows, right=numbers), caution, source)


def _megabytes(cost: JsonObject) -> str:
    peak_bytes = cost.get("peak_memory_bytes")
    return "" if peak_bytes is None else f"{peak_bytes / 1e6:,.0f}"


def versions_table(found: Sequence["VersionInfo"], measure: str = "accuracy") -> Table:
    """A line a version, oldest first; `measure` is what its figure is called."""
    rows = [
        (
            info.name,
            ", ".join(info.aliases),
            info.method,
            info.dataset,
            "" if info.accuracy is None else f"{info.accuracy:.4f}",
            minute(info.created_at),
        )
        for info in found
    ]
    return table(("version", "alias", "method", "dataset", measure, "made"), rows, right=(measure,))


def answers_table(texts: Sequence[str], answers: Sequence[Answer]) -> Table:
    """Each text once, beside its labels by falling probability."""
    rows = [
        (label, f"{probability:.3f}", text if place == 0 else "")
        for text, answer in zip(texts, answers, strict=True)
        for place, (label, probability) in enumerate(zip(answer.labels, answer.probabilities, strict=True))
    ]
    return table(("label", "probability", "text"), rows, right=("probability",))


def answer_lines(texts: Sequence[str], answers: Sequence[Answer]) -> str:
    """For a program: a line a text, parted by tabs, with each label, its probability and last the text."""
    lines = []
    for text, answer in zip(texts, answers, strict=True):
        pairs = zip(answer.labels, answer.probabilities, strict=True)
        cells = [cell for label, probability in pairs for cell in (label, f"{probability:.3f}")]
        lines.append("\t".join([*cells, " ".join(text.split())]))
    return "\n".join(lines)


def backbones_table(scores: Sequence["BackboneScore"]) -> RenderableType:
    """What was measured of each candidate, and why others could not be."""
    rows = [
        (
            score.name,
            *_interval(score.accuracy),
            f"{score.sentences_per_second:,.0f}",
            f"{score.size_bytes / 1e6:,.0f}",
        )
        for score in scores
        if score.error is None
    ]
    numbers = ("accuracy", "95 % interval", "sentences/s", "MB")
    failed = [f"[yellow]not measured:[/] {escape(score.error)}" for score in scores if score.error]
    return Group(table(("backbone", *numbers), rows, right=numbers), *failed)


def turn_lines(turn: TurnRecord) -> str:
    """What a turn did: rows, before and after on the same held-out rows, and the verdict, as markup."""
    verdict = "[green]promoted[/]" if turn.promoted else "[yellow]held back[/]"
    before = "none" if turn.before is None else str(turn.before)
    chance = "" if turn.p_value is None else f", p = {turn.p_value:.2g}"
    return (
        f"turn {turn.number}: {turn.new_rows:,} new rows, {turn.rows:,} in all\n"
        f"accuracy on the same {turn.held_out:,} held-out rows: {escape(before)} -> {escape(str(turn.after))}"
        f"{chance}\n{escape(turn.challenger)} {verdict}: {escape(turn.reason)}"
    )


def load_table(found: "Sequence[LoadFigures]") -> Table:
    """What a server bore at each concurrency."""
    headers = ["at once", "answers/s", "p50 ms", "p95 ms", "p99 ms", "errors"]
    rows = [
        [
            str(one.concurrency),
            f"{one.requests_per_s:,.0f}",
            *map(_milliseconds, (one.p50_ms, one.p95_ms, one.p99_ms)),
            str(one.errors),
        ]
        for one in found
    ]
    if any(one.cost_per_million is not None for one in found):
        headers.append("cost a million")
        for row, one in zip(rows, found, strict=True):
            row.append("" if one.cost_per_million is None else f"{one.cost_per_million:.4f}")
    return table(headers, rows, right=headers)


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def minute(moment: str) -> str:
    """An hour of the tables as a person reads it."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def figures_table(title: str, figures: dict[str, Interval]) -> Table:
    """Figures by name, each with its interval."""
    rows = [(name, *_interval(figure)) for name, figure in figures.items()]
    return table((title, "value", "95 % interval"), rows, right=("value", "95 % interval"))


def _interval(figure: Interval) -> tuple[str, str]:
    return f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"


def _spell_out(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Interval):
        return {"value": value.value, "low": value.low, "high": value.high}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def found_lines(found: JsonObject) -> str:
    """What there is of a person, a line each."""
    lines = [f"{name.replace('_', ' ')}: {count}" for name, count in found["rows"].items()]
    lines.append(f"a key of its own: {'yes' if found['has_key'] else 'no'}")
    for name, about in found["files"].items():
        left = "  (outside of the project: left to you)" if name in found["not_owned"] else ""
        lines.append(f"file {name}: {about['rows']} rows{left}")
    lines += [f"dataset {name}: {about['rows']} rows" for name, about in found["datasets"].items()]
    for name, about in found["versions"].items():
        saw = f", in {len(about['shards_that_saw'])} of {about['shards']} shards" if "shards" in about else ""
        lines.append(f"version {name} ({about['method']}): {about['rows_that_taught']} rows taught it{saw}")
    lines += [
        f"version {name}: its dataset is not here, nobody can tell" for name in found["unknown_versions"]
    ]
    lines += [
        f"file {name}: {count} rows that cannot be read, nobody can tell whose  (left to you)"
        for name, count in found["unreadable"].items()
    ]
    lines += [f"export of {hour}: {told}  (left to you)" for hour, told in found["exports"].items()]
    return "\n".join(lines)


def receipt_lines(receipt: JsonObject) -> str:
    """What a receipt says, a line each."""
    deleted = receipt["rows_deleted"]
    rows = ", ".join(f"{deleted[name]} {name.replace('_', ' ')}" for name in sorted(deleted) if deleted[name])
    lines = [
        f"erased at {receipt['erased_at']}: {rows or 'no rows of tables'}; the key was: {receipt['data_key']}"
    ]
    for name, about in receipt["files_rewritten"].items():
        lines.append(f"file {name}: {about['rows']} rows cut out")
    for name, about in receipt["datasets"].items():
        lines.append(f"dataset {name}: {about['rows']} rows; in its place {about['successor'] or 'none'}")
    for name, about in receipt["versions"].items():
        lines.append(f"version {name}: {about['rows_that_taught']} rows taught it; {_instead(about)}")
    lines += [f"left to you: {name}: {why}" for name, why in receipt["left_to_you"].items()]
    return "\n".join(lines)


def versions_lines(receipts: Sequence[JsonObject]) -> list[str]:
    """What became of the versions that receipts name and what is left to do, a line each, each once."""
    lines = dict[str, None]()
    for receipt in receipts:
        for name, about in receipt["versions"].items():
            lines[f"version {name}: {_instead(about)}"] = None
        for name in receipt["left_to_you"]:
            lines[f"left to you: {name}; the receipts say what"] = None
    return list(lines)


def _instead(about: JsonObject) -> str:
    instead = f"in its place {about['successor']}, " if about["successor"] else ""
    return f"{instead}{about['how']}"
