"""Reports as single HTML files: style and pictures inside, nothing fetched, all text escaped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from millwright.data.dataset import Dataset
from millwright.project import Project
from millwright.records import JsonObject, TurnRecord
from millwright.reports import charts
from millwright.reports.environment import templates
from millwright.store.files import write_text
from millwright.train.metrics import Evaluation
from millwright.train.span_metrics import SpanEvaluation

FIGURES = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "calibration_error",
    "log_loss",
)
SPAN_FIGURES = (
    "precision",
    "recall",
    "f1",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "exact_rows",
)
templates.filters["themed"] = charts.themed


def data_page(report: JsonObject, name: str) -> str:
    """The page of a dataset's report.

    Args:
        report: what `prepare` found.
        name: its title.

    Returns:
        HTML.
    """
    unit = "spans" if "spans" in report else "rows"
    return templates.get_template("data.html").render(
        title=name,
        report=report,
        unit=unit,
        balance=charts.label_balance(report["labels"], unit),
        shown=charts.MOST_LABELS,
    )


def write_data_report(project: Project, dataset: Dataset) -> Path:
    """Write the dataset's report as a page and return its path."""
    page = project.reports / f"data-{dataset.id}.html"
    write_text(page, data_page(dataset.report, f"{project.settings.project.name}: dataset {dataset.id}"))
    return page


def evaluation_page(evaluation: Evaluation | SpanEvaluation, title: str, facts: Mapping[str, str]) -> str:
    """The page of an evaluation.

    Args:
        evaluation: what was measured.
        title: the page's title.
        facts: lines of the table on top: version, dataset, and so on.

    Returns:
        HTML.
    """
    if isinstance(evaluation, SpanEvaluation):
        return _span_evaluation_page(evaluation, title, facts)
    return templates.get_template("evaluation.html").render(
        title=title,
        facts=facts,
        evaluation=evaluation,
        figures=[(name.replace("_", " "), getattr(evaluation, name)) for name in FIGURES],
        reliability=charts.reliability_chart(evaluation.reliability),
        classes=charts.per_class_f1(evaluation.per_class),
        confusions=charts.confusions_chart(evaluation.confused),
        measured=[score for score in evaluation.per_class if score.rows],
        unmeasured=[score.label for score in evaluation.per_class if not score.rows],
        shown=charts.MOST_LABELS,
    )


def _span_evaluation_page(evaluation: SpanEvaluation, title: str, facts: Mapping[str, str]) -> str:
    return templates.get_template("span_evaluation.html").render(
        title=title,
        facts=facts,
        evaluation=evaluation,
        figures=[(name.replace("_", " "), getattr(evaluation, name)) for name in SPAN_FIGURES],
        labels=charts.per_label_f1(evaluation.per_label),
        measured=[score for score in evaluation.per_label if score.spans],
        unmeasured=[score for score in evaluation.per_label if not score.spans],
        shown=charts.MOST_LABELS,
    )


def turns_page(turns: Sequence[TurnRecord]) -> str:
    """The page of all turns: the chart and the table."""
    return templates.get_template("turns.html").render(
        title="Turns", turns=turns, chart=charts.turns_chart(turns)
    )
