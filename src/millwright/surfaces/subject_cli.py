"""The verbs of `millwright subject`: consent, objections, holds, retention, export, erasure, replay."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="subject", no_args_is_help=True, help="The rights of the people whose data it is.")

Person = Annotated[str, typer.Argument(help="The person, as files and requests name them.")]
Purpose = Annotated[str, typer.Option(help="What for; only `training` decides what teaches.")]
Lift = Annotated[bool, typer.Option("--lift", help="End it.")]


@app.command()
def consent(
    person: Person,
    purpose: Purpose = "training",
    basis: Annotated[str, typer.Option(help="The legal basis.")] = "consent",
    text: Annotated[Path | None, typer.Option(help="File of the words that the person saw.")] = None,
    text_version: Annotated[str | None, typer.Option(help="Which version of them.")] = None,
    channel: Annotated[str, typer.Option(help="How it was given: web, phone, paper.")] = "command line",
    separate: Annotated[bool, typer.Option("--separate", help="It was asked for on its own.")] = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Note that a person consents to a purpose.

    Example: millwright subject consent customer-17 --text terms.txt --channel web --project desk
    """
    opened = open_at(project)
    from millwright.privacy.consent import ConsentGiven, grant
    from millwright.store.database import now
    from millwright.store.files import sha256_file

    words = None if text is None else sha256_file(text)
    given = ConsentGiven(purpose, basis, channel, now(), words, text_version, separate)
    grant(opened, person, given)
    _show({"consent": given}, f"noted: consent to {purpose}", json)


@app.command()
def withdraw(
    person: Person, purpose: Purpose = "training", project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Note that a person withdraws consent; their rows enter no dataset from now on.

    Example: millwright subject withdraw customer-17 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.consent import withdraw as withdraw_consent

    count = withdraw_consent(opened, person, purpose)
    _show({"withdrawn": count, "purpose": purpose}, f"noted: no consent to {purpose}", json)


@app.command()
def restrict(
    person: Person, lift: Lift = False, project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Keep a person's rows out of every new dataset while a dispute lasts.

    Example: millwright subject restrict customer-17 --project desk
    """
    _restrict(person, "restricted", lift, project, json)


@app.command("object")
def object_to(
    person: Person, lift: Lift = False, project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Note that a person objects; their rows enter no dataset from now on.

    Example: millwright subject object customer-17 --project desk
    """
    _restrict(person, "objected", lift, project, json)


@app.command()
def hold(
    person: Person, lift: Lift = False, project: ProjectFolder = Path("."), json: AsJson = False
) -> None:
    """Put a legal hold on a person's data: neither erasure nor retention touches it.

    Example: millwright subject hold customer-17 --project desk
    """
    _restrict(person, "held", lift, project, json)


@app.command()
def expire(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Delete what people said and what was kept longer than the settings allow.

    Example: millwright subject expire --dry-run --project desk
    """
    opened = open_at(project)
    from millwright.privacy.retention import expire as expire_rows

    found = expire_rows(opened, dry_run=dry_run)
    counted = (
        f"{found.predictions} predictions, {found.opinions} opinions, {found.proposed_rows} rows, "
        f"{found.tokens} tokens"
    )
    said = f"{'would delete' if dry_run else 'deleted'} {counted}; a legal hold keeps {found.held}"
    _show({"expired": found}, said, json)


def _restrict(person: str, kind: str, lift: bool, project: Path, json: bool) -> None:
    opened = open_at(project)
    from millwright.privacy.consent import restrict as restrict_subject

    changed = restrict_subject(opened, person, kind, lift=lift)
    said = f"{kind}{' no more' if lift else ''}" if changed else "nothing changed"
    _show({"changed": changed, "kind": kind, "lifted": lift}, said, json)


def _show(tree: dict[str, object], said: str, json: bool) -> None:
    if json:
        screen.show_json(tree)
    else:
        screen.out.print(said, markup=False)


@app.command()
def export(
    person: Person,
    to: Annotated[Path, typer.Option(help="An empty folder for it.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Write all that the project holds of a person, as JSON and CSV with a manifest of hashes.

    Example: millwright subject export customer-17 --to export --project desk
    """
    opened = open_at(project)
    from millwright.erase.export import export_subject

    manifest = export_subject(opened, person, to)
    if json:
        screen.show_json(manifest)
        return
    for name, about in manifest["files"].items():
        screen.out.print(f"{name}  {about.get('rows', '')}", markup=False)
    screen.show_path("written to:", to)


@app.command()
def erase(
    person: Person,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    withdraw_only: Annotated[
        bool,
        typer.Option("--withdraw-only", help="Don't train tuned versions anew: take them out of service."),
    ] = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Erase a person from rows, files, features, datasets and models, and write a signed receipt.

    Example: millwright subject erase customer-17 --dry-run --project desk
    """
    opened = open_at(project)
    from millwright.erase.erasure import erase as erase_person
    from millwright.erase.erasure import plan_erasure

    if dry_run:
        found = plan_erasure(opened, person)
        if json:
            screen.show_json({"found": found})
        else:
            screen.out.print(screen.found_lines(found.to_json()), markup=False, soft_wrap=True)
        return
    with screen.progress_bars(json) as progress:
        erased = erase_person(opened, person, withdraw_only=withdraw_only, progress=progress)
    if json:
        screen.show_json({"path": erased.path, "receipt": erased.receipt})
        return
    screen.out.print(screen.receipt_lines(erased.receipt), markup=False, soft_wrap=True)
    screen.show_path("receipt:", erased.path)


@app.command()
def replay(
    receipt: Annotated[
        list[Path] | None, typer.Option(help="A receipt that was kept elsewhere; may be given again.")
    ] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """After a backup was restored: erase again everyone whom it brought back.

    Example: millwright subject replay --receipt receipts/4f2a.json --project desk
    """
    opened = open_at(project)
    from millwright.erase.replay import replay as replay_tombstones

    with screen.progress_bars(json) as progress:
        found = replay_tombstones(opened, receipt or (), progress=progress)
    if json:
        screen.show_json({"erased": {name: one.path for name, one in found.items()}})
        return
    screen.show_line(f"{len(found)} people had come back and were erased again")
    for one in found.values():
        screen.show_path("receipt:", one.path)
