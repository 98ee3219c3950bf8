"""The steps of the wheel, one function each over a project: new, train, evaluate, predict.

Surfaces call these and print what they return; they hold no logic of their own. (`prepare` is in
data/prepare.py and `turn` in loop.py.)
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, insert, select

from millwright.data.columns import Columns, check_text_is_not_numbers, recognise
from millwright.data.dataset import Dataset, read_dataset
from millwright.data.load import Table, read_table
from millwright.data.prepare import dataset_folder, group_name, prepare, rows_of
from millwright.data.split import ROWS_LOOKED_AT, most_even_seed
from millwright.errors import BadInput, one_of
from millwright.modalities.text import clean
from millwright.project import Project, open_project
from millwright.records import Answer, Interval, Row, TurnRecord
from millwright.registry.versions import (
    CHAMPION,
    VersionInfo,
    alias,
    load_classifier,
    promote,
    register,
    resolve,
    version_manifest,
)
from millwright.reports.pages import data_page, evaluation_page
from millwright.settings import FILENAME, DataSection, Settings, dump_settings
from millwright.store.database import now
from millwright.store.files import storing, write_json, write_text
from millwright.store.tables import turns
from millwright.train.classifier import Classifier
from millwright.train.fit import Progress, fit, truth_of
from millwright.train.metrics import Evaluation
from millwright.train.metrics import evaluate as measure
from millwright.train.search import search

TEMPLATES = Path(__file__).parent / "templates"


def quiet(_stage: str, _done: float) -> None:
    """A progress callback that shows nothing."""


def new_project(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    template: str | None = None,
    test_data: Path | str | None = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    subject: str | None = None,
) -> tuple[Project, tuple[str, ...]]:
    """Make a project folder with a commented millwright.toml.

    Args:
        folder: where; made if missing.
        data: a labelled file; it stays where it is.
        template: the name of a built-in project to copy instead.
        test_data: a labelled file that is only tested on.
        text: the input's column; recognised when not named, as are the next three.
        label: the label's column.
        group: the column whose rows stay in one split.
        subject: the column that names the person.

    Returns:
        The project, and a sentence for each column that was recognised.

    Raises:
        BadInput: neither or both of `data` and `template`, or a project is there already.
        NotFound: no such file, column or template.
        CannotStore: the folder cannot be written.
    """
    if (data is None) == (template is None):
        raise BadInput("a project starts from a file or from a template: pass one of --data and --template")
    folder = Path(folder)
    data, test_data = (Path(path) if path is not None else None for path in (data, test_data))
    if (folder / FILENAME).exists():
        raise BadInput(
            f"{folder / FILENAME} is there already; choose another folder, or delete it to start over"
        )
    if template is not None:
        names = sorted(path.name for path in TEMPLATES.iterdir() if (path / FILENAME).exists())
        source = TEMPLATES / one_of("template", template, names)
        with storing(folder):
            shutil.copytree(source, folder, dirs_exist_ok=True)
        return open_project(folder), (f"copied the template {template!r}",)
    assert data is not None
    table = read_table(data, ROWS_LOOKED_AT)
    found = recognise(table, text, label, group, subject)
    check_text_is_not_numbers(table, found.text)
    section = _data_section(folder, data, test_data, table, found)
    settings = Settings().model_copy(
        update={
            "project": Settings().project.model_copy(update={"name": folder.resolve().name}),
            "data": section,
        }
    )
    write_text(folder / FILENAME, dump_settings(settings))
    return open_project(folder), found.reasons


def train(
    project: Project, *, trials: int = 0, progress: Progress = quiet, dataset: Dataset | None = None
) -> VersionInfo:
    """Prepare, train, measure and register a version; the first one becomes champion.

    Args:
        project: an open project.
        trials: how many settings to try first; 0 takes the project's.
        progress: called with a stage's name and the fraction done.
        dataset: a prepared dataset; prepared now when not given.

    Returns:
        The new version.

    Raises:
        BadInput: the data or the settings cannot be used.
        Busy: another training runs on this project.
    """
    with project.lock("train"):
        dataset = dataset or prepare(project, progress=progress)
        settings, searched = project.settings, None
        if trials:
            settings, searched = search(
                dataset, settings, trials=trials, kept=project.kept, progress=progress
            )
        fitted = fit(dataset, settings, kept=project.kept, progress=progress)
        if searched:
            fitted.facts["search"] = searched
        test = dataset.split("test")
        evaluation = evaluate_rows(fitted.classifier, test) if test else None
        info = register(Project(project.folder, settings), dataset, fitted, evaluation)
        if alias(project, CHAMPION) is None:
            promote(project, info.name, "the first version")
            if evaluation:
                _record_first_turn(project, dataset, info, evaluation.accuracy)
    return info


def evaluate(
    project: Project, *, version: str = CHAMPION, data: Path | str | None = None, progress: Progress = quiet
) -> tuple[Evaluation, Path]:
    """Measure a version on its dataset's test rows, or on every row of a labelled file.

    Args:
        project: an open project.
        version: a version or an alias.
        data: a labelled file with the project's columns.
        progress: called with a stage's name and the fraction done.

    Returns:
        The figures, and the HTML report, beside which the same figures stand as JSON.

    Raises:
        NotFound: no such version, file or column.
        BadInput: there is no row to measure on.
    """
    name = resolve(project, version)
    manifest = version_manifest(project, name)
    if data is None:
        rows = read_dataset(dataset_folder(project), manifest["dataset"]["id"]).split("test")
        where, suffix = f"the test rows of dataset {manifest['dataset']['id']}", ""
    else:
        data = Path(data)
        found, _ = rows_of(read_table(data), project.settings.data, data.name, only_test=True)
        rows, where, suffix = tuple(found), data.name, f"-{data.name.split('.')[0]}"
    if not rows:
        raise BadInput(f"{where}: no row to measure on; raise data.test_share, or pass --data FILE")
    progress("evaluate", 0.0)
    evaluation = evaluate_rows(load_classifier(project, name), rows)
    progress("evaluate", 1.0)
    facts = {
        "version": name,
        "method": manifest["method"],
        "dataset": manifest["dataset"]["id"],
        "backbone": manifest["backbone"]["name"],
        "measured on": where,
        "rows": str(len(rows)),
    }
    page = project.reports / f"evaluation-{name}{suffix}.html"
    title = f"{project.settings.project.name}: version {name}"
    write_text(page, evaluation_page(evaluation, title, facts))
    write_json(page.with_suffix(".json"), {**facts, **evaluation.to_json()})
    return evaluation, page


def evaluate_rows(classifier: Classifier, rows: Sequence[Row]) -> Evaluation:
    """Measure a classifier on rows, by slice and by length of text besides."""
    probability_NC = classifier.probabilities([row.text for row in rows])
    slices = {
        name: [dict(row.slices).get(name, "") for row in rows]
        for name in sorted({n for r in rows for n, _ in r.slices})
    }
    slices["length"] = [_length_band(row.text) for row in rows]
    return measure(probability_NC, truth_of(rows, classifier.labels), classifier.labels, slices)


def predict(
    project: Project, texts: Sequence[str], *, version: str = CHAMPION, top_k: int = 1
) -> list[Answer]:
    """Labels and probabilities of texts.

    Args:
        project: an open project.
        texts: what to classify.
        version: a version or an alias.
        top_k: how many labels each answer names.

    Returns:
        An answer a text, labels by falling probability.

    Raises:
        BadInput: no text, or one that is blank.
        NotFound: no such version.
    """
    texts = [clean(text) for text in texts]
    if not texts or not all(texts):
        raise BadInput("a text is blank; pass at least one text with words", field="inputs")
    classifier = load_classifier(project, version)
    answers = []
    for probability_C in classifier.probabilities(texts):
        best = (-probability_C).argsort(kind="stable")[:top_k]
        answers.append(
            Answer(tuple(classifier.labels[i] for i in best), tuple(float(probability_C[i]) for i in best))
        )
    return answers


def write_data_report(project: Project, dataset: Dataset) -> Path:
    """Write the dataset's report as a page and return its path."""
    page = project.reports / f"data-{dataset.id}.html"
    write_text(page, data_page(dataset.report, f"{project.settings.project.name}: dataset {dataset.id}"))
    return page


def _length_band(text: str) -> str:
    words = len(text.split())
    return "up to 8 words" if words <= 8 else "9 to 30 words" if words <= 30 else "over 30 words"


def _data_section(
    folder: Path, data: Path, test_data: Path | None, table: Table, found: Columns
) -> DataSection:
    def relative(path: Path) -> str:
        return os.path.relpath(path.resolve(), folder.resolve())

    section = DataSection(
        files=[relative(data)],
        test_files=[relative(test_data)] if test_data else [],
        text=found.text,
        label=found.label,
        group=found.group,
        subject=found.subject,
        slices=list(found.slices),
    )
    columns = [
        table.frame[name].to_list() if name else [None] * len(table.frame)
        for name in (found.text, found.label, found.group, found.subject)
    ]
    groups = [
        group_name(section, text, group, subject) for text, _, group, subject in zip(*columns, strict=True)
    ]
    test_share = 0.0 if test_data else section.test_share
    seed = most_even_seed(groups, table.frame[found.label].to_list(), section.validation_share, test_share)
    return section.model_copy(update={"split_seed": seed})


def _record_first_turn(project: Project, dataset: Dataset, info: VersionInfo, accuracy: Interval) -> None:
    """Give the chart of turns its first point."""
    rows = len(dataset.split("train", "validation"))
    record = TurnRecord(
        number=1,
        dataset=dataset.id,
        rows=rows,
        new_rows=rows,
        champion=None,
        challenger=info.name,
        before=None,
        after=accuracy,
        held_out=len(dataset.split("test")),
        p_value=None,
        promoted=True,
        reason="the first version",
        created_at=now(),
    )
    with project.database.begin() as connection:
        if not connection.scalar(select(func.count()).select_from(turns)):
            connection.execute(insert(turns).values(number=1, record=turn_json(record)))


def turn_json(record: TurnRecord) -> dict[str, object]:
    """A turn's record as it stands in the table."""
    tree = dict(vars(record))
    tree["before"] = vars(record.before) if record.before else None
    tree["after"] = vars(record.after)
    return tree
