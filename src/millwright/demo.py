"""The whole wheel once, on the built-in help desk: train, serve, listen, turn, promote.

The users are simulated, and the screen says so; everything else is real: the server is a process of
its own, they speak to it over HTTP, and the turns are those of `millwright turn`.
"""

import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table

from millwright.data.load import read_table
from millwright.data.prepare import prepare
from millwright.errors import BadInput, MillwrightError
from millwright.loop import turn
from millwright.project import Project
from millwright.records import JsonObject, TurnRecord
from millwright.registry.versions import CHAMPION, alias
from millwright.reports.pages import write_data_report
from millwright.scaffold import new_project
from millwright.serve.process import serving
from millwright.steps import evaluate, train
from millwright.store.files import write_text

TEMPLATE = "customer-desk"
MARKER = ".millwright-demo"
FIRST_WAVE = 0.7  # share of the later messages that come before turn two
USERS_AT_ONCE = 8
ASKED_ANSWER, CORRECT_A_MISTAKE, CONFIRM, THUMB = 0.9, 0.8, 0.25, 0.3
DEADLINE_S = 60.0

Say = Callable[[RenderableType], object]


@dataclass(frozen=True)
class _Heard:
    """What the simulated users of one wave did."""

    messages: int
    labels: int
    thumbs: int


def run_demo(folder: Path, say: Say) -> JsonObject:
    """Turn the wheel of the built-in project and show what happened.

    Args:
        folder: where its project is made; one that an earlier demo made is replaced.
        say: prints a line or a Rich renderable.

    Returns:
        What happened, as plain values.

    Raises:
        BadInput: something that is not a demo's stands in `folder`.
    """
    start = time.perf_counter()
    _clear(folder)
    project, _ = new_project(folder, template=TEMPLATE)
    write_text(folder / MARKER, "Made by `millwright demo`, which may replace this folder.\n")
    say("[bold]1[/] prepare: cleaning, checking and splitting 1 file of a fictional bank's help desk")
    dataset = prepare(project)
    write_data_report(project, dataset)
    say("[bold]2[/] train: a head on the frozen backbone, calibrated, measured on held-out customers")
    first = train(project, dataset=dataset)
    measured, page = evaluate(project, version=first.name)
    records, heard = [], []
    with serving(project.folder) as address:
        say(f"[bold]3[/] serve: {address} answers; [italic]simulated[/] customers write to it and correct it")
        say(
            f"  their habits are set, not found: {ASKED_ANSWER:.0%} of those who are asked answer, others "
            f"correct {CORRECT_A_MISTAKE:.0%} of mistakes and confirm {CONFIRM:.0%} of right answers"
        )
        for wave, messages in enumerate(_waves(project), start=1):
            heard.append(_send(address, messages))
            say(
                f"[bold]{3 + wave}[/] turn {wave + 1}: "
                f"{heard[-1].messages} messages, {heard[-1].labels} labels given"
            )
            records.append(turn(project))
            _await_champion(address, alias(project, CHAMPION) or "")
    seconds = time.perf_counter() - start
    summary = {
        "folder": str(folder),
        "rows": dataset.report["rows"],
        "labels": len(dataset.labels),
        "first": asdict(measured.accuracy),
        "turns": [asdict(record) for record in records],
        "heard": [asdict(wave) for wave in heard],
        "champion": alias(project, CHAMPION),
        "evaluation": str(page),
        "chart": str(project.reports / "turns.svg"),
        "seconds": round(seconds, 1),
    }
    say(_table(summary, records, heard))
    say(_closing(folder, records, seconds))
    return summary


def _clear(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / MARKER).exists():
        raise BadInput(
            f"{folder} is there and was not made by a demo; name another folder: millwright demo FOLDER"
        )
    shutil.rmtree(folder)


def _waves(project: Project) -> list[list[dict[str, str]]]:
    """The later messages, in the order in which they came, in two waves."""
    rows = read_table(project.folder / "later.csv").frame.to_dicts()
    cut = round(FIRST_WAVE * len(rows))
    return [rows[:cut], rows[cut:]]


def _send(address: str, messages: list[dict[str, str]]) -> _Heard:
    """Each message goes to the server; its simulated writer may say what was right."""
    with (
        httpx.Client(base_url=address, timeout=DEADLINE_S) as client,
        ThreadPoolExecutor(USERS_AT_ONCE) as users,
    ):
        said = list(users.map(lambda row: _write_and_say(client, row), messages))
    return _Heard(
        len(said), sum("label" in opinion for opinion in said), sum("rating" in opinion for opinion in said)
    )


def _write_and_say(client: httpx.Client, row: dict[str, str]) -> JsonObject:
    request = {"inputs": [row["message"]], "subject": row["customer"]}
    (answer,) = client.post("/v1/predictions", json=request).raise_for_status().json()["predictions"]
    is_right = answer["label"] == row["intent"]
    said = _opinion(answer, row["intent"], is_right, random.Random(row["ticket"]))
    if said:
        client.post("/v1/feedback", json={"prediction": answer["id"], **said}).raise_for_status()
    return said


def _opinion(answer: JsonObject, intent: str, is_right: bool, chance: random.Random) -> JsonObject:
    """What a simulated user says: those who are asked nearly always answer, others mostly complain."""
    share = ASKED_ANSWER if answer["ask"] else CONFIRM if is_right else CORRECT_A_MISTAKE
    if chance.random() < share:
        return {"label": intent}
    if chance.random() < THUMB:
        return {"rating": 5 if is_right else 1}
    return {}


def _await_champion(address: str, version: str) -> None:
    """Wait until the running server has swapped the champion in; it asks, and does not sleep."""
    give_up = time.monotonic() + DEADLINE_S
    with httpx.Client(base_url=address, timeout=DEADLINE_S) as client:
        while time.monotonic() < give_up:
            models = client.get("/v1/models").raise_for_status().json()["models"]
            if any(model["name"] == version and CHAMPION in model["aliases"] for model in models):
                return
    raise MillwrightError(f"the server did not take up {version} within {DEADLINE_S:.0f} s; see its output")


def _table(summary: JsonObject, records: list[TurnRecord], heard: list[_Heard]) -> Table:
    table = Table(title=f"{summary['rows']:,} tickets, {summary['labels']} intents", title_style="bold")
    for name in ("turn", "users said", "version before", "challenger", "same held-out rows", "p", "decision"):
        table.add_column(name)
    first = summary["first"]
    table.add_row(
        "1",
        "",
        "",
        f"v1 {first['value']:.1%} [{first['low']:.1%}, {first['high']:.1%}]",
        "",
        "",
        "first champion",
    )
    for record, wave in zip(records, heard, strict=True):
        assert record.before is not None
        table.add_row(
            str(record.number),
            f"{wave.labels} labels, {wave.thumbs} thumbs",
            f"{record.champion} {record.before.value:.1%}",
            f"{record.challenger} {record.after.value:.1%} [{record.after.low:.1%}, {record.after.high:.1%}]",
            str(record.held_out),
            f"{record.p_value:.2g}",
            "[green]promoted[/]" if record.promoted else "kept the champion",
        )
    return table


def _closing(folder: Path, records: list[TurnRecord], seconds: float) -> Panel:
    second = records[0]
    verdict = (
        f"Turn two is better: {second.reason}."
        if second.promoted
        else f"Turn two was not shown to be better: {second.reason}."
    )
    lines = [
        verdict,
        f"The whole wheel took {seconds:.0f} s. "
        "Users were simulated; the server, the turns and the figures are real.",
        "",
        "Look at:",
        f"  {folder}/reports/turns.html            quality per turn",
        f"  {folder}/reports/evaluation-v1.html    the first model, by intent and channel",
        "Type next:",
        f'  millwright predict --project {folder} "my card got eaten by the machine"',
        f"  millwright serve --project {folder}",
        "  millwright new desk --data your.csv",
        "(in this checkout, `. .venv/bin/activate` first)",
    ]
    return Panel("\n".join(lines), title="the wheel has turned", expand=False)
