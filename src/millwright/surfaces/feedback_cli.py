"""The verbs of `millwright feedback`: import a file of opinions, show what was said."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at, project_option

SHOWN = 10

app = typer.Typer(name="feedback", no_args_is_help=True, help="Import opinions, and see what was said.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Opinions: CSV, TSV, JSONL or Parquet.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Keep the opinions of a file; a row that cannot be kept is listed with its reason.

    Example: millwright feedback import survey.csv --project desk
    """
    opened = open_at(project)
    from millwright.opinions.files import import_opinions

    made = import_opinions(opened, file)
    if json:
        screen.show_json(made)
        return
    screen.show_line(f"{made.new} new, {made.repeated} kept before, {len(made.refused)} refused")
    for item in made.refused[:SHOWN]:
        screen.out.print(f"row {item.row}: {item.reason}", markup=False, soft_wrap=True)
    if len(made.refused) > SHOWN:
        screen.show_line(f"and {len(made.refused) - SHOWN} more; --json lists them all")
    if made.new:
        screen.show_next(f"millwright turn{project_option(project)}")


@app.command()
def status(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Show how many opinions there are of each kind, and what surveys found.

    Example: millwright feedback status --project desk
    """
    opened = open_at(project)
    from millwright.feedback import count_kinds, count_waiting
    from millwright.opinions.surveys import survey_figures

    kinds, surveys = count_kinds(opened), survey_figures(opened)
    waiting = count_waiting(opened)
    if json:
        screen.show_json({"kinds": kinds, "waiting": waiting, "surveys": surveys})
        return
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "nothing yet"
    screen.show_line(f"said: {told}; {waiting} labelled predictions wait for the next turn")
    for name, found in surveys.items():
        score = "no score yet" if found["score"] is None else f"{found['score']:.1%}"
        error = "" if found["error"] is None else f" ± {2 * found['error']:.1%}"
        screen.show_line(
            f"{name}: {score}{error}, {found['answered']} of {found['asked']} asked answered, "
            f"{found['volunteered']} volunteered"
        )
