"""Aliases, promotions and roll-backs of versions; what is damaged may not serve."""

import pytest
from sqlalchemy import delete, insert, select

from millwright.data.prepare import prepare
from millwright.errors import BadInput, Corrupt, NotFound
from millwright.project import Project, open_project
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    alias,
    list_versions,
    promote,
    resolve,
    roll_back,
    version_manifest,
)
from millwright.store.database import now
from millwright.store.files import read_json
from millwright.store.tables import alias_changes, versions
from tests.conftest import csv_of, desk_rows, place_version


@pytest.fixture
def project(make_project) -> Project:
    """A project with the versions v1 to v4, which hold nothing but a manifest."""
    made = make_project(csv_of(desk_rows(60)))
    dataset = prepare(made)
    for number in range(1, 5):
        place_version(made, f"v{number}")
        values = {"number": number, "dataset": dataset.id, "method": "head", "created_at": now()}
        with made.database.begin() as connection:
            connection.execute(insert(versions).values(name=f"v{number}", accuracy=0.1 * number, **values))
    return made


def history(project: Project) -> list[tuple[str, str, str | None, str]]:
    with project.database.connect() as connection:
        found = connection.execute(select(alias_changes).order_by(alias_changes.c.id))
        return [(row.alias, row.version, row.previous, row.reason) for row in found]


def champions_after(project: Project, *moves: str) -> list[str | None]:
    """The champion after each move: a version's name promotes it, "back" rolls back."""
    seen = []
    for move in moves:
        _ = roll_back(project) if move == "back" else promote(project, move, "a test")
        seen.append(alias(project, CHAMPION))
    return seen


def test_versions_are_listed_oldest_first_with_their_aliases(project):
    promote(project, "v2", "a test")
    promote(project, "v3", "a test", CHALLENGER)
    listed = list_versions(project)
    assert [(item.name, item.aliases) for item in listed] == [
        ("v1", ()),
        ("v2", ("champion",)),
        ("v3", ("challenger",)),
        ("v4", ()),
    ]
    assert [item.accuracy for item in listed] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_more_than_nine_versions_are_listed_by_number_not_by_name(project):
    for number in range(5, 12):
        values = {"dataset": list_versions(project)[0].dataset, "method": "head", "created_at": now()}
        with project.database.begin() as connection:
            connection.execute(insert(versions).values(name=f"v{number}", number=number, **values))
    assert [item.number for item in list_versions(project)] == list(range(1, 12))


def test_an_alias_stands_for_nothing_at_first_and_then_for_what_was_promoted(project):
    assert alias(project, CHAMPION) is None
    assert promote(project, "v3", "the best so far") == "v3"
    assert alias(project, CHAMPION) == "v3"
    assert alias(project, CHALLENGER) is None


def test_an_alias_outlives_the_process(project):
    promote(project, "v3", "the best so far")
    assert alias(open_project(project.folder), CHAMPION) == "v3"


def test_each_promotion_is_kept_with_its_reason_and_what_it_replaced(project):
    promote(project, "v1", "the first")
    promote(project, "v2", "asked by the desk")
    promote(project, "v3", "on trial", CHALLENGER)
    assert history(project) == [
        ("champion", "v1", None, "the first"),
        ("champion", "v2", "v1", "asked by the desk"),
        ("challenger", "v3", None, "on trial"),
    ]


def test_a_challenger_that_becomes_champion_is_challenger_no_more(project):
    promote(project, "v1", "the first")
    promote(project, "v2", "on trial", CHALLENGER)
    assert promote(project, CHALLENGER, "it won") == "v2"
    assert (alias(project, CHAMPION), alias(project, CHALLENGER)) == ("v2", None)


def test_another_challenger_stays_when_a_champion_is_made(project):
    promote(project, "v2", "on trial", CHALLENGER)
    promote(project, "v3", "by hand")
    assert alias(project, CHALLENGER) == "v2"


def test_an_alias_of_any_other_name_is_refused(project):
    with pytest.raises(NotFound, match="no alias named 'champ'; .* Did you mean 'champion'"):
        promote(project, "v1", "a test", "champ")
    assert history(project) == []


@pytest.mark.parametrize(
    ("moves", "champions"),
    [
        (["v1", "v2", "back"], ["v1", "v2", "v1"]),
        (["v1", "v2", "v3", "back", "back"], ["v1", "v2", "v3", "v2", "v1"]),
        (["v1", "v2", "v3", "v4", "back", "back", "back"], ["v1", "v2", "v3", "v4", "v3", "v2", "v1"]),
        (["v1", "v2", "back", "v3", "back"], ["v1", "v2", "v1", "v3", "v1"]),
        (["v1", "v2", "v3", "back", "v4", "back", "back"], ["v1", "v2", "v3", "v2", "v4", "v2", "v1"]),
        (["v1", "v2", "v1", "back", "back"], ["v1", "v2", "v1", "v2", "v1"]),
        (["v1", "v2", "v2", "back"], ["v1", "v2", "v2", "v1"]),
        (["v2", "v1", "back"], ["v2", "v1", "v2"]),
    ],
)
def test_each_roll_back_undoes_one_promotion_that_stands(project, moves, champions):
    assert champions_after(project, *moves) == champions


def test_a_roll_back_passes_over_champions_that_are_gone(project):
    champions_after(project, "v1", "v2", "v1")
    with project.database.begin() as connection:
        connection.execute(delete(versions).where(versions.c.name == "v2"))
    with pytest.raises(BadInput, match="there is no champion before v1"):
        roll_back(project)


def test_a_roll_back_says_from_what(project):
    champions_after(project, "v1", "v2", "back")
    assert history(project)[-1] == ("champion", "v1", "v2", "rolled back from v2")


def test_rolling_back_further_than_the_first_champion_is_refused_and_changes_nothing(project):
    champions_after(project, "v1", "v2", "back")
    with pytest.raises(BadInput, match="there is no champion before v1; promote a version by name"):
        roll_back(project)
    assert alias(project, CHAMPION) == "v1"
    assert len(history(project)) == 3


def test_rolling_back_before_anything_was_promoted_is_refused(project):
    with pytest.raises(BadInput, match="no champion to roll back; run `millwright train` first"):
        roll_back(project)


def test_challengers_play_no_part_in_a_roll_back(project):
    promote(project, "v1", "the first")
    promote(project, "v2", "on trial", CHALLENGER)
    with pytest.raises(BadInput, match="no champion before v1"):
        roll_back(project)
    assert alias(project, CHALLENGER) == "v2"


def test_a_reason_that_sounds_like_a_roll_back_does_not_lose_the_champion(project):
    promote(project, "v1", "the first")
    promote(project, "v2", "rolled back from v9")
    assert roll_back(project) == "v1"


def test_a_damaged_version_is_not_rolled_back_to(project):
    champions_after(project, "v1", "v2")
    (project.kept / "versions" / "v1" / "manifest.json").write_text("{}")
    with pytest.raises(Corrupt, match=r"v1/manifest\.json is not what was written"):
        roll_back(project)
    assert alias(project, CHAMPION) == "v2"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda folder: (folder / "manifest.json").write_text("{"),
            r"manifest\.json is not what was written",
        ),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda folder: (folder / "model.pkl").write_text("x"), r"model\.pkl was added"),
        (lambda folder: (folder / "seal.json").unlink(), r"seal\.json is missing"),
    ],
)
@pytest.mark.parametrize("alias_name", [CHAMPION, CHALLENGER])
def test_a_damaged_version_is_not_promoted_and_its_file_is_named(project, harm, message, alias_name):
    promote(project, "v1", "the first")
    harm(project.kept / "versions" / "v2")
    with pytest.raises(Corrupt, match=message):
        promote(project, "v2", "a test", alias_name)
    with pytest.raises(Corrupt, match=message):
        version_manifest(project, "v2")
    assert alias(project, CHAMPION) == "v1"
    assert alias(project, CHALLENGER) is None


def test_a_name_or_an_alias_means_a_version(project):
    promote(project, "v2", "a test")
    promote(project, "v4", "a test", CHALLENGER)
    assert [resolve(project, name) for name in ("v1", "champion", "challenger")] == ["v1", "v2", "v4"]


def test_the_manifest_is_that_of_the_version_meant(project):
    promote(project, "v3", "a test")
    assert version_manifest(project, "champion") == {"name": "v3"}
    assert version_manifest(project, "v3") == read_json(project.kept / "versions" / "v3" / "manifest.json")


def test_a_version_that_is_not_there_is_named_with_the_nearest(project):
    with pytest.raises(NotFound, match=r"no version named 'v33'; there are 'v1'.*Did you mean 'v3'"):
        resolve(project, "v33")


@pytest.mark.parametrize("name", [CHAMPION, CHALLENGER])
def test_an_alias_that_stands_for_nothing_says_which_versions_there_are(project, name):
    with pytest.raises(NotFound, match=f"no version is {name} now; name one of v1, v2, v3, v4"):
        resolve(project, name)


def test_a_project_without_versions_says_to_train(make_project):
    empty = make_project(csv_of(desk_rows(60)))
    assert list_versions(empty) == []
    with pytest.raises(NotFound, match="no version yet; run `millwright train` first"):
        resolve(empty, CHAMPION)
