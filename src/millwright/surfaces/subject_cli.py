"""The verbs of `millwright subject`: consent, objections, holds, retention, export, erasure, replay."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

if TYPE_CHECKING:
    from millwright.project import Project

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
    text_version: Annotated[str | None, typer.Option(help="Which version of those words.")] = None,
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
        f"{found.failures} failures, {found.tokens} tokens"
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
    people: Annotated[
        list[str] | None, typer.Argument(help="People, as files and requests name them.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file with more of them, one a line.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    withdraw_only: Annotated[
        bool,
        typer.Option("--withdraw-only", help="Don't train tuned versions anew: take them out of service."),
    ] = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Erase people from rows, files, features, datasets and models, and write a signed receipt of each.

    People who are named together share one training. Who is unknown or under a legal hold does not stop the
    others; then the exit code is 2.

    Example: millwright subject erase customer-17 customer-23 --dry-run --project desk
    """
    names = [*(people or ()), *(_names_in(file) if file else ())]
    if not names:
        raise typer.BadParameter("name at least one person, or pass --file with one a line")
    opened = open_at(project)
    is_one = len(names) == 1 and file is None
    if dry_run:
        _show_plans(opened, names, is_one, json)
    elif is_one:
        _erase_one(opened, names[0], withdraw_only, json)
    else:
        _erase_all(opened, names, withdraw_only, json)


def _erase_one(project: "Project", person: str, withdraw_only: bool, json: bool) -> None:
    from millwright.erase.erasure import erase as erase_person

    with screen.progress_bars(json) as progress:
        erased = erase_person(project, person, withdraw_only=withdraw_only, progress=progress)
    if json:
        screen.show_json({"path": erased.path, "receipt": erased.receipt})
        return
    screen.out.print(screen.receipt_lines(erased.receipt), markup=False, soft_wrap=True)
    screen.show_path("receipt:", erased.path)


def _erase_all(project: "Project", people: list[str], withdraw_only: bool, json: bool) -> None:
    from millwright.erase.erasure import erase_all
    from millwright.errors import BadInput

    with screen.progress_bars(json) as progress:
        done = erase_all(project, people, withdraw_only=withdraw_only, progress=progress)
    if json:
        erased = [{"subject": name, **vars(one)} for name, one in done.erased.items()]
        screen.show_json({"erased": erased, "not_erased": done.not_erased()})
    else:
        for name, one in done.erased.items():
            screen.show_path(f"{name}: erased, receipt:", one.path)
        lines = screen.versions_lines([one.receipt for one in done.erased.values()])
        lines += [f"{name}: not erased: {error}" for name, error in done.refused.items()]
        for line in lines:
            screen.out.print(line, markup=False, soft_wrap=True)
    if done.refused:
        count = len(done.refused)
        raise BadInput(f"{count} of {count + len(done.erased)} people were not erased; see why beside each")


def _names_in(file: Path) -> list[str]:
    """The lines of a file that are not blank."""
    from millwright.errors import BadInput, NotFound

    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}; pass one with a person a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read ({error}); write one person a line, in UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _show_plans(project: "Project", names: list[str], is_one: bool, json: bool) -> None:
    from millwright.erase.erasure import plan_erasures

    found = plan_erasures(project, names)
    if json:
        screen.show_json({"found": found[names[0]] if is_one else found})
        return
    for name, one in found.items():
        if not is_one:
            screen.out.print(f"{name}:", markup=False, soft_wrap=True)
        screen.out.print(screen.found_lines(one.to_json()), markup=False, soft_wrap=True)


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
