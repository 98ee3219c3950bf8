"""Decisions: from figures that say so, over tables that a simulation filled, to aliases and shares."""

from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from millwright.errors import BadInput, Busy, NotFound
from millwright.experiment import plans, rollout
from millwright.experiment.analysis import Analysis, ArmFigures, Effect, Unseen
from millwright.experiment.plans import Plan, champion_of, find, list_experiments, running, share_out, start
from millwright.experiment.rollout import approve, decide, list_decisions, review, stop
from millwright.experiment.status import status
from millwright.experiment.thompson import thompson_shares
from millwright.privacy.audit import read_audit
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Shadow
from millwright.registry.traffic import current_traffic
from millwright.registry.versions import CHALLENGER, alias, promote
from millwright.settings import change_settings
from millwright.webhooks import DECISION, list_messages
from tests.conftest import csv_of, desk_rows, keep, read_predictions
from tests.experiment.logs import begun, exposure, failure, hour, opinion, with_versions

PLAN = Plan("v1", ("v2",), guardrails=("errors",), steps=(0.1, 0.5), min_effect=0.02)


def effect(low: float, high: float, metric: str = "accepted", arm: str = "v2", rates=(0.5, 0.6)) -> Effect:
    return Effect(metric, arm, rates[0], rates[1], low, high, 0.05, 1.0, 400, 200)


def figures(primary: Effect, guard: Effect | None = None, share: float = 0.5, **changes: object) -> Analysis:
    arms = (ArmFigures("champion", "v1", 1 - share, 200, 200), ArmFigures("v2", "v2", share, 200, 200))
    guard = guard or effect(-0.01, 0.01, "errors")
    made = {
        "response": (effect(-0.1, 0.1, "response"),),
        "is_mismatched": False,
        "step_users": {"v2": 10},
        "step": share,
        "unseen": {"v2": Unseen(50, 200, 0)},
    }
    return Analysis(arms, (primary,), (guard,), **{**made, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (figures(effect(0.01, 0.2)), "ship", "v2 is better: accepted 50.0% to 60.0%"),
        (figures(effect(-0.2, -0.01)), "roll back", "v2 is worse"),
        (figures(effect(-0.2, 0.015)), "keep", "a gain of 2.0% or more is ruled out"),
        (figures(effect(-0.1, 0.1)), "hold", "not decided yet: v2: accepted"),
        (figures(effect(0.01, 0.2), effect(0.06, 0.2, "errors")), "roll back", "v2 harms errors"),
        (figures(effect(0.01, 0.2), effect(-0.1, 0.06, "errors")), "hold", "harm of 5.0% is not ruled out"),
        (
            figures(effect(0.01, 0.2), response=(effect(0.01, 0.2, "response"),)),
            "hold",
            "answers differs",
        ),
        (figures(effect(0.01, 0.2), is_mismatched=True), "alarm", "do not fit their shares"),
        (figures(effect(-0.1, 0.1), share=0.1), "hold", "not decided yet"),
        (figures(effect(-0.1, 0.1), share=0.1, step_users={"v2": 50}), "advance", "next is 50%"),
        (figures(effect(-0.1, 0.1), share=0.0), "advance", "v2 answered 50 users unseen, next is 10%"),
        (
            figures(effect(-0.1, 0.1), share=0.0, unseen={"v2": Unseen(49, 200, 200)}),
            "hold",
            "not decided yet",
        ),
        (
            figures(effect(-0.1, 0.1), share=0.0, unseen={"v2": Unseen(50, 200, 11)}),
            "roll back",
            "v2 failed in 11 of 200 answers that nobody saw",
        ),
    ],
)
def test_what_the_figures_say_is_done(found, kind, words):
    made = decide(PLAN, found, days=1)
    assert made.kind == kind
    assert words in made.reason


def test_a_version_that_is_not_decided_in_time_does_not_ship():
    assert decide(PLAN, figures(effect(-0.1, 0.1)), days=28).kind == "keep"
    assert decide(PLAN, figures(effect(0.01, 0.1)), days=28).kind == "ship"


@pytest.fixture
def project(make_project) -> Project:
    return with_versions(make_project(csv_of(desk_rows(30))), 3)


def simulate(
    project: Project, users: int, rates: dict[str, float], errors: float = 0.0, since: float = 0.0
) -> None:
    """Users who come at once and judge truly; `errors` is how often v2 fails them first."""
    rng, records = np.random.default_rng(0), []
    for number in range(users):
        name, at = f"u{since:g}-{number}", since + 0.001 * number
        given = exposure(project, name, at)
        assert given.arm is not None
        records.append(given)
        if given.arm == "v2" and rng.random() < errors:
            records.append(failure(project, f"f{name}", at, given.arm, user=name))
        label = "card" if rng.random() < rates[given.arm] else "pin"
        records.append(opinion(name, at + 0.1, label=label))
    keep(project, *records)


def answer_unseen(project: Project, version: str, count: int, failing: int = 0) -> None:
    """Let a version answer the first requests unseen, or fail in some of them."""
    vault = open_vault(project)
    given = [one.id for one in read_predictions(vault)][:count]
    answered = ("card", 0.9, 0.1, None)
    keep(
        project,
        *(
            Shadow(
                f"{version}-{name}",
                name,
                version,
                *((None, None, None, "E") if at < failing else answered),
                hour(0),
            )
            for at, name in enumerate(given)
        ),
    )


def test_of_two_that_answer_unseen_the_one_that_fails_meets_nobody(project):
    begun(project, challengers=("v2", "v3"), steps=(0.0, 0.4), step_units=20)
    simulate(project, 30, {"champion": 0.5})
    answer_unseen(project, "v2", 30, failing=20)
    answer_unseen(project, "v3", 30, failing=1)
    made = review(project, hour(0.1))
    assert made is not None
    assert (made.kind, made.figures["shares"]) == ("advance", {"v2": 0.0, "v3": 0.2})
    assert "v2 failed in 20 of 30 answers that nobody saw" in made.reason


def test_a_better_challenger_is_shipped_with_its_reason_and_the_experiment_ends(project):
    begun(project, margin=0.3)
    simulate(project, 250, {"champion": 0.4, "v2": 0.85})
    made = review(project, hour(10))
    assert made is not None
    assert (made.kind, made.is_applied) == ("ship", True)
    assert champion_of(project) == "v2"
    assert current_traffic(project) is None
    assert find(project, "x").state == "shipped"
    primary = made.figures["primary"][0]
    assert primary["low"] > 0
    assert f"{primary['challenger']:.1%}" in made.reason
    assert review(project) is None


def test_a_worse_challenger_is_rolled_back(project):
    begun(project)
    simulate(project, 200, {"champion": 0.85, "v2": 0.4})
    made = review(project, hour(10))
    assert made is not None
    assert made.kind == "roll back"
    assert (champion_of(project), find(project, "x").state) == ("v1", "rolled back")


def test_a_challenger_that_fails_is_rolled_back_though_its_answers_are_better(project):
    begun(project)
    simulate(project, 300, {"champion": 0.4, "v2": 0.9}, 0.5)
    made = review(project, hour(10))
    assert made is not None
    assert made.kind == "roll back"
    assert "v2 harms errors 0.0% to" in made.reason


def test_a_challenger_that_fails_is_rolled_back_before_any_window_closes(project):
    begun(project, window_hours=24.0)
    simulate(project, 300, {"champion": 0.4, "v2": 0.9}, 0.5)
    made = review(project, hour(0.31))
    assert made is not None
    assert made.kind == "roll back"
    assert "v2 harms errors 0.0% to" in made.reason
    assert sum(arm["closed"] for arm in made.figures["arms"]) == 0


def test_a_step_waits_until_its_users_could_tell_of_harm(project):
    begun(project, steps=(0.2, 0.5), step_units=20)
    simulate(project, 300, {"champion": 0.5, "v2": 0.5})
    early, late = review(project, hour(0.9)), review(project, hour(1.31))
    assert early is not None
    assert late is not None
    assert (early.kind, late.kind) == ("hold", "advance")


def test_shipping_waits_for_approval_where_the_plan_says_so(project):
    begun(project, margin=0.3, is_automatic=False)
    simulate(project, 250, {"champion": 0.4, "v2": 0.85})
    for _ in range(2):
        made = review(project, hour(10))
        assert made is not None
        assert (made.kind, made.is_applied) == ("ship", False)
    assert champion_of(project) == "v1"
    assert len(list_decisions(project, "x")) == 1
    assert approve(project).is_applied
    assert champion_of(project) == "v2"
    assert [one.is_applied for one in list_decisions(project, "x")] == [True]
    noted = [line.action for line in read_audit(project) if line.action.startswith("experiment")]
    assert noted == ["experiment decision proposed", "experiment decided"]
    with pytest.raises(BadInput, match="no decision waits"):
        approve(project)


def test_a_person_who_approves_waits_for_the_server_that_decides(project):
    begun(project, margin=0.3, is_automatic=False)
    simulate(project, 250, {"champion": 0.4, "v2": 0.85})
    review(project, hour(10))
    person = Thread(target=approve, args=(Project(project.folder, project.settings),))
    with project.lock("experiment"):  # as a review holds it
        person.start()
        person.join(0.2)
        assert person.is_alive()
        assert champion_of(project) == "v1"
    person.join()
    assert champion_of(project) == "v2"


def test_decisions_are_told_to_webhooks_and_holds_are_not(project):
    settings = change_settings(project.settings, "webhooks", urls=["http://127.0.0.1:1"])
    telling = Project(project.folder, settings)
    begun(telling, margin=0.3, is_automatic=False)
    review(telling, hour(0))
    assert list_messages(telling) == []
    simulate(telling, 250, {"champion": 0.4, "v2": 0.85})
    review(telling, hour(10))
    review(telling, hour(10))  # proposed again
    approve(telling)
    assert [one.kind for one in list_messages(telling)] == [DECISION, DECISION]


def test_what_was_proposed_is_not_carried_out_over_a_promotion_by_hand(project):
    begun(project, margin=0.3, is_automatic=False)
    simulate(project, 250, {"champion": 0.4, "v2": 0.85})
    review(project, hour(10))
    promote(project, "v3", "by hand")
    with pytest.raises(
        BadInput, match="v3 became champion after this was proposed; `millwright experiment decide`"
    ):
        approve(project)
    assert champion_of(project) == "v3"


def test_a_decision_and_what_it_changes_come_together_or_not_at_all(project, monkeypatch):
    begun(project)
    simulate(project, 300, {"champion": 0.85, "v2": 0.4})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rollout, "announce", killed)
        with pytest.raises(KeyboardInterrupt):
            review(project, hour(10))
    assert running(project) is not None
    assert current_traffic(project) is not None
    made = review(project, hour(10))
    assert made is not None
    assert made.kind == "roll back"
    assert current_traffic(project) is None


def test_steps_lead_from_shadow_to_half_of_the_users_who_keep_their_version(project):
    begun(project, steps=(0.0, 0.2, 0.5), step_units=20)
    first = current_traffic(project)
    assert first is not None
    assert first.shadows == ("v2",)
    simulate(project, 20, {"champion": 0.5, "v2": 0.5})
    waiting = review(project, hour(0.1))
    answer_unseen(project, "v2", 20)
    made = review(project, hour(0.1))
    assert waiting is not None
    assert made is not None
    assert (waiting.kind, made.kind) == ("hold", "advance")
    second = current_traffic(project)
    assert second is not None
    assert (second.arms[1].share, second.shadows, second.salt) == (0.2, (), first.salt)
    assert [one.kind for one in list_decisions(project, "x")] == ["hold", "advance"]


def test_one_of_two_challengers_is_rolled_back_and_the_other_goes_on(project):
    begun(project, challengers=("v2", "v3"), steps=(0.6,))
    simulate(project, 300, {"champion": 0.6, "v2": 0.1, "v3": 0.6})
    made = review(project, hour(10))
    assert made is not None
    assert (made.kind, made.figures["version"]) == ("roll back", "v2")
    current = current_traffic(project)
    assert current is not None
    assert [arm.share for arm in current.arms] == pytest.approx([0.7, 0.0, 0.3])
    assert running(project) is not None


def test_holds_that_follow_one_another_are_one_line(project):
    begun(project)
    for at in (1, 2, 3):
        made = review(project, hour(at))
        assert made is not None
        assert made.kind == "hold"
    assert len(list_decisions(project, "x")) == 1


def test_a_promotion_by_hand_ends_the_experiment(project):
    begun(project)
    promote(project, "v3", "by hand")
    made = review(project)
    assert made is not None
    assert (made.kind, find(project, "x").state) == ("stop", "stopped")
    assert current_traffic(project) is None


def test_stopping_gives_everybody_the_champion(project):
    begun(project)
    assert stop(project, "closed").reason == "closed"
    assert current_traffic(project) is None
    with pytest.raises(BadInput, match="'x' does not run, it was stopped; `millwright experiment status`"):
        stop(project, "again")


def test_a_second_experiment_waits_for_the_first(project):
    begun(project)
    with pytest.raises(Busy, match="'x' runs"):
        begun(project)


def test_of_two_experiments_that_start_at_once_one_runs(project, monkeypatch):
    begin = plans.measure

    def meanwhile(project: Project, version: str) -> None:
        monkeypatch.undo()
        begin(project, version)
        begun(project)

    monkeypatch.setattr(plans, "measure", meanwhile)
    with pytest.raises(Busy, match="'x' runs"):
        start(project, replace(PLAN, challengers=("v3",)), "y")
    assert [one.name for one in list_experiments(project)] == ["x"]
    assert current_traffic(project).experiment == "x"
    assert alias(project, CHALLENGER) == "v2"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"challengers": ("v1",)}, BadInput, "other than the champion v1, got v1"),
        ({"challengers": ()}, BadInput, "got none; name the versions"),
        ({"challengers": ("v9",)}, NotFound, "no version named 'v9'"),
        ({"champion": "v3"}, BadInput, "v3 is not champion now, v1 is"),
        ({"metric": "acepted"}, NotFound, "Did you mean 'accepted'"),
        ({"metric": "errors"}, BadInput, "must count what is good, got 'errors'"),
        ({"guardrails": ("accepted",)}, BadInput, "counts what is bad, got 'accepted'"),
        ({"steps": (0.5, 0.1)}, BadInput, "rising shares"),
        ({"steps": (0.1, 0.99)}, BadInput, "at 0.98 at most, got"),
        ({"steps": (-0.1, 0.5)}, BadInput, "0 at least"),
        ({"steps": (0.0,)}, BadInput, "end over 0"),
        ({"steps": ()}, BadInput, "as in 0.01 0.1 0.5"),
        ({"window_hours": 0.0}, BadInput, "window_hours must be over 0, got 0.0"),
        ({"min_effect": 5.0}, BadInput, "min_effect must be at least 0 and below 1, got 5.0"),
        ({"alpha": 0.0}, BadInput, "alpha must be between 0 and 1, got 0.0"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused_before_anything_changes(project, changes, error, message):
    with pytest.raises(error, match=message):
        begun(project, **changes)
    assert running(project) is None
    assert current_traffic(project) is None
    assert alias(project, CHALLENGER) is None


def test_the_largest_step_that_is_taken_can_be_shared_out(project):
    begun(project, challengers=("v2", "v3"), steps=(0.98,))
    assert current_traffic(project).arms[0].share == pytest.approx(0.02)


def test_the_status_has_figures_decisions_and_what_each_version_would_bring_alone(project):
    begun(project)
    simulate(project, 300, {"champion": 0.5, "v2": 0.6})
    found = status(project, find(project, None), hour(10))
    assert found["is_running"]
    assert sum(arm["closed"] for arm in found["figures"]["arms"]) == 300
    champion, challenger = found["if_everybody_got"]
    assert champion["accepted"] == pytest.approx(0.5, abs=4 * champion["error"])
    assert challenger["accepted"] == pytest.approx(0.6, abs=4 * challenger["error"])
    early = status(project, find(project, None), hour(0.05))["if_everybody_got"]
    assert "at least 100 are needed" in early[0]["refused"]


def test_the_status_says_how_long_a_shadow_and_the_champion_took_where_nothing_came_from_memory(project):
    begun(project, steps=(0.0, 0.5))
    for name, seconds, unseen_seconds in (("p", 0.4, None), ("q", None, 0.2), ("r", None, None)):
        shadow = Shadow(f"s-{name}", name, "v2", "card", 0.9, unseen_seconds, None, hour(0))
        keep(project, exposure(project, name, 0, seconds=seconds), shadow)
    (found,) = status(project, find(project, None), hour(1))["shadows"]
    assert (found["answers"], found["agreement"]) == (3, 1.0)
    assert (found["median_seconds"], found["champion_median_seconds"]) == (0.2, 0.4)


def test_a_step_too_small_to_be_weighed_refuses_no_value_of_later_ones(project):
    begun(project, steps=(0.01, 0.5))
    keep(project, exposure(project, "early", 0, arm="v2"), opinion("early", 0.1, label="pin"))
    experiment, current = find(project, None), current_traffic(project)
    early = status(project, experiment, hour(10))["if_everybody_got"]
    assert ["worth 0 decisions" in one["refused"] for one in early] == [True, True]
    with project.database.begin() as connection:
        share_out(connection, experiment.plan, "x", current.salt, {"v2": 0.5})
    simulate(project, 300, {"champion": 0.5, "v2": 0.6})
    champion, challenger = status(project, experiment, hour(10))["if_everybody_got"]
    assert champion["accepted"] == pytest.approx(0.5, abs=4 * champion["error"])
    assert challenger["accepted"] == pytest.approx(0.6, abs=4 * challenger["error"])


def test_shares_that_thompson_lowered_are_not_raised_by_steps_that_were_taken():
    plan = replace(PLAN, allocation="thompson")
    found = figures(effect(-0.1, 0.1, rates=(0.5, 0.5)), share=0.05, step=0.5, step_users={"v2": 50})
    made = decide(plan, found, days=1)
    assert (made.kind, made.shares) == ("shift", {"v2": pytest.approx(0.5, abs=0.05)})


def test_one_of_two_challengers_goes_through_its_steps_alone_after_the_other_was_rolled_back(project):
    begun(project, challengers=("v2", "v3"), steps=(0.4, 0.6), step_units=20)
    simulate(project, 400, {"champion": 0.6, "v2": 0.1, "v3": 0.6})
    first, second = review(project, hour(10)), review(project, hour(10))
    assert first is not None
    assert second is not None
    assert (first.kind, first.figures["version"], second.kind) == ("roll back", "v2", "hold")
    simulate(project, 300, {"champion": 0.6, "v3": 0.6}, since=20.0)
    last = review(project, hour(30))
    assert last is not None
    assert (last.kind, last.figures["shares"]) == ("advance", {"v2": 0.0, "v3": 0.3})


def test_thompson_gives_the_better_more_and_nobody_everything():
    better = Effect("accepted", "v2", 0.5, 0.7, 0.0, 0.4, 0.05, 1.0, 400, 200)
    even = Effect("accepted", "v2", 0.5, 0.5, -0.2, 0.2, 0.05, 1.0, 400, 200)
    assert thompson_shares([better], ["v2"], 1) == {"v2": 0.95}
    assert thompson_shares([even], ["v2"], 1)["v2"] == pytest.approx(0.5, abs=0.02)
