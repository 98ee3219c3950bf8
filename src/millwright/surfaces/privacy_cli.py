"""The verbs of `millwright privacy`: scan, unmask, audit membership."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from millwright.errors import BadInput, NotFound
from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, Version, open_at

LEFT = {
    "erased": "its person was erased",
    "expired": "its time was over, the value was deleted",
    "unknown": "this project has no such token",
}
app = typer.Typer(
    name="privacy",
    no_args_is_help=True,
    help="See what personal data there is, put it back, see what a version tells of it.",
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


@app.command()
def unmask(
    text: Annotated[str | None, typer.Argument(help="A text with tokens.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file of such texts instead, in UTF-8.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Put the values back that tokens stand for; the audit log says who asked for whose.

    Example: millwright privacy unmask "mail <EMAIL_ADDRESS:kqzvmapwbnohdtrecuxiylsg>" --project desk
    """
    given = _one_of(text, file)
    opened = open_at(project)
    from millwright.privacy.unmask import unmask as put_back
    from millwright.privacy.vault import open_vault

    found = put_back(open_vault(opened), [given], by=f"uid {os.getuid()}")
    if json:
        screen.show_json(found)
        return
    sys.stdout.write(found.texts[0] if found.texts[0].endswith("\n") else f"{found.texts[0]}\n")
    for why, meaning in LEFT.items():
        for token in getattr(found, why):
            screen.err.print(f"{token} stays: {meaning}", markup=False, soft_wrap=True)


def _one_of(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise BadInput("pass a text or --file, one of the two")
    if file is None:
        return text or ""
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 ({error}); convert it first, as with iconv") from None
    except OSError as error:
        raise NotFound(f"{file} cannot be read ({error.strerror}); name a file of texts") from None


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
