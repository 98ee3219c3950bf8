"""The verbs of `millwright privacy`: scan."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="privacy", no_args_is_help=True, help="See what personal data there is.")


@app.command()
def scan(
    file: Annotated[Path | None, typer.Argument(help="A file; none scans the project.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Count personal data by column, with samples of its shape, never of the data itself.

    Example: millwright privacy scan tickets.csv
    """
    from millwright.data.personal import scan_file, scan_project

    with screen.progress_bars(json) as progress:
        found = scan_file(file, progress) if file else scan_project(open_at(project), progress)
    if json:
        screen.show_json({"findings": found})
    elif found:
        screen.out.print(screen.findings_table(found))
    else:
        screen.show_line("no personal data found")
