"""The command line: parses, calls one function, prints. `millwright --help` lists the verbs.

What a verb needs is imported inside it, so that help comes at once and only what needs a network waits for
torch.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from millwright.errors import BadInput, MillwrightError, NotFound, one_of
from millwright.runner.budget import work_gently
from millwright.settings import Settings, change_settings, dump_settings, explain_settings
from millwright.surfaces import (
    audit_cli,
    backbones_cli,
    drift_cli,
    experiment_cli,
    feedback_cli,
    keys_cli,
    privacy_cli,
    receipt_cli,
    review_cli,
    screen,
    serve_cli,
    span_screen,
    subject_cli,
    versions_cli,
    weak_cli,
    webhooks_cli,
)
from millwright.surfaces.options import (
    AsJson,
    Gently,
    MaxMembership,
    ProjectFolder,
    Version,
    open_at,
    project_option,
)
from millwright.surfaces.versions_cli import show_figures

INTERRUPTED = 130
WHEEL, AROUND = "Turn the wheel", "Look and steer"  # panels of the help

app = typer.Typer(
    name="millwright", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
GROUPS = (
    *(versions_cli, backbones_cli, experiment_cli, feedback_cli, review_cli, weak_cli, privacy_cli),
    *(subject_cli, receipt_cli, audit_cli, keys_cli, webhooks_cli),
)
for group in GROUPS:
    app.add_typer(group.app, rich_help_panel=AROUND)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong input or usage, 130 interrupted.

    Args:
        arguments: what stands after `millwright`; None takes them from the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _quieten_libraries()
    try:
        app(given, prog_name="millwright")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            screen.show_error("interrupted; run the same command again to go on")
        raise
    except KeyboardInterrupt:
        screen.show_error("interrupted; run the same command again to go on")
        sys.exit(INTERRUPTED)
    except MillwrightError as error:
        if "--debug" in given:
            raise
        screen.show_error(f"error: {error}")
        sys.exit(error.exit_code)
    except Exception as error:  # a fault of ours: still no traceback unless it is asked for
        if "--debug" in given:
            raise
        screen.show_error(
            f"internal error: {type(error).__name__}: {error}; "
            "run `millwright --debug ...` and report what it prints"
        )
        sys.exit(1)
    sys.exit(0)


def _quieten_libraries() -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for module in ("torch", "transformers", "peft", "sklearn", "optuna", "huggingface_hub"):
        warnings.filterwarnings("ignore", module=module)


def _show_version(wanted: bool) -> None:
    if wanted:
        import millwright

        screen.show_line(millwright.__version__)
        raise typer.Exit


@app.callback()
def _everything(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Millwright keeps the wheel of an AI product turning: prepare, train, serve, listen, turn.

    Example: millwright demo
    """


@app.command(rich_help_panel=WHEEL)
def new(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    data: Annotated[Path | None, typer.Option(help="Labelled rows: CSV, TSV, JSONL or Parquet.")] = None,
    test_data: Annotated[Path | None, typer.Option(help="Rows that are only ever tested on.")] = None,
    template: Annotated[str | None, typer.Option(help="Start from an example: customer-desk.")] = None,
    text: Annotated[str | None, typer.Option(help="Column with the input.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the right answer.")] = None,
    group: Annotated[str | None, typer.Option(help="Column whose rows stay together.")] = None,
    subject: Annotated[str | None, typer.Option(help="Column that names the person.")] = None,
    task: Annotated[
        str | None, typer.Option(help="text-classification or token-classification; recognised otherwise.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a project from a file of labelled rows; columns that you don't name are recognised.

    Example: millwright new desk --data tickets.csv --text message --label intent
    """
    from millwright.scaffold import new_project

    made, reasons = new_project(
        folder, data=data, test_data=test_data, template=template, text=text, label=label, group=group,
        subject=subject, task=task,
    )  # fmt: skip
    if json:
        screen.show_json({"project": made.folder, "reasons": reasons})
        return
    for reason in reasons:
        screen.out.print(reason, markup=False)
    screen.show_path("made", made.folder)
    screen.show_next(f"millwright prepare{project_option(folder)}")


@app.command(rich_help_panel=WHEEL)
def prepare(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Clean, check and split the rows, and write the data report.

    Example: millwright prepare --project desk
    """
    from millwright.data.prepare import dataset_folder
    from millwright.data.prepare import prepare as prepare_data
    from millwright.reports.pages import write_data_report

    opened = open_at(project)
    with screen.progress_bars(json) as progress:
        dataset = prepare_data(opened, progress=progress)
    page = write_data_report(opened, dataset)
    if json:
        screen.show_json({"dataset": dataset.id, "page": page, **dataset.report})
        return
    screen.out.print(screen.data_table(dataset.report))
    if dataset.report["excluded"]:
        screen.show_path("each row left out:", dataset_folder(opened) / dataset.id / "excluded.jsonl")
    screen.show_path("report:", page)
    screen.show_next(f"millwright train{project_option(project)}")


@app.command(rich_help_panel=WHEEL)
def train(
    method: Annotated[
        str | None, typer.Option(help="auto, head, top, lora, private-head, private-lora, …: see settings.")
    ] = None,
    search: Annotated[int, typer.Option(min=0, help="Try this many settings first.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Maximum passes over rows.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Privacy budget of a private method.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    shards: Annotated[int | None, typer.Option(help="Shards, by person, trained separately.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Train, measure on held-out rows and register a version; the first one becomes champion.

    Example: millwright train --project desk --method lora --search 10
    """
    opened = open_at(project)
    settings = change_settings(
        opened.settings,
        "train",
        method=method,
        epochs=epochs,
        epsilon=epsilon,
        seed=seed,
        shards=shards,
    )

    from millwright.registry.versions import CHAMPION, resolve, version_manifest
    from millwright.steps import train as train_version

    if search:
        from millwright.train.search import need_optuna

        optuna = need_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    with screen.progress_bars(json) as progress:
        made = train_version(replace(opened, settings=settings), trials=search, progress=progress)
    manifest = version_manifest(opened, made.name)
    if json:
        screen.show_json({"version": made, "why": manifest["why"], "metrics": manifest["metrics"]})
        return
    show_figures(opened, manifest)
    champion = resolve(opened, CHAMPION)
    if champion == made.name:
        screen.show_next(f"millwright evaluate{project_option(project)}")
        return
    screen.show_line(f"champion is still {champion}; {made.name} serves once it is promoted")
    screen.show_next(f"millwright versions promote {made.name}{project_option(project)}")


@app.command(rich_help_panel=WHEEL)
def evaluate(
    version: Version = "champion",
    data: Annotated[Path | None, typer.Option(help="Measure on this file, not on the test rows.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Measure a version on rows that it never saw; every figure comes with its interval.

    Example: millwright evaluate --project desk --version v2
    """
    opened = open_at(project)
    from millwright.steps import evaluate as evaluate_version
    from millwright.train.span_metrics import SpanEvaluation

    with screen.progress_bars(json) as progress:
        found, page = evaluate_version(opened, version=version, data=data, progress=progress)
    if json:
        screen.show_json({"page": page, **found.to_json()})
        return
    if isinstance(found, SpanEvaluation):
        screen.out.print(span_screen.evaluation_table(found))
    else:
        screen.out.print(screen.evaluation_table(found))
    screen.show_path("report:", page)


@app.command(rich_help_panel=WHEEL)
def predict(
    texts: Annotated[list[str] | None, typer.Argument(help="Inputs; none reads lines from stdin.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many labels an input.")] = 1,
    version: Version = "champion",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Label texts, or find the spans in them.

    Example: millwright predict "my card was swallowed" --project desk
    """
    opened = open_at(project)
    given = texts or _lines_of_stdin()
    from millwright.steps import predict as predict_texts

    answers = predict_texts(opened, given, version=version, top_k=top)
    has_spans = answers[0].places is not None
    if json and has_spans:
        found = [
            {"text": text, "spans": span_screen.spans_of(text, answer)}
            for text, answer in zip(given, answers, strict=True)
        ]
        screen.show_json({"answers": found})
        return
    if json:
        screen.show_json(
            {
                "answers": [
                    {"text": text, "labels": answer.labels, "probabilities": answer.probabilities}
                    for text, answer in zip(given, answers, strict=True)
                ]
            }
        )
        return
    shows = span_screen if has_spans else screen
    if screen.out.is_terminal:
        screen.out.print(shows.answers_table(given, answers))
    else:
        screen.show_as_it_is(shows.answer_lines(given, answers))


def _lines_of_stdin() -> list[str]:
    try:
        lines = [] if sys.stdin.isatty() else [line.strip() for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"stdin is not UTF-8 ({error}); convert it first, as with iconv") from None
    if not lines:
        raise BadInput(
            'no text given; pass one as in `millwright predict "my card is lost"`, or lines on stdin'
        )
    return lines


app.command(rich_help_panel=WHEEL)(serve_cli.serve)
app.command(rich_help_panel=WHEEL)(serve_cli.run)


@app.command(rich_help_panel=WHEEL)
def turn(
    decide_by: Annotated[
        str, typer.Option(help="rows promotes on held-out rows, users leaves it to an experiment.")
    ] = "rows",
    max_membership: MaxMembership = None,
    gently: Gently = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Turn what users said into rows, train a challenger, promote it if it is better.

    Example: millwright turn --project desk
    """
    opened = open_at(project)
    one_of("way to decide", decide_by, ("rows", "users"))
    if gently:
        work_gently(opened.settings.run)
    from millwright.loop import turn as turn_wheel

    with screen.progress_bars(json) as progress:
        record = turn_wheel(
            opened,
            decide_by="users" if decide_by == "users" else "rows",
            max_membership=max_membership,
            progress=progress,
        )
    if json:
        screen.show_json(record)
        return
    screen.show_line(screen.turn_lines(record))
    screen.show_path("chart:", opened.reports / "turns.html")


app.command(rich_help_panel=AROUND)(drift_cli.drift)


@app.command(rich_help_panel=AROUND)
def settings(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Explain every key of millwright.toml with its value here, or its default where there is no project.

    Example: millwright settings --project desk
    """
    current = _settings_here(project)
    if json:
        screen.show_json(explain_settings(current))
    else:
        screen.out.print(dump_settings(current), markup=False, soft_wrap=True)


def _settings_here(folder: Path) -> Settings:
    try:
        return open_at(folder).settings
    except NotFound:
        return Settings()


@app.command(rich_help_panel=AROUND)
def bench(
    concurrency: Annotated[
        list[int] | None,
        typer.Option(help="Requests at once; may be given again. 1, 8, 32 and 64 otherwise."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each run takes.")] = 5.0,
    price: Annotated[float | None, typer.Option(help="Price of a core an hour, in any currency.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Measure what this machine bears: answers a second, latencies, cost per million answers.

    Each of the concurrent clients asks again once it was answered, on the cores that the server has too.

    Example: millwright bench --project desk --price 0.04
    """
    opened = open_at(project)
    from millwright.bench.measure import bench as bench_project

    with screen.progress_bars(json) as progress:
        found = bench_project(
            opened, concurrencies=concurrency or (1, 8, 32, 64), seconds=seconds, price_per_core_hour=price,
            progress=progress,
        )  # fmt: skip
    if json:
        screen.show_json({"load": found})
    else:
        screen.out.print(screen.load_table(found))


@app.command(rich_help_panel=AROUND)
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo's project is made.")] = Path("demo"),
    json: AsJson = False,
) -> None:
    """Turn the whole wheel once with simulated users: train, serve, listen, turn, promote.

    Example: millwright demo
    """
    from millwright.demo import run_demo

    summary = run_demo(folder, screen.err.print if json else screen.out.print)
    if json:
        screen.show_json(summary)


if __name__ == "__main__":
    main()
