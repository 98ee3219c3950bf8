"""The verbs of `millwright receipt`: verify, key."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="receipt", no_args_is_help=True, help="Check receipts of erasures.")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt.")],
    key: Annotated[str | None, typer.Option(help="The public key that must have signed it.")] = None,
    json: AsJson = False,
) -> None:
    """Check a receipt's signature; the project is not needed.

    Example: millwright receipt verify receipt.json --key "$(cat desk.pub)"
    """
    from millwright.privacy.receipts import check_receipt
    from millwright.privacy.signing import fingerprint

    receipt = check_receipt(file, key)
    signer = fingerprint(receipt["public_key"])
    if json:
        screen.show_json({"signed_by": signer, "is_trusted": key is not None, "receipt": receipt})
        return
    screen.out.print(screen.receipt_lines(receipt), markup=False, soft_wrap=True)
    trust = "the key that you named" if key else "its own key; pass --key to know whose that is"
    screen.show_line(f"whole: signed by {signer}, {trust}")


@app.command("key")
def show_key(project: ProjectFolder = Path("."), json: AsJson = False) -> None:
    """Show the public key with which the project signs receipts and anchors; give it to whom it concerns.

    Example: millwright receipt key --project desk
    """
    opened = open_at(project)
    from millwright.privacy.signing import fingerprint, public_text
    from millwright.privacy.vault import open_vault

    public = public_text(open_vault(opened).keys.signing_key)
    if json:
        screen.show_json({"public_key": public, "fingerprint": fingerprint(public)})
    else:
        screen.show_line(public)
