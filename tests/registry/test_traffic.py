"""Shares of users: a pure hash, sticky while shares grow, and the table that holds them."""

from itertools import pairwise

import pytest

from millwright.errors import BadInput
from millwright.project import Project
from millwright.registry.traffic import (
    Arm,
    Traffic,
    assign,
    current_traffic,
    end_traffic,
    start_traffic,
    traffic_history,
)
from tests.conftest import csv_of, desk_rows

USERS = [f"user-{number}" for number in range(4_000)]


def shares(*challengers: float, salt: str = "s") -> Traffic:
    arms = [Arm("champion", "v1", 1 - sum(challengers))]
    arms += [Arm(f"v{place}", f"v{place}", share) for place, share in enumerate(challengers, start=2)]
    return Traffic(1, "x", salt, tuple(arms))


@pytest.fixture
def project(make_project) -> Project:
    return make_project(csv_of(desk_rows(30)))


@pytest.mark.parametrize("challengers", [(0.5,), (0.01,), (0.3, 0.2), (0.1, 0.0, 0.3)])
def test_each_arm_gets_its_share_of_users(challengers):
    current = shares(*challengers)
    got = [assign(current, user).name for user in USERS]
    for arm in current.arms:
        tolerance = 4 * (arm.share * (1 - arm.share) / len(USERS)) ** 0.5
        assert got.count(arm.name) / len(USERS) == pytest.approx(arm.share, abs=tolerance + 1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_growing_share_takes_users_from_the_champion_alone(count):
    steps = [
        [assign(shares(*[step / count] * count), user).name for user in USERS]
        for step in (0.01, 0.1, 0.5, 0.9)
    ]
    for before, after in pairwise(steps):
        assert all(was in ("champion", now) for was, now in zip(before, after, strict=True))
        assert before != after


def test_another_experiment_draws_anew():
    first = [assign(shares(0.5, salt="a"), user).name for user in USERS]
    second = [assign(shares(0.5, salt="b"), user).name for user in USERS]
    same = sum(one == other for one, other in zip(first, second, strict=True)) / len(USERS)
    assert same == pytest.approx(0.5, abs=4 * (0.25 / len(USERS)) ** 0.5)


def test_one_set_of_shares_is_in_force_and_all_are_remembered(project):
    assert current_traffic(project) is None
    for step in (0.1, 0.5):
        with project.database.begin() as connection:
            start_traffic(connection, "x", "salt", shares(step).arms)
    current = current_traffic(project)
    assert current is not None
    assert (current.salt, current.arms) == ("salt", shares(0.5).arms)
    assert [one.arms[1].share for one in traffic_history(project, "x").values()] == [0.1, 0.5]
    with project.database.begin() as connection:
        end_traffic(connection)
    assert current_traffic(project) is None


@pytest.mark.parametrize(
    ("challengers", "message"),
    [
        ((0.6, 0.1), r"share of v2 is 0.6, with 2 challenger\(s\) it must be from 0 to 0.5"),
        ((-0.1,), "share of v2 is -0.1"),
        ((0.99,), "champion would keep a share of 0.01, at least 0.02"),
    ],
)
def test_shares_that_cannot_be_assigned_are_refused(project, challengers, message):
    with project.database.begin() as connection, pytest.raises(BadInput, match=message):
        start_traffic(connection, "x", "salt", shares(*challengers).arms)
    assert current_traffic(project) is None
