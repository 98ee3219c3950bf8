"""The verbs of `millwright keys`: the master key, copies of the key store, and keys of the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

if TYPE_CHECKING:
    from millwright.privacy.access import ApiKey

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


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, on another disk than the data.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Write a whole copy of the key store, while servers go on; the master key is not in it.

    Example: millwright keys backup /mnt/keys/desk-monday.db --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import record
    from millwright.privacy.vault import open_vault

    count = open_vault(opened).keys.back_up(file)
    record(opened, "key store backed up", details={"keys": count})
    if json:
        screen.show_json({"file": file, "keys": count})
        return
    screen.show_path(f"{count} data keys, wrapped:", file)
    screen.show_line("keep it apart from copies of the data: both together bring erased people back")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For whom the key is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="predict, feedback, review, admin or unmask; may be given again.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="How long it lasts.")] = None,
    rate: Annotated[int | None, typer.Option(help="The most requests a minute.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Make a key for the HTTP service and show it this once; by default it may predict and give feedback.

    Example: millwright keys create website --scope predict --days 90 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.access import create_key

    scopes = scope or ["predict", "feedback"]
    _show_once(*create_key(opened, name, scopes, days=days, requests_per_minute=rate), json)


@app.command()
def renew(
    key: Annotated[str, typer.Argument(help="The id of the key to replace.")],
    overlap: Annotated[int, typer.Option(min=0, help="Hours for which the old one still opens.")] = 24,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Replace a key by a new one with the same name, scopes and rate.

    Example: millwright keys renew 4f2a90c1d3e5 --overlap 48 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.access import renew_key

    _show_once(*renew_key(opened, key, overlap_hours=overlap), json)


def _show_once(key: "ApiKey", token: str, json: bool) -> None:
    if json:
        screen.show_json({"key": key, "token": token})
        return
    screen.out.print(token, markup=False, soft_wrap=True)
    screen.show_line(f"keep it: it is not shown again; send it as Authorization: Bearer KEY (id {key.id})")


@app.command("list")
def list_all(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """List the keys of the HTTP service.

    Example: millwright keys list --project desk
    """
    opened = open_at(project)
    from millwright.privacy.access import list_keys

    found = list_keys(opened)
    if json:
        screen.show_json({"keys": found})
        return
    for key in found:
        state = f"revoked {key.revoked_at}" if key.revoked_at else f"ends {key.expires_at or 'never'}"
        line = f"{key.id}  {key.name}  {', '.join(key.scopes)}  {state}  used {key.last_used_at or 'never'}"
        screen.out.print(line, markup=False, soft_wrap=True)
    if not found:
        screen.show_line("no key yet: the service answers anybody on this machine")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Let a key open nothing any more.

    Example: millwright keys revoke 4f2a90c1d3e5 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.access import revoke_key

    revoke_key(opened, key)
    if json:
        screen.show_json({"revoked": key})
    else:
        screen.show_line(f"{key} is revoked")
