"""The runner over a real project: turns when due, then users, one leader, nothing lost by a stop."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sqlalchemy import delete, insert

from millwright.drift.records import DriftRecord, DriftTest
from millwright.experiment.plans import running
from millwright.experiment.rollout import stop
from millwright.feedback import count_waiting, propose_rows
from millwright.loop import turn
from millwright.project import Project, open_project
from millwright.records import Prediction
from millwright.registry.versions import CHAMPION, alias, promote, retire
from millwright.runner.due import awaits_users
from millwright.runner.lead import Leading, lead, meet_users, run_verb
from millwright.serve.engine import Engine, Limits
from millwright.settings import change_settings
from millwright.steps import train
from millwright.store.tables import aliases, drifts
from millwright.surfaces.metrics import Metrics
from millwright.turns import list_turns
from millwright.webhooks import PING, announce
from tests.conftest import keep
from tests.desk import copy_desk, make_desk, opine, telling_rows
from tests.test_webhooks import receiving

LONG_S = 60
LATER = "2099-01-01T00:00:00.000+00:00"


@pytest.fixture(scope="module")
def labelled_folder(tmp_path_factory, encoder) -> Path:
    """A desk with a champion and thirty labels by users. Copy it, don't touch it."""
    folder = tmp_path_factory.mktemp("labelled") / "desk"
    made = make_desk(folder, encoder, telling_rows(40), data={"test_share": 0.3})
    train(made)
    opine(made, telling_rows(30, seed=5))
    made.database.dispose()
    return folder


@pytest.fixture
def project(tmp_path, labelled_folder) -> Project:
    """A copy of the test's own."""
    return quick(copy_desk(labelled_folder, tmp_path / "desk"))


def quick(project: Project, **changes: object) -> Project:
    changes = {"rows": 20, "check_seconds": 0.01, **changes}
    return Project(project.folder, change_settings(project.settings, "run", **changes))


class Verbs:
    """Runs verbs in this process, and notes which; `codes` are what turns end with instead."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.codes: list[int] = []

    async def __call__(self, project: Project, words: list[str]) -> int:
        self.ran.append(words)
        if words[0] != "turn":
            return 2  # as a check for drift with too few predictions
        if self.codes:
            return self.codes.pop(0)
        decide_by = "users" if words[-1] == "users" else "rows"
        await asyncio.to_thread(turn, project, decide_by=decide_by)
        return 0

    @property
    def turns(self) -> list[list[str]]:
        return [words for words in self.ran if words[0] == "turn"]


def led(
    project: Project,
    verbs: Verbs,
    is_done: Callable[[Leading], bool],
    max_membership: float | None = None,
) -> Leading:
    """Lead until something is so, then stop as a server does."""
    state = Leading()

    async def whole() -> None:
        leading = asyncio.create_task(lead(project, state, verbs, max_membership=max_membership))
        while not is_done(state):
            await asyncio.sleep(0.01)
        leading.cancel()
        with suppress(asyncio.CancelledError):
            await leading

    asyncio.run(asyncio.wait_for(whole(), LONG_S))
    return state


def test_a_turn_starts_on_enough_rows_and_its_challenger_meets_users(project, caplog):
    caplog.set_level("INFO", "millwright.runner.lead")
    verbs = Verbs()
    state = led(project, verbs, lambda _: running(project) is not None)
    assert verbs.turns == [["turn", "--gently", "--json", "--decide-by", "users"]]
    assert [words for words in verbs.ran if words[0] == "drift"] == []  # too few users wrote for a check
    assert "no check for drift yet: 30 users were answered since v1 was promoted, 600 are" in caplog.text
    assert "turn 2 made v2: passed the gates, now users decide: " in caplog.text
    assert "experiment turn-2 began: v2 against v1" in caplog.text
    assert (state.turns, state.failures, state.is_leader) == (1, 0, False)
    experiment = running(project)
    assert (experiment.name, experiment.plan.challengers) == ("turn-2", ("v2",))
    assert alias(project, CHAMPION) == "v1"
    assert "passed the gates, now users decide" in list_turns(project)[-1].reason


def test_what_a_kill_left_between_turn_and_experiment_is_taken_up_once(project):
    turn(project, decide_by="users")  # and then the runner was killed
    again = quick(open_project(project.folder))
    finished = awaits_users(again)
    assert finished is not None
    assert meet_users(again, finished) == "turn-2"
    assert meet_users(again, finished) is None


def test_a_challenger_of_another_champion_meets_nobody(project):
    turn(project, decide_by="users")
    promote(project, "v2", "by hand")
    assert meet_users(project, awaits_users(project)) is None


def test_a_challenger_that_an_erasure_retired_meets_nobody(project):
    turn(project, decide_by="users")
    retired(project, "v2")
    assert meet_users(project, awaits_users(project)) is None


def test_the_wheel_turns_on_after_an_erasure_of_a_challenger_that_met_users(project):
    turn(project, decide_by="users")
    assert meet_users(project, awaits_users(project)) == "turn-2"
    stop(project, "its champion goes on")
    retired(project, "v2")
    opine(project, telling_rows(30, seed=9))
    assert led(project, Verbs(), lambda state: state.turns == 1).failures == 0


def test_the_wheel_turns_on_where_a_challenger_is_damaged(project, caplog):
    turn(project, decide_by="users")
    (project.kept / "versions" / "v2" / "manifest.json").write_text("{}")
    opine(project, telling_rows(30, seed=9))
    led(project, Verbs(), lambda state: state.turns == 1)
    told = [line.message for line in caplog.records if "a turn's challenger meets no users" in line.message]
    assert len(told) == 1
    assert "v2" in told[0]


def retired(project: Project, name: str) -> None:
    """Strike a version off the list, as an erasure does that leaves no successor."""
    with project.database.begin() as connection:
        connection.execute(delete(aliases).where(aliases.c.version == name))
        retire(connection, name, None, "e-1")


def test_a_turn_that_was_killed_after_it_took_its_labels_starts_again(project):
    propose_rows(project, 2)  # and then the turn was killed
    assert count_waiting(project) == 30
    verbs = Verbs()
    led(project, verbs, lambda _: len(list_turns(project)) == 2)
    assert list_turns(project)[-1].new_rows == 30
    assert count_waiting(project) == 0


@pytest.mark.parametrize("action", ["turn", "train"])  # a turn: one whose leader was killed
def test_while_a_turn_or_a_training_runs_none_starts_and_none_fails(project, action):
    verbs, looks = Verbs(), []
    with project.lock(action):

        def is_done(state: Leading) -> bool:
            looks.append(state.is_leader)
            return sum(looks) > 20

        assert led(project, verbs, is_done).failures == 0
        assert verbs.turns == []
    assert led(project, verbs, lambda state: state.turns == 1).failures == 0


def test_held_out_rows_alone_may_decide(project):
    verbs, rows = Verbs(), quick(project, decide_by="rows")
    led(rows, verbs, lambda state: state.turns == 1)
    assert list_turns(project)[-1].decided_by == "rows"
    assert awaits_users(project) is None


def test_turns_audit_their_challengers_where_the_runner_was_told_to(project):
    verbs = Verbs()
    verbs.codes = [2]  # what a turn ends with that has too few test rows for an audit
    led(project, verbs, lambda state: state.failures == 1, max_membership=0.05)
    assert verbs.turns[0][:5] == ["turn", "--gently", "--json", "--max-membership", "0.05"]


def test_a_turn_that_failed_waits_for_more_rows(project):
    verbs = Verbs()
    verbs.codes = [1, 1]
    more = telling_rows(40, seed=9)

    def is_done(state: Leading) -> bool:
        if state.failures == 1 and more:
            assert len(verbs.turns) == 1
            opine(project, more)
            more.clear()
        return state.failures == 2

    state = led(project, verbs, is_done)
    assert (state.turns, len(verbs.turns)) == (2, 2)


def test_a_turn_by_hand_ends_the_wait_of_one_that_failed(project, caplog):
    verbs, by_hand = Verbs(), False
    verbs.codes = [1]

    def is_done(state: Leading) -> bool:
        nonlocal by_hand
        if "it is tried again at 33 labels" in caplog.text and not by_hand:
            by_hand = True
            turn(project, decide_by="rows")  # of all 30 labels
            opine(project, telling_rows(30, seed=9))
        return state.turns == 2

    assert led(project, verbs, is_done).failures == 1
    assert [record.number for record in list_turns(project)] == [1, 2, 3]


def test_a_turn_that_failed_beside_a_training_begun_meanwhile_waits_for_its_end_alone(project, caplog):
    class Training(Verbs):
        async def __call__(self, project: Project, words: list[str]) -> int:
            if self.turns or words[0] != "turn":
                return await super().__call__(project, words)
            self.ran.append(words)
            held.enter_context(project.lock("train"))  # as by `millwright train` while the turn prepares
            return 1

    verbs, held = Training(), ExitStack()

    def is_done(state: Leading) -> bool:
        if "it is tried again at 30 labels" in caplog.text:
            held.close()
        return state.turns == 2

    assert led(project, verbs, is_done).failures == 1


def test_an_alarm_of_drift_is_a_line_of_the_log_a_metric_and_a_reason_for_a_turn(project, caplog):
    class Drifting(Verbs):
        async def __call__(self, project: Project, words: list[str]) -> int:
            if words[0] == "drift":
                tests = (DriftTest("labels", 90.0, 1e-9, True), DriftTest("confidences", 0.1, 0.5, False))
                record = DriftRecord("v1", "traffic", 500, 300, "p", 4, 0.0025, tests, True, LATER)
                with project.database.begin() as connection:
                    connection.execute(insert(drifts).values(record=asdict(record), checked_at=LATER))
            return await super().__call__(project, words)

    keep(project, *(Prediction(f"p{at}", "v1", "hm", "card", 0.5, None, False, LATER) for at in range(600)))
    verbs = Drifting()
    found = led(quick(project, rows=1_000), verbs, lambda state: state.turns == 1)
    assert "drift was found: 300 users differ from 500 before them by labels (v1, check 4)" in caplog.text
    assert found.alarms == 1
    metrics, state = Metrics(), replace(found, is_drifting=True)
    shown = metrics.read(Engine(Limits()), state).decode()
    assert "millwright_drifting 1.0" in shown
    assert "millwright_drift_alarms_total 1.0" in shown
    assert len(verbs.turns) == 1  # though fewer rows wait than run.rows asks for


def test_what_a_verb_refuses_is_a_line_of_the_log(project, caplog, capfd):
    assert asyncio.run(run_verb(project, ["drift", "--gently", "--json"])) == 2
    assert [line.levelname for line in caplog.records if "users were answered since v1" in line.message] == [
        "ERROR"
    ]
    assert "users were answered" not in capfd.readouterr().err


def test_messages_go_out_while_a_turn_takes_its_time(project):
    class Stuck(Verbs):
        async def __call__(self, project: Project, words: list[str]) -> int:
            self.ran.append(words)
            await asyncio.Event().wait()
            raise AssertionError("never ends")

    verbs, said = Stuck(), []
    with receiving() as (url, receiver):
        telling = Project(project.folder, change_settings(project.settings, "webhooks", urls=[url]))

        def is_done(state: Leading) -> bool:
            if state.is_turning and not said:
                with telling.database.begin() as connection:
                    said.append(announce(telling, connection, PING, {}))
            return bool(receiver.got)

        assert led(telling, verbs, is_done).turns == 0


def test_of_two_runners_one_leads_and_the_other_takes_over(project):
    first, second = Leading(), Leading()

    async def until(is_so: Callable[[], bool]) -> None:
        while not is_so():
            await asyncio.sleep(0.01)

    async def whole() -> None:
        one = asyncio.create_task(lead(project, first, Verbs()))
        await until(lambda: first.is_leader)
        other = asyncio.create_task(lead(quick(open_project(project.folder)), second, Verbs()))
        await until(lambda: running(project) is not None)  # which takes the leader some rounds
        assert (first.is_leader, second.is_leader) == (True, False)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        await until(lambda: second.is_leader)
        assert not first.is_leader
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    asyncio.run(asyncio.wait_for(whole(), LONG_S))


def test_a_runner_that_cannot_make_its_lock_says_so_once_and_leads_when_it_can(project, caplog):
    lock = project.kept / "run.lock"
    lock.symlink_to(lock)  # nothing can be written there, as on a disk that is read-only
    looks = []

    def is_done(state: Leading) -> bool:
        looks.append(state.is_leader)
        if len(looks) == 20:
            lock.unlink()
        return state.is_leader

    led(project, Verbs(), is_done)
    told = [line.message for line in caplog.records if "this runner cannot lead" in line.message]
    assert len(told) == 1
    assert f"cannot write {lock}" in told[0]


def test_a_step_that_fails_stops_neither_server_nor_runner(project, caplog):
    class Broken(Verbs):
        async def __call__(self, project: Project, words: list[str]) -> int:
            self.ran.append(words)
            raise OSError("no process can be made")

    verbs = Broken()
    led(project, verbs, lambda _: len(verbs.ran) == 4)
    assert "the wheel stands: OSError" in caplog.text
