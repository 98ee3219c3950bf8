"""The verbs of `millwright experiment`, in this process."""

import json

import pytest
from sqlalchemy import insert

from millwright.project import Project
from millwright.registry.traffic import current_traffic
from millwright.store.database import now
from millwright.store.tables import decisions
from tests.conftest import csv_of, desk_rows
from tests.experiment.logs import exposed, said, with_versions
from tests.surfaces.test_cli import run, wrong


@pytest.fixture
def project(make_project) -> Project:
    return with_versions(make_project(csv_of(desk_rows(30))))


def test_an_experiment_from_start_to_stop(project, capsys):
    at = ("--project", project.folder)
    assert run("experiment", "start", "v2", "--step", "0.2", "--name", "spring", *at) == 0
    assert capsys.readouterr().out.startswith("spring: v2 gets 20% of users, v1 the rest\nnext: millwright")
    current = current_traffic(project)
    assert current is not None
    assert current.arms[1].share == 0.2
    exposed(project, "p", 0)
    said(project, "p", 0.1, label="card")
    assert run("experiment", "status", *at) == 0
    shown = capsys.readouterr().out
    assert "spring: running" in shown
    assert "v2 (v2): 20% of users" in shown
    assert "v2 accepted: nothing known yet, effect in [-100.0%, +100.0%] at 95.0%, 0 users" in shown
    assert run("experiment", "decide", *at) == 0
    assert capsys.readouterr().out.startswith("hold: not decided yet")
    assert run("experiment", "stop", "--reason", "enough", "--json", *at) == 0
    assert json.loads(capsys.readouterr().out)["decision"]["reason"] == "enough"
    assert run("experiment", "status", "--json", *at) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], [one["kind"] for one in told["decisions"]]) == ("stopped", ["hold", "stop"])
    assert run("experiment", "decide", *at) == 0
    assert capsys.readouterr().out == "no experiment runs; the last one, spring, has ended\n"


def test_the_status_tells_that_a_decision_waits_and_how_to_approve_it(project, capsys):
    def proposed(kind: str) -> None:
        row = {"experiment": "spring", "kind": kind, "reason": "better", "decided_at": now(), "figures": {}}
        with project.database.begin() as connection:
            connection.execute(insert(decisions).values(**row, is_applied=kind == "hold"))

    at = ("--project", project.folder)
    assert run("experiment", "start", "v2", "--name", "spring", *at) == 0
    proposed("ship")
    capsys.readouterr()
    assert run("experiment", "status", *at) == 0
    shown = capsys.readouterr().out
    assert "proposed ship: better" in shown
    assert "next: millwright experiment approve" in shown
    proposed("hold")  # what was proposed before waits no more
    assert run("experiment", "status", *at) == 0
    assert "approve" not in capsys.readouterr().out


def test_plans_are_made_of_settings_and_flags(project, capsys):
    more = ("--metric", "resolved", "--guardrail", "errors", "--heard", "asked", "--thompson", "--json")
    more += ("--min-effect", "0.03")
    assert run("experiment", "start", "v2", *more, "--project", project.folder) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["metric"], plan["guardrails"], plan["heard"]) == ("resolved", ["errors"], "asked")
    assert (plan["min_effect"], plan["max_days"]) == (0.03, 28.0)
    assert (plan["allocation"], plan["window_hours"], plan["steps"]) == ("thompson", 24.0, [0.01, 0.1, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start", "v7"), "no version named 'v7'"),
        (("start", "v2", "--metric", "resolvd"), "Did you mean 'resolved'?"),
        (("start", "v2", "--heard", "some"), "no group named 'some'; there are 'everyone', 'asked'"),
        (("start", "v1"), "other than the champion v1"),
        (("status",), "there was no experiment yet"),
        (("approve",), "no decision waits for approval"),
        (("estimate", "v7"), "no version named 'v7'"),
        (("estimate", "v2"), "no request that v2 did not learn from was judged yet, as of accepted"),
    ],
)
def test_wrong_input_says_what_to_do(project, capsys, arguments, message):
    assert message in wrong(capsys, "experiment", *arguments, "--project", project.folder)
