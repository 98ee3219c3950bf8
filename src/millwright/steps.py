"""The steps that need a network, one function each over a project: train, evaluate, predict.

Surfaces call these and print what they return; they hold no logic of their own. (`new` is in scaffold.py,
`prepare` in data/prepare.py and `turn` in loop.py.)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, func, select

from millwright.data.dataset import Dataset, open_dataset
from millwright.data.drafts import masking_of
from millwright.data.load import read_table
from millwright.data.prepare import prepare, rows_of
from millwright.data.spill import spilling
from millwright.errors import BadInput
from millwright.modalities.spans import as_it_came
from millwright.modalities.text import canonical, clean, is_unicode
from millwright.privacy.mask import Masker, masker, read_in
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import Answer, Excluded, Interval, JsonObject, Row, TurnRecord
from millwright.registry.classifiers import load_classifier, load_model, register
from millwright.registry.versions import (
    CHAMPION,
    VersionInfo,
    alias,
    made_in_one_piece,
    point,
    resolve,
    version_manifest,
)
from millwright.serve.available import check_runtime
from millwright.serve.runtimes import choose_runtime
from millwright.settings import SPANS, Settings
from millwright.store.database import now
from millwright.store.files import write_json, write_text
from millwright.store.tables import turns
from millwright.train.answers import answers
from millwright.train.cost import Clock
from millwright.train.ensemble import Member, Trained
from millwright.train.fit import fit, weigh_weak_rows
from millwright.train.fit_spans import check_span_settings
from millwright.train.metrics import Evaluation
from millwright.train.metrics import evaluate as measure
from millwright.train.search import need_optuna, search
from millwright.train.span_metrics import SpanEvaluation, measure_spans
from millwright.train.span_model import SpanModel
from millwright.train.tuned import drop_checkpoints
from millwright.train.weak_rows import WeakUse
from millwright.train.work import truth_of
from millwright.turns import store_turn

MOST_NAMED = 100  # bytes of a file's name in that of a report: systems bear 255


def train(
    project: Project,
    *,
    trials: int = 0,
    progress: Progress = quiet,
    dataset: Dataset | None = None,
    clock: Clock | None = None,
) -> VersionInfo:
    """Prepare, train, measure and register a version; the first one becomes champion.

    Args:
        project: an open project.
        trials: how many settings to try first; 0 takes the project's.
        progress: called with a stage's name and the fraction done.
        dataset: a prepared dataset; prepared now when not given.
        clock: has measured what was done for this version before, such as preparing the dataset.

    Returns:
        The new version.

    Raises:
        BadInput: the data or the settings cannot be used.
        MissingExtra: `trials` need Optuna, or `serve.runtime` a package, that is not installed; nothing was
            done then.
        Busy: another training, or an erasure, runs on this project.
    """
    if project.settings.project.task == SPANS:
        check_span_settings(project.settings, trials)
    if trials:
        need_optuna()
    check_runtime(project.settings)
    clock = clock or Clock()
    with project.lock("train"):
        dataset = dataset or prepare_timed(project, clock, progress)
        settings, searched = project.settings, None
        if trials:
            settings, searched = search(
                dataset, settings, trials=trials, kept=project.kept, progress=progress
            )
        info, model, evaluation = make_version(
            project, dataset, settings, searched=searched, progress=progress, clock=clock
        )
        if alias(project, CHAMPION) is None:
            choose_runtime(project, info.name, progress, model)
            with project.database.begin() as connection:
                point(project, connection, info.name, "the first version")
                if evaluation:
                    _record_first_turn(connection, dataset, info, evaluation.headline)
    return info


def prepare_timed(project: Project, clock: Clock, progress: Progress) -> Dataset:
    """`prepare` as a stage of the clock."""
    with clock.stage("prepare", lambda: int(dataset.report["rows"])):
        dataset = prepare(project, progress=progress)
    return dataset


def make_version(
    project: Project,
    dataset: Dataset,
    settings: Settings,
    *,
    searched: JsonObject | None,
    progress: Progress,
    known: Sequence[Member] = (),
    clock: Clock | None = None,
) -> tuple[VersionInfo, Trained | SpanModel, Evaluation | SpanEvaluation | None]:
    """Train on a dataset, measure on its test rows and register; no alias means the version yet.

    Args:
        project: an open project.
        dataset: what to learn from.
        settings: the settings that the version is made with.
        searched: what a search found, for the version's record.
        progress: called with a stage's name and the fraction done.
        known: shards that need not be trained again where their rows and settings are the same.
        clock: has measured what was done for this version before.

    Returns:
        The version, its model, and what was measured, None without test rows.
    """
    clock = clock or Clock()
    fitted = fit(dataset, settings, kept=project.kept, progress=progress, known=known, clock=clock)
    if searched:
        fitted.facts["search"] = searched
    model, test = fitted.classifier, dataset.split("test")
    evaluation: Evaluation | SpanEvaluation | None = None
    if test:
        with clock.stage("test", len(test)):
            if isinstance(model, SpanModel):
                evaluation = evaluate_rows(model, test)
            else:
                said_NC = answers(model, test, project.kept, settings.train.cache_bytes)
                evaluation = _evaluation_of(said_NC, model, test)
    info = register(Project(project.folder, settings), dataset, fitted, evaluation, clock)
    drop_checkpoints(fitted.runs)  # not before: a kill would lose the training
    return info, model, evaluation


def weigh_weak(project: Project, rows: Sequence[Row], progress: Progress = quiet) -> WeakUse | None:
    """Whether weak rows would teach beside labelled ones, as training would decide; nothing is kept of it.

    Features of rows that no dataset holds are not cached, since no erasure would reach them.

    Args:
        project: an open project.
        rows: training and validation rows, weak ones among them, in canonical order.
        progress: called with a stage's name and the fraction done.

    Returns:
        What would be done; None where nothing is to be decided.

    Raises:
        NotFound: the backbone cannot be loaded.
    """
    with spilling(project.kept) as spill:
        return weigh_weak_rows(rows, project.settings, kept=spill.folder, progress=progress)


def evaluate(
    project: Project, *, version: str = CHAMPION, data: Path | str | None = None, progress: Progress = quiet
) -> tuple[Evaluation | SpanEvaluation, Path]:
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
    from millwright.reports.pages import evaluation_page  # here: no other step needs matplotlib

    name = resolve(project, version)
    manifest = version_manifest(project, name)
    if data is None:
        rows = open_dataset(project, manifest["dataset"]["id"]).split("test")
        where, suffix = f"the test rows of dataset {manifest['dataset']['id']}", ""
        left_out: list[Excluded] = []
    else:
        data = Path(data)
        found, left_out = rows_of(
            read_table(data),
            project.settings.data,
            data.name,
            masking_of(project),
            only_test=True,
        )
        rows, where, suffix = tuple(found), data.name, f"-{_page_of(data)}"
    if not rows:
        raise BadInput(f"{where}: no row to measure on; raise data.test_share, or pass --data FILE")
    progress("evaluate", 0.0)
    evaluation = evaluate_rows(load_model(project, name), rows)
    notes = (
        _left_out(left_out)
        + _known_rows(project, manifest, rows)
        + _cost_of_shards(project, manifest, rows, evaluation)
    )
    evaluation = replace(evaluation, notes=evaluation.notes + notes)
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
    listed = [asdict(one) for one in left_out]
    write_json(page.with_suffix(".json"), {**facts, **evaluation.to_json(), "left_out": listed})
    return evaluation, page


def _left_out(excluded: Sequence[Excluded]) -> tuple[str, ...]:
    """A note on the rows of a file that nothing could be measured on, the most frequent reasons first."""
    if not excluded:
        return ()
    reasons = ", ".join(
        f"{count:,} {why}" for why, count in Counter(one.reason for one in excluded).most_common(3)
    )
    return (
        f"left out as unusable, {len(excluded):,} in all: {reasons}; the JSON beside the page lists each row",
    )


def _known_rows(project: Project, manifest: JsonObject, rows: Sequence[Row]) -> tuple[str, ...]:
    """A note when texts of `rows` are among those that the version was trained on."""
    learnt = open_dataset(project, manifest["dataset"]["id"]).split("train", "validation")
    known = {canonical(row.text) for row in learnt}
    count = sum(canonical(row.text) in known for row in rows)
    if not count:
        return ()
    return (f"{count:,} of {len(rows):,} rows have a text that this version was trained on: they flatter it",)


def _cost_of_shards(
    project: Project, manifest: JsonObject, rows: Sequence[Row], evaluation: Evaluation | SpanEvaluation
) -> tuple[str, ...]:
    """A note on what a version's shards cost in accuracy on `rows`, where it has shards."""
    if "shards" not in manifest["facts"]:
        return ()
    shards, whole = len(manifest["facts"]["shards"]), made_in_one_piece(project, manifest)
    if whole is None:
        return (
            f"{shards} shards learnt apart: train the same dataset with --shards 1, and this page says what "
            "they cost in accuracy",
        )
    accuracy = evaluate_rows(load_classifier(project, whole), rows).headline.value
    lost = 100 * (accuracy - evaluation.headline.value)
    said = f"cost {lost:.1f} points" if lost > 0 else f"cost nothing ({-lost:.1f} points more)"
    return (
        f"{shards} shards learnt apart; in one piece ({whole}) the accuracy is {accuracy:.4f}: they {said}",
    )


def _page_of(data: Path) -> str:
    """What tells the page of a file from those of others, also of others of the same name."""
    name = data.name.split(".")[0].encode()[:MOST_NAMED].decode(errors="ignore")  # of whole characters
    return f"{name}-{sha256(str(data.resolve()).encode()).hexdigest()[:6]}"


def evaluate_rows(model: Trained | SpanModel, rows: Sequence[Row]) -> Evaluation | SpanEvaluation:
    """Measure a model on rows, by slice and by length of text besides."""
    texts = [row.text for row in rows]
    if isinstance(model, SpanModel):
        return measure_spans([row.label for row in rows], model.find(texts), _slices(rows))
    return _evaluation_of(model.probabilities(texts), model, rows)


def _evaluation_of(probability_NC: np.ndarray, classifier: Trained, rows: Sequence[Row]) -> Evaluation:
    return measure(probability_NC, truth_of(rows, classifier.labels), classifier.labels, _slices(rows))


def _slices(rows: Sequence[Row]) -> dict[str, list[str]]:
    slices = {
        name: [dict(row.slices).get(name, "") for row in rows]
        for name in sorted({n for r in rows for n, _ in r.slices})
    }
    slices.setdefault("length", [_length_band(row.text) for row in rows])  # a column may be called so
    return slices


def predict(
    project: Project, texts: Sequence[str], *, version: str = CHAMPION, top_k: int = 1
) -> list[Answer]:
    """Labels and probabilities of texts, whose personal data is replaced first, as in training.

    Args:
        project: an open project.
        texts: what to classify.
        version: a version or an alias.
        top_k: how many labels each answer names; where spans are to be found it stays 1.

    Returns:
        An answer a text: labels by falling probability, or the spans of the text as it came.

    Raises:
        BadInput: no text, or one that is blank or holds bytes of no encoding; or a `top_k` of spans.
        NotFound: no such version.
    """
    for place, text in enumerate(texts, start=1):
        if not is_unicode(text):
            raise BadInput(f"text {place} is not valid Unicode; write it in UTF-8", field="inputs")
    cleaned = [clean(text) for text in texts]
    if not cleaned or not all(cleaned):
        raise BadInput("a text is blank; pass at least one text with words", field="inputs")
    classifier = load_model(project, version)
    if isinstance(classifier, SpanModel):
        return _spans_of(classifier, masker(project), texts, top_k)
    answers = []
    for probability_C in classifier.probabilities(masker(project).mask_all(cleaned)):
        best = (-probability_C).argsort(kind="stable")[:top_k]
        answers.append(
            Answer(tuple(classifier.labels[i] for i in best), tuple(float(probability_C[i]) for i in best))
        )
    return answers


def _spans_of(model: SpanModel, own: Masker, texts: Sequence[str], top_k: int) -> list[Answer]:
    if top_k != 1:
        raise BadInput(f"top_k is {top_k}, and version finds spans, which have one label each; leave it at 1")
    read, edits = read_in(own, texts)
    told = [as_it_came(found, rounds) for found, rounds in zip(model.find(read), edits, strict=True)]
    return [
        Answer(
            tuple(span.label for span in found.spans),
            found.probabilities,
            tuple((span.start, span.end) for span in found.spans),
        )
        for found in told
    ]


def _length_band(text: str) -> str:
    words = len(text.split())
    return "up to 8 words" if words <= 8 else "9 to 30 words" if words <= 30 else "over 30 words"


def _record_first_turn(
    connection: Connection, dataset: Dataset, info: VersionInfo, accuracy: Interval
) -> None:
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
    if not connection.scalar(select(func.count()).select_from(turns)):
        store_turn(connection, record)
