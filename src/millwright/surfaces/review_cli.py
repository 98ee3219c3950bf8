"""The verbs of `millwright review`: build the queue, label it, see how far annotators agree, exchange it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at, project_option

app = typer.Typer(name="review", no_args_is_help=True, help="Look at the rows that are most worth it.")
Annotator = Annotated[str, typer.Option("--annotator", help="Whose labels they are.")]
Tool = Annotated[str, typer.Option(help="label-studio or argilla.")]


@app.command()
def build(
    count: Annotated[int, typer.Option(min=1, help="How many rows at most.")] = 100,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Choose the rows that are worth looking at: unlabelled ones, wrong-looking labels, disagreements.

    Example: millwright review build --count 50 --project desk
    """
    opened = open_at(project)
    from millwright.review.queue import build_queue

    with screen.progress_bars(json) as progress:
        queue = build_queue(opened, count, progress)
    if json:
        screen.show_json({"rows": [item.shown() for item in queue]})
        return
    reasons = [item.reason for item in queue]
    told = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))
    if not queue:
        screen.show_line("no row needs a look yet; users' requests bring some")
        return
    screen.show_line(f"{len(queue)} rows: {told}")
    screen.show_next(f"millwright review label{project_option(project)}")


@app.command()
def label(annotator: Annotator = "me", project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Label rows, a key each; what is typed is kept at once, and the same command goes on.

    Example: millwright review label --annotator ada --project desk
    """
    opened = open_at(project)
    from millwright.surfaces.pressed import pressed_keys
    from millwright.surfaces.review_session import review_rows

    console = screen.err if json else screen.out
    with pressed_keys() as key:
        done = review_rows(
            opened, annotator, key, lambda text: console.print(text, markup=False, soft_wrap=True)
        )
    if json:
        screen.show_json({"done": done})
    else:
        screen.show_line(f"{done} rows done; the next turn learns what was agreed on")


@app.command("next")
def next_rows(
    annotator: Annotator = "me",
    count: Annotated[int, typer.Option(min=1, help="How many rows.")] = 1,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Show the next rows of the queue, for programs above all.

    Example: millwright review next --count 5 --json --project desk
    """
    opened = open_at(project)
    from millwright.review.annotations import next_items

    found = next_items(opened, annotator, count, opened.settings.review.annotators)
    if json:
        screen.show_json({"rows": [item.shown() for item in found]})
        return
    for item in found:
        screen.out.print(f"{item.id} ({item.reason}): {item.text}", markup=False, soft_wrap=True)


@app.command()
def answer(
    item: Annotated[str, typer.Argument(help="The row's id, from `review next`.")],
    label: Annotated[str | None, typer.Argument(help="The right label; none passes the row over.")] = None,
    annotator: Annotator = "me",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Label one row of the queue.

    Example: millwright review answer row:1f3a card_lost --annotator ada --project desk
    """
    opened = open_at(project)
    from millwright.review.annotations import annotate

    made = annotate(opened, item, annotator, label)
    if json:
        screen.show_json(asdict(made))
    else:
        screen.out.print(f"{made.item}: {made.label or 'passed over'}", markup=False, soft_wrap=True)


@app.command()
def undo(annotator: Annotator = "me", project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Take back an annotator's last label; the row comes again.

    Example: millwright review undo --annotator ada --project desk
    """
    opened = open_at(project)
    from millwright.review.annotations import undo as take_back

    made = take_back(opened, annotator)
    if json:
        screen.show_json(asdict(made))
    else:
        screen.out.print(f"taken back: {made.item}", markup=False, soft_wrap=True)


@app.command()
def status(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Show how far the review is, how far annotators agree, and each on rows whose label is known.

    Example: millwright review status --project desk
    """
    opened = open_at(project)
    from millwright.review.annotations import review_status

    found = review_status(opened, opened.settings.review.annotators)
    if json:
        screen.show_json(found)
        return
    alpha = found["krippendorff_alpha"]
    lines = [
        f"{found['labelled']} of {found['rows']} rows labelled, {found['agreed']} agreed on, "
        f"{len(found['differ'])} differ",
        "agreement (Krippendorff's alpha): " + ("no row has two labels" if alpha is None else f"{alpha:.3f}"),
        *(
            f"{name}: {one['labelled']} labelled, {one['passed']} passed, "
            f"{one['gold_right']} of {one['gold']} gold rows right, "
            + (
                f"a label weighs {one['weight']:.2f}"
                if one["weight"]
                else "no better than guesses: the labels count for nothing, and their rows wait for others"
            )
            for name, one in found["annotators"].items()
        ),
    ]
    drawn = found["by_chance"]
    if (fair := drawn["accuracy"]) is not None:
        share = f"{drawn['undecided']} undecided, " if drawn["undecided"] else f"{fair['value']:.1%} "
        lines.append(
            f"of {drawn['rows']} rows drawn by chance the model was right on {drawn['right']}, "
            f"{share}[{fair['low']:.1%}, {fair['high']:.1%}]: requests that nobody had labelled"
        )
    screen.out.print("\n".join(lines), markup=False, soft_wrap=True)


@app.command()
def gold(
    file: Annotated[Path, typer.Argument(help="Rows whose label is known, with columns text and label.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Mix rows whose label is known among the others, every tenth, to see how well annotators do.

    Example: millwright review gold known.csv --project desk
    """
    opened = open_at(project)
    from millwright.review.annotations import add_gold

    count = add_gold(opened, file)
    if json:
        screen.show_json({"gold": count})
    else:
        screen.show_line(f"{count} rows with a known label")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    tool: Tool = "label-studio",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Write the queue for Label Studio or Argilla, the model's guesses as suggestions.

    Example: millwright review export tasks.json --tool argilla --project desk
    """
    opened = open_at(project)
    from millwright.review.exchange import export_queue

    count = export_queue(opened, file, tool)
    if json:
        screen.show_json({"rows": count, "file": file})
    else:
        screen.show_path(f"{count} rows in", file)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="The tool's export, as JSON.")],
    tool: Tool = "label-studio",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Take labels back from Label Studio or Argilla.

    Example: millwright review import tasks.json --tool argilla --project desk
    """
    opened = open_at(project)
    from millwright.review.exchange import import_labels

    count = import_labels(opened, file, tool)
    if json:
        screen.show_json({"labels": count})
    else:
        screen.show_line(f"{count} labels taken")


@app.command()
def corrections(
    file: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Write the rows of your files that reviewers gave another label; the files themselves stay as they are.

    Example: millwright review corrections corrections.csv --project desk
    """
    opened = open_at(project)
    from millwright.review.exchange import export_corrections

    count = export_corrections(opened, file)
    if json:
        screen.show_json({"rows": count, "file": file})
    else:
        screen.show_path(f"{count} rows in", file)
