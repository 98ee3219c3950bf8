"""The options that many verbs share, and what each verb does with them first."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from millwright.project import Project

ProjectFolder = Annotated[Path, typer.Option("--project", help="Folder of the project, or one below it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
Gently = Annotated[
    bool, typer.Option("--gently", help="Work when nothing else wants the cores, within run.memory_gib.")
]
MaxMembership = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Audit each challenger; at most this share of its rows may be found at 1 % false."
    ),
]
Version = Annotated[str, typer.Option("--version", help="A version such as v2, or an alias.")]


def project_option(folder: Path) -> str:
    """What to add to a command that is to work on `folder` too."""
    return "" if folder == Path(".") else f" --project {shlex.quote(str(folder))}"


def open_at(folder: Path) -> "Project":
    """The project in `folder` or above it."""
    from millwright.project import open_project

    return open_project(folder)
