"""The verbs of `millwright privacy`: scan, audit membership."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, Version, open_at

app = typer.Typer(
    name="privacy",
    no_args_is_help=True,
    help="See what personal data there is, and what a version tells of it.",
)


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


@app.command("audit-membership")
def audit_membership(
    version: Version = "champion",
    shadows: Annotated[int, typer.Option(help="Shadow heads; more find more.")] = 32,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Measure how well one who sees a version's answers can tell whose rows taught it.

    Example: millwright privacy audit-membership --version v2 --project desk
    """
    opened = open_at(project)
    from millwright.membership import audit_membership as audit

    with screen.progress_bars(json) as progress:
        found, path = audit(opened, version=version, shadows=shadows, progress=progress)
    if json:
        screen.show_json({"path": path, **found.to_json()})
        return
    screen.out.print(screen.membership_table(found.to_json()))
    for note in found.notes:
        screen.show_line(note)
    screen.show_path("record:", path)
    screen.show_path("card:", path.with_name(f"card-{found.version}.md"))
