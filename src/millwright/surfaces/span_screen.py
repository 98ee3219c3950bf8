"""What the command line shows of spans: figures, and what was found in texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from millwright.records import Answer, JsonObject
from millwright.surfaces.screen import SPAN_FIGURES, figures_table, table

if TYPE_CHECKING:
    from millwright.train.span_metrics import SpanEvaluation, SpanScore


def evaluation_table(found: "SpanEvaluation") -> RenderableType:
    """Overall figures with their intervals, every label, every slice, and the notes."""
    figures = {shown: getattr(found, name) for name, shown in SPAN_FIGURES.items()}
    head = f"{found.rows:,} rows, {found.spans:,} spans"
    parts: list[RenderableType] = [figures_table(head, figures)]
    for name, scores in (("label", found.per_label), ("slice", found.slices)):
        if scores:
            parts += ["", _scores(name, scores)]
    parts.append(f"\ncalibration error of the {found.found:,} spans answered {found.calibration_error:.4f}")
    if found.notes:
        parts += ["", *(f"[yellow]note:[/] {escape(note)}" for note in found.notes)]
    return Group(*parts)


def answers_table(texts: Sequence[str], answers: Sequence[Answer]) -> Table:
    """A line a span; an input without one has a line that says so."""
    rows: list[tuple[object, ...]] = []
    for number, (text, answer) in enumerate(zip(texts, answers, strict=True), start=1):
        rows += [
            (number, said["label"], f"{said['probability']:.3f}", said["text"], said["start"], said["end"])
            for said in spans_of(text, answer)
        ] or [(number, "none", "", "", "", "")]
    numbers = ("probability", "start", "end")
    return table(("input", "label", "probability", "text", "start", "end"), rows, right=numbers)


def answer_lines(texts: Sequence[str], answers: Sequence[Answer]) -> str:
    """For a program: a line a span, parted by tabs: input, start, end, label, probability, text."""
    lines = []
    for number, (text, answer) in enumerate(zip(texts, answers, strict=True), start=1):
        for said in spans_of(text, answer):
            cells = (number, said["start"], said["end"], said["label"], f"{said['probability']:.3f}")
            lines.append("\t".join([*map(str, cells), " ".join(said["text"].split())]))
    return "\n".join(lines)


def spans_of(text: str, answer: Answer) -> list[JsonObject]:
    """The spans of an answer, each with its label, probability and text."""
    return [
        {"start": start, "end": end, "label": label, "probability": probability, "text": text[start:end]}
        for (start, end), label, probability in zip(
            answer.places or (), answer.labels, answer.probabilities, strict=True
        )
    ]


def _scores(name: str, scores: Sequence["SpanScore"]) -> Table:
    rows = [
        (
            score.label,
            f"{score.spans:,}",
            f"{score.precision.value:.3f}",
            f"{score.recall.value:.3f}",
            f"{score.f1.value:.3f}",
            f"{score.f1.low:.3f} to {score.f1.high:.3f}",
        )
        for score in scores
    ]
    numbers = ("spans", "precision", "recall", "F1", "95 % interval")
    return table((name, *numbers), rows, right=numbers)
