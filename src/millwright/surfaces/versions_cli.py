"""The verbs of `millwright versions`: list, show, promote, roll back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millwright.records import JsonObject
from millwright.settings import SPANS
from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at, project_option

if TYPE_CHECKING:
    from millwright.project import Project

app = typer.Typer(name="versions", no_args_is_help=True, help="List, show, promote and roll back versions.")


@app.command("list")
def list_all(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """List the versions, and which is champion.

    Example: millwright versions list --project desk
    """
    opened = open_at(project)
    from millwright.registry.versions import list_versions

    found = list_versions(opened)
    if json:
        screen.show_json({"versions": found})
        return
    if not found:
        screen.show_line("no version yet")
        screen.show_next(f"millwright train{project_option(project)}")
        return
    has_spans = opened.settings.project.task == SPANS
    screen.out.print(screen.versions_table(found, "F1" if has_spans else "accuracy"))


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="A version such as v2, or an alias.")] = "champion",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Show where a version came from and what was measured.

    Example: millwright versions show v2 --project desk
    """
    opened = open_at(project)
    from millwright.registry.versions import resolve, version_manifest
    from millwright.serve.runtime_record import read_runtime

    manifest = version_manifest(opened, resolve(opened, version))
    if json:
        screen.show_json({**manifest, "runtime": read_runtime(opened, manifest["name"])})
    else:
        show_figures(opened, manifest)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A version such as v2.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the history.")] = "promoted by hand",
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Make a version the champion; a running server takes it up by itself.

    Example: millwright versions promote v2 --reason "asked by the desk" --project desk
    """
    opened = open_at(project)
    from millwright.serve.promotion import promote as promote_version

    with screen.progress_bars(json) as progress:
        name = promote_version(opened, version, reason, progress=progress)
    _show_champion(name, json)


@app.command()
def rollback(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Make the previous champion champion again.

    Example: millwright versions rollback --project desk
    """
    opened = open_at(project)
    from millwright.registry.versions import roll_back

    _show_champion(roll_back(opened), json)


@app.command()
def sign(
    version: Annotated[str, typer.Argument(help="A version that you trust, such as v2.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Sign a version that has no signature of this project's, so that it may serve here.

    Example: millwright versions sign v2 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import record
    from millwright.registry.signatures import VERSIONS
    from millwright.registry.signatures import sign as sign_sealed
    from millwright.registry.versions import resolve
    from millwright.store.files import verify

    name = resolve(opened, version)
    verify(opened.kept / "versions" / name)
    sign_sealed(opened, VERSIONS, name)
    record(opened, "signed", details={"version": name})
    if json:
        screen.show_json({"signed": name})
    else:
        screen.show_line(f"{name} is signed")


def _show_champion(name: str, json: bool) -> None:
    if json:
        screen.show_json({"champion": name})
    else:
        screen.show_line(f"champion is {name}")


def show_figures(project: "Project", manifest: JsonObject) -> None:
    """Show what was measured of a version, and how it runs here."""
    from millwright.registry.versions import list_versions
    from millwright.serve.runtime_record import read_runtime

    aliases = [info.aliases for info in list_versions(project) if info.name == manifest["name"]]
    screen.out.print(screen.version_table(manifest, aliases[0]))
    record = read_runtime(project, manifest["name"])
    if record is not None and record.candidates:
        screen.out.print(screen.runtime_table(record))
