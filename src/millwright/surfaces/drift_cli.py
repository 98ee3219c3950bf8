"""The verb `millwright drift`."""

from pathlib import Path
from typing import Annotated

import typer

from millwright.runner.budget import work_gently
from millwright.surfaces import screen
from millwright.surfaces.options import AsJson, Gently, ProjectFolder, open_at, project_option


def drift(
    window: Annotated[int, typer.Option(help="How many users make a sample.")] = 500,
    reference: Annotated[str, typer.Option(help="Compare with the first traffic, or with data.")] = "traffic",
    history: Annotated[bool, typer.Option("--history", help="Show earlier checks; check nothing.")] = False,
    gently: Gently = False,
    project: ProjectFolder = Path("."),
    json: AsJson = False,
) -> None:
    """Tell whether what users send has changed since the champion was promoted.

    Example: millwright drift --window 300 --project desk
    """
    opened = open_at(project)
    from millwright.errors import one_of

    if gently:
        work_gently(opened.settings.run)
    one_of("reference", reference, ("traffic", "data"))
    if history:
        from millwright.drift.records import list_drifts

        found = list_drifts(opened)
    else:
        from millwright.drift.check import check_drift

        found = [check_drift(opened, window, "data" if reference == "data" else "traffic")]
    if json:
        screen.show_json({"checks": found})
        return
    for record in found:
        told = "DRIFT" if record.is_drifting else "no drift"
        screen.show_line(
            f"{told}: {record.window_size} users against {record.reference_size} ({record.reference}), "
            f"{record.version}, check {record.number} at alpha {record.alpha:.2g}"
        )
        for test in record.tests:
            mark = "differs" if test.is_drifting else "as before"
            screen.show_line(f"  {test.name}: {mark}, statistic {test.statistic:.4g}, p = {test.p_value:.2g}")
        if record.estimated_accuracy is not None:
            screen.show_line(
                f"  accuracy: {record.measured_accuracy:.1%} on held-out rows, by its confidence about "
                f"{record.estimated_accuracy.value:.1%} now"
            )
    if found and found[-1].is_drifting:
        screen.show_next(f"millwright review build{project_option(project)}")
