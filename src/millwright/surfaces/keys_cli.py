"""The verbs of `millwright keys`: rotate the master key; make, list and revoke keys of the service."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="keys", no_args_is_help=True, help="The master key, and keys for the HTTP service.")


@app.command()
def rotate(
    to: Annotated[
        str | None, typer.Option(help="Another master key, as privacy.master_key names one.")
    ] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Let a new master key wrap the keys; no data is touched, and running servers go on.

    Example: millwright keys rotate --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import record
    from millwright.privacy.vault import rotate_master_key

    count, spec = rotate_master_key(opened, to)
    record(opened, "master key rotated", details={"keys": count})
    changed = spec != opened.settings.privacy.master_key
    if json:
        screen.show_json({"keys": count, "master_key": spec})
        return
    screen.show_line(f"a new master key wraps {count} keys; older copies of the key store need the old one")
    if changed:
        screen.show_line(f"now set privacy.master_key = {spec!r} in millwright.toml")
