"""The whole wheel as a user turns it: the README's commands, a server, people over HTTP."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import pytest

from millwright.scaffold import TEMPLATES
from millwright.surfaces import cli
from tests.test_docs import MILLWRIGHT, block

INTENTS = ("card_swallowed", "pin_forgotten_or_blocked", "statement_or_letter", "cash_or_cheque_deposit")
COLUMNS = ("message", "intent", "customer", "channel")


def console() -> list[str]:
    """The README's four commands around the server: serve, predict, feedback, turn."""
    commands = re.findall(r"^\$ (.*?)(?=^\$ |\Z)", block("README.md", "console"), re.S | re.M)
    return [command.replace("millwright ", f"{MILLWRIGHT} ") for command in commands]


def few_rows(name: str) -> list[dict[str, str]]:
    with (TEMPLATES / "customer-desk" / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{column: row[column] for column in COLUMNS} for row in rows if row["intent"] in INTENTS]


def verb(*arguments: str) -> dict:
    """What a verb answers to programs, in this process."""
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--json"])
    assert end.value.code == 0
    return json.loads(said.getvalue())


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A project with a champion, made by the README's shell block of rows of four intents."""
    folder = tmp_path_factory.mktemp("wheel")
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(few_rows("tickets.csv"))
    script = block("README.md", "bash").replace("millwright ", f"{MILLWRIGHT} ")
    done = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "desk"


@pytest.fixture(scope="module")
def address(desk) -> Iterator[str]:
    """Where the README's server answers, on a free port."""
    command = shlex.split(console()[0].replace("8000", "0"))
    with subprocess.Popen(command, cwd=desk.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://[\w.:]+", process.stdout.readline()).group()
        finally:
            process.terminate()
    assert process.returncode in (0, -15)


def test_the_shell_block_of_the_readme_writes_the_reports(desk):
    assert list((desk / "reports").glob("data-d-*.html"))
    assert list((desk / "reports").glob("evaluation-v1.html"))


def test_a_model_of_your_own_rows_beats_the_commonest_answer(desk):
    found = verb("evaluate", "--project", str(desk))
    commonest = Counter(row["intent"] for row in few_rows("tickets.csv")).most_common(1)[0][1]
    assert found["accuracy"]["low"] > commonest / len(few_rows("tickets.csv"))
    assert found["notes"] == []
    assert Path(found["page"]).exists()


def test_measuring_on_rows_that_taught_it_says_how_many(desk):
    tickets = desk.parent / "tickets.csv"
    found = verb("evaluate", "--project", str(desk), "--data", str(tickets))
    splits = verb("prepare", "--project", str(desk))["splits"]
    known = splits["train"] + splits["validation"]
    assert found["notes"] == [
        f"{known} of {found['rows']} rows have a text that this version was trained on: they flatter it"
    ]


def test_it_answers_lines_of_stdin_in_their_order(desk, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the machine ate my card\n\nI forgot my pin\n"))
    found = verb("predict", "--project", str(desk))
    assert [answer["text"] for answer in found["answers"]] == ["the machine ate my card", "I forgot my pin"]
    assert [answer["labels"] for answer in found["answers"]] == [
        ["card_swallowed"],
        ["pin_forgotten_or_blocked"],
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the block uses curl")
def test_the_block_with_the_server_runs(desk, address):
    _, predict, feedback, turn = console()

    def say(line: str) -> dict:
        line = line.replace("localhost:8000", address.removeprefix("http://"))
        return json.loads(subprocess.run(["sh", "-ec", line], capture_output=True).stdout)

    (answer,) = say(predict)["predictions"]
    assert answer["label"] == "card_swallowed"
    assert "error" not in say(feedback.replace("ID FROM ABOVE", answer["id"]))
    ended = subprocess.run(shlex.split(turn), cwd=desk.parent, capture_output=True, text=True)
    assert ended.stderr.startswith(
        "error: users labelled 1 new rows since the last turn"
    )  # as the README says


def test_what_users_say_makes_a_turn_that_is_measured_on_the_same_rows(desk, address):
    later = few_rows("later.csv")[::4]
    with httpx.Client(base_url=address, timeout=60) as client:
        for row in later:
            request = {"inputs": [row["message"]], "subject": row["customer"]}
            (answer,) = client.post("/v1/predictions", json=request).raise_for_status().json()["predictions"]
            said = {"prediction": answer["id"], "label": row["intent"]}
            client.post("/v1/feedback", json=said).raise_for_status()
    command = [*shlex.split(console()[-1]), "--json"]
    ended = subprocess.run(command, cwd=desk.parent, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")
    record = json.loads(ended.stdout)
    assert record["number"] == 2
    assert 0 < record["new_rows"] <= len(later) + 1  # the README's label too
    assert 0 <= record["p_value"] <= 1
    assert record["promoted"] == (
        record["p_value"] <= 0.05 and record["after"]["value"] > record["before"]["value"]
    )
    listed = verb("versions", "list", "--project", str(desk))["versions"]
    champion = next(item["name"] for item in listed if "champion" in item["aliases"])
    assert champion == ("v2" if record["promoted"] else "v1")
    assert (desk / "reports" / "turns.svg").exists()
    assert (desk / "reports" / "turns.html").exists()
