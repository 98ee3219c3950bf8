"""The whole wheel once, on the built-in help desk: train, serve, listen, turn, promote.

The users are simulated, and the screen says so; everything else is real: the server is a process of
its own, they speak to it over HTTP, and the turns are those of `millwright turn`.
"""

import os
import random
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from millwright.data.load import read_table
from millwright.data.prepare import prepare
from millwright.errors import BadInput, MillwrightError
from millwright.loop import turn
from millwright.project import Project
from millwright.records import Interval, JsonObject, TurnRecord
from millwright.registry.versions import CHAMPION, alias
from millwright.reports.pages import write_data_report
from millwright.scaffold import new_project
from millwright.serve.process import serving
from millwright.steps import evaluate, train
from millwright.store.files import write_text
from millwright.turns import list_turns

TEMPLATE = "customer-desk"
MARKER = ".millwright-demo"
FIRST_WAVE = 0.65  # share of the later messages that come before turn two
USERS_AT_ONCE = 8
ASKED_ANSWER, CORRECT_A_MISTAKE, CONFIRM, THUMB = 0.9, 0.8, 0.25, 0.3
DEADLINE_S = 60.0

Say = Callable[[RenderableType], object]


@dataclass(frozen=True)
class Heard:
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
    say("[bold]1[/] prepare: clean, check and split the tickets of a fictional bank's help desk")
    dataset = prepare(project)
    data_page = write_data_report(project, dataset)
    say(f"  {len(dataset.rows):,} tickets of {len(dataset.labels)} intents")
    say("[bold]2[/] train: a head on the frozen backbone, calibrated, measured on held-out rows")
    first = train(project, dataset=dataset)
    measured, page = evaluate(project, version=first.name)
    say(f"  {first.name} is right on {_percent(measured.headline)} of {measured.rows:,} held-out tickets")
    records, heard = _serve_and_turn(project, say)
    seconds = time.perf_counter() - start
    summary = {
        "folder": str(folder),
        "rows": dataset.report["rows"],
        "labels": len(dataset.labels),
        "first": asdict(measured.headline),
        "turns": [asdict(record) for record in records],
        "heard": [asdict(wave) for wave in heard],
        "champion": alias(project, CHAMPION),
        "data": _shown(folder, data_page),
        "evaluation": _shown(folder, page),
        "chart": _shown(folder, project.reports / "turns.svg"),
        "seconds": round(seconds, 1),
    }
    say(Group("", turns_table(list_turns(project), [None, *heard]), ""))
    say(_closing(folder, records, summary))
    return summary


def _serve_and_turn(project: Project, say: Say) -> tuple[list[TurnRecord], list[Heard]]:
    """Serve the champion, let each wave of users speak, and turn the wheel after it."""
    records, heard = [], []
    with serving(project.folder) as address:
        say(f"[bold]3[/] serve: {address}; [italic]simulated[/] customers write to it and correct it")
        say(
            f"  Their habits are set, not found: {ASKED_ANSWER:.0%} of those who are asked answer, others\n"
            f"  correct {CORRECT_A_MISTAKE:.0%} of mistakes and confirm {CONFIRM:.0%} of right answers."
        )
        for wave, messages in enumerate(_waves(project), start=1):
            say(f"[bold]{3 + wave}[/] turn {wave + 1}: {len(messages)} messages are written")
            heard.append(_send(address, messages))
            say(f"  {heard[-1].labels} labels and {heard[-1].thumbs} thumbs were given; a challenger trains")
            records.append(turn(project))
            say(f"  {records[-1].challenger}: {_verdict(records[-1])}")
            _await_champion(address, alias(project, CHAMPION) or "")
    return records, heard


def _shown(folder: Path, page: Path) -> str:
    """A page's path as the user named the project's folder."""
    return str(folder / page.relative_to(folder.resolve()))


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


def _send(address: str, messages: list[dict[str, str]]) -> Heard:
    """Each message goes to the server; its simulated writer may say what was right."""
    with (
        httpx.Client(base_url=address, timeout=DEADLINE_S) as client,
        ThreadPoolExecutor(USERS_AT_ONCE) as users,
    ):
        said = list(users.map(lambda row: _write_and_say(client, row), messages))
    return Heard(
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


def turns_table(records: Sequence[TurnRecord], heard: Sequence[Heard | None]) -> Table:
    """A line a turn that fits 80 columns.

    Args:
        records: the turns.
        heard: what users did before each; None for the first, which nobody could speak before.

    Returns:
        The table.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("turn", "labels", "held out"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("champion", r"challenger \[95 %]", "p", ""):
        table.add_column(name, no_wrap=True)
    for record, wave in zip(records, heard, strict=True):
        table.add_row(
            str(record.number),
            "" if wave is None else f"{wave.labels:,}",
            f"{record.held_out:,}",
            "" if record.before is None else f"{record.champion} {record.before.value:.1%}",
            f"{record.challenger} {_percent(record.after)}",
            "" if record.p_value is None else f"{record.p_value:.2g}",
            "first" if record.champion is None else _verdict(record),
        )
    return table


def _percent(figure: Interval) -> str:
    return f"{figure.value:.1%} \\[{figure.low:.1%}, {figure.high:.1%}]"


def _verdict(record: TurnRecord) -> str:
    return "[green]promoted[/]" if record.promoted else f"[yellow]{record.champion} stays[/]"


def _closing(folder: Path, records: Sequence[TurnRecord], summary: JsonObject) -> RenderableType:
    """What happened in words, what to look at, and what to type next; paths and commands on one line each."""
    lines = [_in_words(record) for record in records]
    lines.append(
        f"The whole wheel took {summary['seconds']:.0f} s. "
        "Users were simulated; the server, the turns and the figures are real."
    )
    option = f"--project {shlex.quote(str(folder))}"
    look = {
        summary["chart"]: "the chart: quality per turn",
        str(Path(summary["chart"]).with_suffix(".html")): "every turn and its reason",
        summary["evaluation"]: "the first model",
        summary["data"]: "the data",
    }
    width = max(map(len, look))
    commands = [
        f'millwright predict {option} "the machine ate my card"',
        f"millwright serve {option}",
        "millwright new desk --data your.csv",
    ]
    activate = Path(sys.executable).with_name("activate")
    if shutil.which("millwright") is None and activate.exists():
        commands.insert(0, f". {os.path.relpath(activate)}")
    return Group(
        Rule("the wheel has turned"),
        *lines,
        "",
        "[bold]Look at[/]",
        *(Text(f"  {path:<{width}}  {what}", no_wrap=True) for path, what in look.items()),
        "[bold]Type next[/]",
        *(Text(f"  {command}", no_wrap=True) for command in commands),
    )


def _in_words(record: TurnRecord) -> str:
    assert record.before is not None
    figures = (
        f"{record.challenger} is right on {record.after.value:.1%} of {record.held_out:,} held-out messages, "
        f"{record.champion} on {record.before.value:.1%} of the same"
    )
    if record.promoted:
        return f"Turn {record.number} is better: {figures}."
    return f"Turn {record.number} is not shown to be better, so {record.champion} stays: {figures}."
