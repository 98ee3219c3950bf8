"""The verbs of `millwright backbones`: compare."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, ProjectFolder, open_at

app = typer.Typer(name="backbones", no_args_is_help=True, help="Compare pretrained networks on your rows.")


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="minilm, ids on the Hugging Face Hub, or folders.")],
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Measure pretrained networks on your own rows: accuracy of a frozen head, speed, size.

    Example: millwright backbones compare minilm ./my-encoder --project desk
    """
    opened = open_at(project)
    from millwright.data.prepare import prepare as prepare_data
    from millwright.train.choose import compare_backbones

    # An erasure holds the lock: what it takes away must not be cached again.
    with opened.lock("train"), screen.progress_bars(json) as progress:
        dataset = prepare_data(opened, progress=progress)
        scores, advice = compare_backbones(
            dataset, names, opened.settings, kept=opened.kept, progress=progress
        )
    if json:
        screen.show_json({"scores": scores, "recommendation": advice})
        return
    screen.out.print(screen.backbones_table(scores))
    screen.out.print(advice, markup=False)
