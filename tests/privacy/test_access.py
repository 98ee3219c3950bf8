"""Keys of the service: what each may do, when it ends, how often it may ask."""

import gc

import pytest
from sqlalchemy import update

from millwright.errors import BadInput, Forbidden, NotFound, TooOften, Unauthorised
from millwright.privacy.access import (
    Guard,
    create_key,
    has_keys_for_service,
    list_keys,
    renew_key,
    revoke_key,
)
from millwright.privacy.audit import read_audit
from millwright.project import Project
from millwright.settings import Settings
from millwright.store.tables import api_keys
from tests.conftest import locked

PAST = "2020-01-01T00:00:00.000+00:00"


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path, Settings())


class Clock:
    """Seconds as the test says."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def guard(project: Project, clock: Clock | None = None) -> Guard:
    made = Guard(project, clock or Clock())
    made.read()
    return made


def test_without_any_key_everybody_may_ask_but_nobody_is_admin(project):
    assert guard(project).check(None, "predict") is None
    with pytest.raises(Unauthorised, match="needs an admin key"):
        guard(project).check(None, "admin")
    with pytest.raises(Unauthorised, match="unknown, expired or revoked"):
        guard(project).check("mw_000000000000_secret", "predict")


@pytest.mark.parametrize(
    ("scopes", "wanted", "may"),
    [
        (["predict"], "predict", True),
        (["predict"], "feedback", False),
        (["predict", "feedback"], "feedback", True),
        (["predict", "feedback", "review"], "admin", False),
        (["admin"], "predict", True),
        (["review"], "", True),
    ],
)
def test_a_key_may_what_its_scopes_say(project, scopes, wanted, may):
    _, token = create_key(project, "website", scopes)
    if may:
        assert guard(project).check(token, wanted).name == "website"
    else:
        with pytest.raises(Forbidden, match=f"this needs {wanted}"):
            guard(project).check(token, wanted)


def test_once_there_is_a_key_nobody_comes_in_without_one_even_when_it_is_revoked(project):
    key, token = create_key(project, "website", ["predict"])
    with pytest.raises(Unauthorised, match="this needs a key; send Authorization: Bearer KEY"):
        guard(project).check(None, "predict")
    revoke_key(project, key.id)
    for given in (None, token):
        with pytest.raises(Unauthorised):
            guard(project).check(given, "predict")
    assert not has_keys_for_service(project)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "x", lambda t: t.swapcase(), lambda t: "", lambda t: "mw"]
)
def test_a_key_that_is_not_the_one_is_refused(project, change):
    _, token = create_key(project, "website", ["predict"])
    with pytest.raises(Unauthorised):
        guard(project).check(change(token), "predict")


def test_a_key_ends_when_its_days_are_over(project):
    key, token = create_key(project, "website", ["predict"], days=1)
    assert guard(project).check(token, "predict")
    with project.database.begin() as connection:
        connection.execute(update(api_keys).values(expires_at=PAST))
    with pytest.raises(Unauthorised, match="expired"):
        guard(project).check(token, "predict")
    assert list_keys(project)[0].id == key.id


def test_a_rate_allows_a_burst_then_one_each_time_it_filled_up_again(project):
    _, token = create_key(project, "website", ["predict"], requests_per_minute=3)
    clock = Clock()
    own = guard(project, clock)
    for _ in range(3):
        own.check(token, "predict")
    with pytest.raises(TooOften, match="3 times a minute; try again in 20 s") as refused:
        own.check(token, "predict")
    assert refused.value.retry_after_s == 20
    clock.seconds = 20
    own.check(token, "predict")
    with pytest.raises(TooOften):
        own.check(token, "predict")
    clock.seconds = 10_000
    for _ in range(3):
        own.check(token, "predict")
    with pytest.raises(TooOften):
        own.check(token, "predict")


def test_neither_the_key_nor_its_secret_stands_in_any_file(project):
    _, token = create_key(project, "website", ["predict"])
    gc.collect()
    for path in project.kept.rglob("*"):
        assert not path.is_file() or token.split("_", 2)[2].encode() not in path.read_bytes()


def test_when_a_key_was_used_last_is_noted_now_and_then(project):
    _, token = create_key(project, "website", ["predict"])
    clock = Clock()
    own = guard(project, clock)
    own.check(token, "predict")
    assert not own.is_stale
    clock.seconds = 61
    assert own.is_stale
    assert own.has_uses_to_note
    own.note_uses()
    assert not own.has_uses_to_note
    (key,) = list_keys(project)
    assert key.last_used_at is not None


def test_while_the_database_is_locked_keys_are_read_and_their_use_is_noted_later(project):
    _, token = create_key(project, "website", ["predict"])
    clock = Clock()
    own = guard(project, clock)
    own.check(token, "predict")
    with locked(project.database):
        own.read()
        assert own.check(token, "predict")
        own.note_uses()
    assert list_keys(project)[0].last_used_at is None
    clock.seconds = 61
    assert own.has_uses_to_note
    own.note_uses()
    assert list_keys(project)[0].last_used_at is not None


def test_a_renewed_key_opens_the_same_and_the_old_one_ends_after_the_overlap(project):
    old, token = create_key(project, "website", ["predict"], requests_per_minute=600)
    new, successor = renew_key(project, old.id)
    assert (new.name, new.scopes, new.requests_per_minute) == ("website", ("predict",), 600)
    for given in (token, successor):
        assert guard(project).check(given, "predict")
    renew_key(project, old.id, overlap_hours=0)
    with pytest.raises(Unauthorised):
        guard(project).check(token, "predict")
    with pytest.raises(BadInput, match="was revoked or has expired"):
        renew_key(project, old.id)
    assert list_keys(project)[0].expires_at is not None


def test_making_and_revoking_stand_in_the_audit_log_without_names(project):
    key, _ = create_key(project, "Ada's laptop", ["admin", "predict"])
    revoke_key(project, key.id)
    assert [line.action for line in read_audit(project)] == ["key created", "key revoked"]
    assert "Ada" not in (project.kept / "audit.jsonl").read_text()
    with pytest.raises(NotFound, match="no key named"):
        revoke_key(project, "nobody")


@pytest.mark.parametrize(
    ("name", "scopes", "more", "message"),
    [
        (" ", ["predict"], {}, "needs a name"),
        ("x", [], {}, "needs a scope"),
        ("x", ["predikt"], {}, "Did you mean 'predict'"),
        ("x", ["predict"], {"days": 0}, "days must be 1 or more, got 0"),
        ("x", ["predict"], {"requests_per_minute": -1}, "requests_per_minute must be 1 or more"),
    ],
)
def test_a_key_that_could_do_nothing_is_refused(project, name, scopes, more, message):
    with pytest.raises(BadInput, match=message):
        create_key(project, name, scopes, **more)
    assert list_keys(project) == []
