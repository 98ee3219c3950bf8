"""The whole wheel as a user turns it: commands in processes of their own, a server, people over HTTP."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from millwright.scaffold import TEMPLATES

INTENTS = ("card_swallowed", "pin_forgotten_or_blocked", "statement_or_letter", "cash_or_cheque_deposit")
COLUMNS = ("message", "intent", "customer", "channel")
COMMAND = (sys.executable, "-m", "millwright.surfaces.cli")


def few_rows(name: str) -> list[dict[str, str]]:
    with (TEMPLATES / "customer-desk" / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{column: row[column] for column in COLUMNS} for row in rows if row["intent"] in INTENTS]


def verb(*arguments: str, stdin: str | None = None) -> dict:
    ended = subprocess.run(
        [*COMMAND, *arguments, "--json"], capture_output=True, text=True, input=stdin, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


@contextmanager
def serving(folder: Path) -> Iterator[httpx.Client]:
    command = [*COMMAND, "serve", "--port", "0", "--project", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://[\w.:]+", process.stdout.readline()).group()
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client
        finally:
            process.terminate()
    assert process.returncode in (0, -15)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A project with a champion, made by the commands that the README shows."""
    folder = tmp_path_factory.mktemp("wheel")
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(few_rows("tickets.csv"))
    desk = folder / "desk"
    verb("new", str(desk), "--data", str(folder / "tickets.csv"))
    verb("prepare", "--project", str(desk))
    verb("train", "--method", "head", "--project", str(desk))
    return desk


def test_a_model_of_your_own_rows_beats_the_commonest_answer(desk):
    found = verb("evaluate", "--project", str(desk))
    commonest = Counter(row["intent"] for row in few_rows("tickets.csv")).most_common(1)[0][1]
    assert found["accuracy"]["low"] > commonest / len(few_rows("tickets.csv"))
    assert Path(found["page"]).exists()


def test_measuring_on_rows_that_taught_it_says_how_many(desk):
    tickets = desk.parent / "tickets.csv"
    found = verb("evaluate", "--project", str(desk), "--data", str(tickets))
    splits = verb("prepare", "--project", str(desk))["splits"]
    known = splits["train"] + splits["validation"]
    assert found["notes"] == [
        f"{known} of {found['rows']} rows have a text that this version was trained on: they flatter it"
    ]
    assert verb("evaluate", "--project", str(desk))["notes"] == []


def test_it_answers_lines_of_stdin_in_their_order(desk):
    found = verb("predict", "--project", str(desk), stdin="the machine ate my card\n\nI forgot my pin\n")
    assert [answer["text"] for answer in found["answers"]] == ["the machine ate my card", "I forgot my pin"]
    assert [answer["labels"] for answer in found["answers"]] == [
        ["card_swallowed"],
        ["pin_forgotten_or_blocked"],
    ]


def test_what_users_say_makes_a_turn_that_is_measured_on_the_same_rows(desk):
    with serving(desk) as client:
        for row in few_rows("later.csv"):
            request = {"inputs": [row["message"]], "subject": row["customer"]}
            (answer,) = client.post("/v1/predictions", json=request).raise_for_status().json()["predictions"]
            said = {"prediction": answer["id"], "label": row["intent"]}
            client.post("/v1/feedback", json=said).raise_for_status()
    record = verb("turn", "--project", str(desk))
    assert record["number"] == 2
    assert 0 < record["new_rows"] <= len(few_rows("later.csv"))
    assert 0 <= record["p_value"] <= 1
    assert record["promoted"] == (
        record["p_value"] <= 0.05 and record["after"]["value"] > record["before"]["value"]
    )
    listed = verb("versions", "list", "--project", str(desk))["versions"]
    champion = next(item["name"] for item in listed if "champion" in item["aliases"])
    assert champion == ("v2" if record["promoted"] else "v1")
    assert (desk / "reports" / "turns.svg").exists()
    assert (desk / "reports" / "turns.html").exists()
