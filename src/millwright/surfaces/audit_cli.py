"""The verbs of `millwright audit`: verify, anchor, show."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="audit", no_args_is_help=True, help="Check the log of what was done to whom.")


@app.command()
def verify(
    anchor: Annotated[Path | None, typer.Option(help="An anchor that was kept elsewhere.")] = None,
    key: Annotated[str | None, typer.Option(help="The public key that must have signed it.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Check that no line of the audit log was changed or removed; with an anchor, nor its tail cut.

    Example: millwright audit verify --anchor anchor.json --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import audit_file, check_anchor, verify_chain
    from millwright.store.files import read_json

    if anchor is None:
        state = verify_chain(audit_file(opened))
    else:
        state = check_anchor(audit_file(opened), read_json(anchor), key)
    if json:
        screen.show_json({"whole": True, "lines": state.lines, "hash": state.hash, "anchored": bool(anchor)})
        return
    unsaid = "" if anchor else "; whether its tail was cut only an anchor can tell"
    screen.show_line(f"whole: {state.lines} lines, the last one {state.hash}{unsaid}")


@app.command("anchor")
def make(
    to: Annotated[Path | None, typer.Option(help="Write it to this file, to be kept elsewhere.")] = None,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Sign how far the log goes now; keep it on another machine.

    Example: millwright audit anchor --to anchor.json --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import make_anchor
    from millwright.privacy.vault import open_vault
    from millwright.store.files import write_json

    keys = open_vault(opened).keys
    made = make_anchor(opened, keys.project_id, keys.signing_key)
    if to is not None:
        write_json(to, made)
    if json or to is None:
        screen.show_json(made)
    else:
        screen.show_line(f"anchored {made['lines']} lines in {to}; keep it where this machine cannot write")


@app.command()
def show(
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 20,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Show the last lines of the audit log; people stand in it by pseudonym.

    Example: millwright audit show --last 5 --project desk
    """
    opened = open_at(project)
    from millwright.privacy.audit import read_audit

    lines = read_audit(opened)[-last:]
    if json:
        screen.show_json({"lines": lines})
        return
    for line in lines:
        said = ", ".join(f"{name} {value}" for name, value in line.details.items() if value is not None)
        whom = f" [{line.subject}]" if line.subject else ""
        shown = f"{line.number:>5}  {line.at}  {line.action}{whom}  {said}".rstrip()
        screen.out.print(shown, markup=False, soft_wrap=True)
    if not lines:
        screen.show_line("nothing was done yet that the log notes")
