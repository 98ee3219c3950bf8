"""What the command line shows: JSON or tables on stdout, progress and errors on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from millwright.records import Interval, JsonObject, TurnRecord

if TYPE_CHECKING:
    from millwright.train.metrics import Evaluation

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def show_error(message: str) -> None:
    """Write a message as one red line to stderr, not wrapped."""
    err.print(" ".join(message.split()), style="red", markup=False, soft_wrap=True)


def show_json(value: object) -> None:
    """Write one JSON document and a line end to stdout at once; dataclasses and paths are spelt out."""
    sys.stdout.write(json.dumps(value, default=_spell_out, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def show_line(text: str) -> None:
    """Write one line of text to stdout, not wrapped, markup as it is written."""
    out.print(text, soft_wrap=True)


@contextmanager
def progress_bars(as_json: bool) -> Iterator[Callable[[str, float], None]]:
    """Bars on stderr, one a stage; none where stderr is no terminal.

    Args:
        as_json: True for a program that reads: then there are no bars.

    Yields:
        A function of a stage's name and the fraction of it done.
    """
    if as_json:
        yield lambda stage, fraction: None
        return
    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def progress(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(stage), total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield progress


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; cells are written as they are, None as an empty cell."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_header=any(headers))
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    return made


def data_table(report: JsonObject) -> Table:
    """The figures of a dataset's report that a person looks at first."""
    splits = ", ".join(f"{count:,} {split}" for split, count in report["splits"].items())
    near = report["near_duplicates"]
    rows: list[tuple[str, object]] = [
        ("rows", f"{report['rows']:,} ({splits})"),
        ("labels", f"{len(report['labels'])}, largest / smallest {report['largest_over_smallest_label']}"),
        ("left out", ", ".join(f"{count} {why}" for why, count in report["excluded"].items()) or "none"),
        ("near duplicates", f"{near['pairs']} pairs, {near['across_splits']} of them across splits"),
        ("conflicting labels", report["conflicting_labels"]["count"]),
        ("broken texts", report["broken_texts"]["count"]),
        *(("note", note) for note in report["notes"]),
    ]
    return table(("", ""), rows)


def evaluation_table(found: "Evaluation") -> Table:
    """Overall figures with their intervals, weakest slices and most frequent confusions."""
    names = ("accuracy", "macro_f1", "weighted_f1", "calibration_error", "log_loss")
    rows: list[tuple[str, object]] = [("rows", f"{found.rows:,}")]
    rows += [(name.replace("_", " "), getattr(found, name)) for name in names]
    rows += [
        (f"{part.name} {part.value or 'unknown'}", f"{part.accuracy}, {part.rows} rows")
        for part in found.slices
    ]
    rows += [
        ("most confused", f"{item.truth} taken for {item.predicted}, {item.count} times")
        for item in found.confused[:3]
    ]
    return table(("", "value [95 % interval]"), rows)


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


def _spell_out(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Interval):
        return {"value": value.value, "low": value.low, "high": value.high}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
