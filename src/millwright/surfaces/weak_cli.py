"""The verbs of `millwright weak`: what labelling functions are worth, and rows of what they say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at, project_option

if TYPE_CHECKING:
    from millwright.weak.report import WeakReport

app = typer.Typer(
    name="weak", no_args_is_help=True, help="Label rows by functions, where hardly any are labelled."
)
Files = Annotated[list[Path], typer.Argument(help="Unlabelled files: CSV, TSV, JSONL or Parquet.")]
Functions = Annotated[
    list[Path],
    typer.Option("--functions", help="Keywords (.toml, .csv) or Python (.py, which is run); may come again."),
]


@app.command()
def report(
    files: Files, functions: Functions, project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Show what labelling functions cover, where they differ, how often they are right, whether that helps.

    Example: millwright weak report pile.csv --functions labelling.toml --project desk
    """
    opened = open_at(project)
    from millwright.steps import weigh_weak
    from millwright.weak.functions import open_functions
    from millwright.weak.report import survey_weak

    with screen.progress_bars(json) as progress:
        found, rows = survey_weak(opened, files, open_functions(functions), progress)
        use = weigh_weak(opened, rows, progress)
    if json:
        screen.show_json({**found.to_json(), "use": use and use.to_json()})
        return
    _show(found)
    if use is not None:
        screen.show_line(f"weak rows, were they applied: {use.why}")


@app.command()
def apply(
    files: Files, functions: Functions, project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Keep what the functions say as weak rows; training takes them where they are shown to help.

    Example: millwright weak apply pile.csv --functions labelling.toml --project desk
    """
    opened = open_at(project)
    from millwright.data.weak import WEAK_FILE
    from millwright.weak.apply import apply_weak
    from millwright.weak.functions import open_functions

    with screen.progress_bars(json) as progress:
        found = apply_weak(opened, files, open_functions(functions), progress)
    if json:
        screen.show_json({"file": opened.folder / WEAK_FILE, **found.to_json()})
        return
    _show(found)
    screen.show_path("weak rows:", opened.folder / WEAK_FILE)
    screen.show_next(f"millwright train{project_option(project)}")


@app.command()
def clear(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Delete the weak rows; versions that they taught stay.

    Example: millwright weak clear --project desk
    """
    opened = open_at(project)
    from millwright.weak.apply import clear_weak

    was_there = clear_weak(opened)
    if json:
        screen.show_json({"cleared": was_there})
    else:
        screen.show_line("weak rows deleted" if was_there else "there were no weak rows")


def _show(found: "WeakReport") -> None:
    rows = []
    for one in found.functions:
        measured = one.measured
        told = (
            measured and f"{measured.value:.1%} of {one.judged:,} [{measured.low:.1%}, {measured.high:.1%}]"
        )
        estimated = one.estimated is not None and f"{one.estimated:.1%}"
        shares = (f"{share:.1%}" for share in (one.coverage, one.overlaps, one.conflicts))
        rows.append((one.name, *shares, estimated or "", told or "", "; ".join(one.flags)))
    numbers = ("covers", "overlaps", "conflicts", "estimated")
    headers = ("function", *numbers, "right on labelled rows", "look at")
    screen.out.print(screen.table(headers, rows, right=numbers))
    lines = [
        f"{found.covered:,} of {found.rows:,} rows got a vote, "
        f"{found.labelled:,} a label that is likely enough",
        *(f"left out: {count:,} {reason}" for reason, count in found.excluded.items()),
    ]
    if found.judged:
        lines.append(
            f"together right on {found.right:,} of {found.judged:,} labelled rows with a vote; the majority "
            f"of votes on {found.majority_right:,}"
        )
    screen.show_line("\n".join(lines))
