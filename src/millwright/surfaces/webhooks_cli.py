"""The verbs of `millwright webhooks`: what was sent, the secret, a message to try, sending what is due."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="webhooks", no_args_is_help=True, help="Signed messages to other systems.")


@app.command("list")
def list_(
    count: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Show messages, and whether they arrived.

    Example: millwright webhooks list --project desk
    """
    opened = open_at(project)
    from millwright.webhooks import list_messages

    found = list_messages(opened)[:count]
    if json:
        screen.show_json({"messages": found})
        return
    for one in found:
        state = "arrived" if one.delivered_at else f"waits until {one.next_at}" if one.next_at else "given up"
        why = f" ({one.error})" if one.error else ""
        screen.show_line(f"{one.created_at} {one.kind} to {one.url}: {state}, {one.attempts} attempts{why}")
    if not found:
        screen.show_line("no message yet; set webhooks.urls, then `millwright webhooks ping` makes one")


@app.command()
def ping(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Send a message to try the receivers.

    Example: millwright webhooks ping --project desk
    """
    opened = open_at(project)
    from millwright.errors import BadInput
    from millwright.webhooks import PING, announce

    if not opened.settings.webhooks.urls:
        raise BadInput("there is no receiver; set webhooks.urls in millwright.toml", field="webhooks.urls")
    with opened.database.begin() as connection:
        announce(opened, connection, PING, {"project": opened.settings.project.name})
    _send(project, json)


@app.command()
def send(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Send what is due, as `millwright run` does by itself.

    Example: millwright webhooks send --project desk
    """
    _send(project, json)


@app.command()
def secret(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Show the secret by which receivers check signatures; it is made where there is none.

    Example: millwright webhooks secret --project desk
    """
    opened = open_at(project)
    from millwright.webhooks import shown_secret

    text = shown_secret(opened)
    if json:
        screen.show_json({"secret": text})
    else:
        screen.show_line(text)


def _send(project: Path, json: bool) -> None:
    from millwright.webhooks import deliver

    made = deliver(open_at(project))
    if json:
        screen.show_json(made)
    else:
        screen.show_line(f"{made.arrived} arrived, {made.waiting} wait, {made.given_up} given up")
