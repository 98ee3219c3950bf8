"""The command line in this process: help, exit codes, errors, JSON. The journey runs the heavy verbs."""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from millwright.settings import Settings
from millwright.surfaces import cli
from tests.conftest import csv_of, desk_rows
from tests.desk import make_desk, telling_rows

VERBS = [
    *("new", "prepare", "train", "evaluate", "predict", "serve", "run", "turn", "bench", "settings", "demo"),
    *("drift", "webhooks list", "webhooks ping", "webhooks send", "webhooks secret"),
    *("versions list", "versions show", "versions promote", "versions rollback", "versions sign"),
    *("backbones compare", "privacy scan", "privacy unmask", "privacy audit-membership"),
    *("audit verify", "audit anchor", "audit show", "subject consent", "subject withdraw", "keys rotate"),
    *("keys create", "keys list", "keys renew", "keys revoke", "keys backup"),
    *("subject restrict", "subject object", "subject hold", "subject expire", "subject export"),
    *("subject erase", "subject replay", "receipt verify", "receipt key"),
    *("experiment start", "experiment status", "experiment decide", "experiment approve", "experiment stop"),
    "experiment estimate",
    *("feedback import", "feedback status", "review build", "review label", "review next", "review answer"),
    *("weak report", "weak apply", "weak clear"),
    *("review undo", "review status", "review gold", "review export", "review import", "review corrections"),
]


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def wrong(capsys, *arguments: str | Path) -> str:
    """The message of a command that must exit 2, without a traceback and with nothing on stdout."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_shows_an_example_of_it_and_offers_json(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(*verb.split(), "--help") == 0
    said = capsys.readouterr().out
    assert f"Example: millwright {verb}" in said
    assert "--json" in said


def test_every_verb_is_among_those_tested():
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    for group in cli.app.registered_groups:
        for item in group.typer_instance.registered_commands:
            names.append(f"{group.typer_instance.info.name} {item.name or item.callback.__name__}")
    assert sorted(names) == sorted(VERBS)


def test_version_is_that_of_the_package(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == "0.1.0\n"


def test_new_says_what_each_column_was_taken_for(tmp_path, capsys):
    (tmp_path / "tickets.csv").write_text(csv_of(desk_rows(60), header=("message", "intent")))
    assert run("new", tmp_path / "desk", "--data", tmp_path / "tickets.csv", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["project"]) == tmp_path / "desk"
    assert any("text = 'message'" in reason for reason in said["reasons"])
    assert (tmp_path / "desk" / "millwright.toml").exists()


def test_prepare_writes_json_and_nothing_else(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)))
    assert run("prepare", "--project", project.folder, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == 60
    assert said.err == ""


def test_prepare_shows_the_figures_to_a_person(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)))
    assert run("prepare", "--project", project.folder) == 0
    assert re.search(r"^rows +60: \d+ train, \d+ validation, \d+ test", capsys.readouterr().out)


def test_settings_explains_every_key_where_no_project_is(tmp_path, capsys):
    assert run("settings", "--project", tmp_path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said) == sum(len(type(section).model_fields) for _, section in Settings())
    assert all(entry["description"] for entry in said.values())


def test_settings_shows_the_values_of_the_project(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)), max_characters=777)
    assert run("settings", "--project", project.folder) == 0
    assert "max_characters = 777" in capsys.readouterr().out


def test_a_new_project_has_no_versions(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)))
    assert run("versions", "list", "--project", project.folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"versions": []}
    assert run("versions", "list", "--project", project.folder) == 0
    assert capsys.readouterr().out == f"no version yet\nnext: millwright train --project {project.folder}\n"


def test_what_to_type_next_can_be_typed_whatever_the_folder_is_called(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text(csv_of(desk_rows(60)))
    assert run("new", tmp_path / "my desk", "--data", tmp_path / "rows.csv") == 0
    typed = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    assert run(*shlex.split(typed)[1:]) == 0


def test_an_unknown_column_is_named_with_the_nearest(tmp_path, capsys):
    (tmp_path / "tickets.csv").write_text(csv_of(desk_rows(60), header=("message", "intent")))
    said = wrong(capsys, "new", tmp_path / "desk", "--data", tmp_path / "tickets.csv", "--label", "intend")
    assert "Did you mean 'intent'?" in said
    assert not (tmp_path / "desk" / "millwright.toml").exists()


def test_an_error_is_one_line(make_project, capsys):
    project = make_project(csv_of([(text, "card") for text, _ in desk_rows(60)]))
    said = wrong(capsys, "prepare", "--project", project.folder)
    assert said.startswith("error: every row has the label 'card'")
    assert said.count("\n") == 1


def test_no_project_says_how_to_make_one(tmp_path, capsys):
    assert "millwright new" in wrong(capsys, "train", "--project", tmp_path / "nowhere")


def test_an_unknown_method_is_refused_before_anything_is_trained(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)))
    assert "train.method = 'lara'" in wrong(capsys, "train", "--method", "lara", "--project", project.folder)
    assert not project.kept.exists()


@pytest.mark.parametrize("arguments", [["fly"], ["train", "--sped", "2"], ["train", "--epochs", "many"]])
def test_wrong_usage_exits_2(arguments, capsys):
    wrong(capsys, *arguments)


def test_predict_without_a_text_or_lines_says_how_to_pass_one(make_project, capsys, monkeypatch):
    project = make_project(csv_of(desk_rows(60)))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n \n"))
    assert "lines on stdin" in wrong(capsys, "predict", "--project", project.folder)


def test_a_turn_before_there_is_a_champion_says_to_train_first(make_project, capsys):
    project = make_project(csv_of(desk_rows(60)))
    assert "millwright train" in wrong(capsys, "turn", "--project", project.folder)


def test_a_demo_does_not_replace_a_folder_of_yours(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "was not made by a demo" in wrong(capsys, "demo", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_debug_shows_where_an_error_came_from(tmp_path):
    command = [sys.executable, "-m", "millwright.surfaces.cli", "--debug", "prepare", "--project", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch, capsys, tmp_path):
    class Interrupting(io.StringIO):
        def isatty(self) -> bool:
            raise KeyboardInterrupt

    (tmp_path / "millwright.toml").write_text("")
    monkeypatch.setattr(sys, "stdin", Interrupting())
    assert run("predict", "--project", tmp_path) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to go on\n"


def test_training_a_second_version_says_that_the_first_one_still_serves(tmp_path, encoder, capsys):
    folder = make_desk(tmp_path / "desk", encoder, telling_rows(60)).folder
    for _ in range(2):
        assert run("train", "--method", "head", "--project", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"next: millwright evaluate --project {folder}" in lines
    assert "champion is still v1; v2 serves once it is promoted" in lines
    assert lines[-1] == f"next: millwright versions promote v2 --project {folder}"
