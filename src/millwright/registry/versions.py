"""The registry: which versions there are, and the aliases that say which of them serves.

`champion` and `challenger` are names in the database; what a version holds is in classifiers.py, apart
from here because it needs torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, delete, insert, select

from millwright.errors import BadInput, Corrupt, NotFound, one_of
from millwright.privacy.audit import record
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.signatures import verify_version
from millwright.settings import Settings
from millwright.store.database import now
from millwright.store.files import read_json
from millwright.store.tables import alias_changes, aliases, retired, versions

CHAMPION, CHALLENGER = "champion", "challenger"
VERSION, DATASET = "version", "dataset"  # what `retired` calls them
ROLLED_BACK = "rolled back from "


@dataclass(frozen=True)
class VersionInfo:
    """A line of the list of versions; `accuracy` is the F1 of spans where spans are to be found."""

    name: str
    number: int
    dataset: str
    method: str
    accuracy: float | None
    created_at: str
    aliases: tuple[str, ...] = ()


def list_versions(project: Project) -> list[VersionInfo]:
    """Every version, oldest first, with its aliases."""
    with project.database.connect() as connection:
        found = connection.execute(select(versions).order_by(versions.c.number)).all()
        named = connection.execute(select(aliases.c.alias, aliases.c.version).order_by(aliases.c.alias)).all()
    return [
        VersionInfo(**row._mapping, aliases=tuple(alias for alias, name in named if name == row.name))
        for row in found
    ]


def alias(project: Project, name: str) -> str | None:
    """The version that an alias stands for, None if it stands for none."""
    with project.database.connect() as connection:
        return connection.scalar(select(aliases.c.version).where(aliases.c.alias == name))


def resolve(project: Project, name: str) -> str:
    """The version that a version's name or an alias means.

    Args:
        project: an open project.
        name: "v3", "champion" or "challenger".

    Returns:
        The version's name.

    Raises:
        NotFound: there is no such version or alias; the message says what there is.
    """
    known = list_versions(project)
    if name not in {info.name for info in known} and name in (gone := retired_versions(project)):
        instead = f"; {gone[name]} took its place" if gone[name] else "; train another one"
        raise NotFound(f"{name} was retired when a person whose data taught it was erased{instead}")
    if not known:
        raise NotFound("this project has no version yet; run `millwright train` first")
    by_alias = {alias_name: info.name for info in known for alias_name in info.aliases}
    if name in (CHAMPION, CHALLENGER) and name not in by_alias:
        raise NotFound(f"no version is {name} now; name one of {', '.join(info.name for info in known)}")
    return by_alias.get(name) or one_of("version", name, [info.name for info in known])


def version_manifest(project: Project, name: str) -> JsonObject:
    """A version's manifest, after its folder was checked against its seal and signature."""
    folder = verify_version(project, resolve(project, name))
    manifest: JsonObject = read_json(folder / "manifest.json")
    return manifest


def find_made(project: Project, dataset: str, settings: Settings, but: Collection[str]) -> VersionInfo | None:
    """The newest version that was made of a dataset with the same backbone and training settings.

    Args:
        project: an open project.
        dataset: the dataset's id.
        settings: what it must have been made with.
        but: versions that do not count.

    Returns:
        The version; None if there is none, or only damaged ones.
    """
    wanted = settings.model_dump(include={"backbone", "train"})
    for info in reversed(list_versions(project)):
        if info.dataset == dataset and info.name not in but:
            try:
                had = version_manifest(project, info.name)["settings"]
            except Corrupt:
                continue  # then it is trained again
            if all(had[section] == wanted[section] for section in wanted):
                return info
    return None


def made_in_one_piece(project: Project, manifest: JsonObject) -> str | None:
    """The newest version of the same dataset and method as a version of shards, but without shards.

    Args:
        project: an open project.
        manifest: that of the version of shards.

    Returns:
        The version's name; None if there is none, or only damaged ones.
    """
    for info in reversed(list_versions(project)):
        if (info.dataset, info.method) == (manifest["dataset"]["id"], manifest["method"]):
            try:
                facts = version_manifest(project, info.name)["facts"]
            except Corrupt:
                continue
            if "shards" not in facts:
                return info.name
    return None


def promote(project: Project, name: str, reason: str, alias_name: str = CHAMPION) -> str:
    """Point an alias at a version; servers notice within about a second.

    Args:
        project: an open project.
        name: the version or an alias of it.
        reason: why, for the history.
        alias_name: "champion" or "challenger".

    Returns:
        The version's name.

    Raises:
        NotFound: no such version.
        Corrupt: it is damaged, so it may not serve.
    """
    one_of("alias", alias_name, (CHAMPION, CHALLENGER))
    name = resolve(project, name)
    verify_version(project, name)
    with project.database.begin() as connection:
        point(project, connection, name, reason, alias_name)
    return name


def point(
    project: Project, connection: Connection, name: str, reason: str, alias_name: str = CHAMPION
) -> None:
    """Point an alias at a version within a transaction; the caller has verified the version.

    It stands in the audit log before it holds, so that nothing is promoted that the log does not know.

    Args:
        project: an open project.
        connection: to its database, in a transaction.
        name: the version's name.
        reason: why, for the history.
        alias_name: "champion" or "challenger"; a challenger that becomes champion is none any more.
    """
    previous = connection.scalar(select(aliases.c.version).where(aliases.c.alias == alias_name))
    connection.execute(delete(aliases).where(aliases.c.alias == alias_name))
    connection.execute(insert(aliases).values(alias=alias_name, version=name, changed_at=now()))
    connection.execute(
        insert(alias_changes).values(
            alias=alias_name, version=name, previous=previous, reason=reason, changed_at=now()
        )
    )
    if alias_name == CHAMPION:
        connection.execute(delete(aliases).where(aliases.c.alias == CHALLENGER, aliases.c.version == name))
    action = "rolled back" if reason.startswith(ROLLED_BACK) else "promoted"
    record(project, action, details={"alias": alias_name, "version": name, "previous": previous})


def withdraw(project: Project, connection: Connection, alias_name: str, reason: str) -> None:
    """Let an alias mean no version any more, within a transaction; a server stops serving what it meant.

    Args:
        project: an open project.
        connection: to its database, in a transaction.
        alias_name: "champion" or "challenger".
        reason: why, for the history.
    """
    previous = connection.scalar(select(aliases.c.version).where(aliases.c.alias == alias_name))
    connection.execute(delete(aliases).where(aliases.c.alias == alias_name))
    record(project, "withdrawn", details={"alias": alias_name, "version": previous, "why": reason})


def retire(connection: Connection, name: str, successor: str | None, erasure: str) -> None:
    """Strike a version off the list within a transaction; no alias may mean it. Its name is not given again.

    Args:
        connection: to the project's database, in a transaction.
        name: the version's name.
        successor: the version that took its place, if any.
        erasure: the id of the erasure that retires it.
    """
    connection.execute(delete(versions).where(versions.c.name == name))
    note_retired(connection, VERSION, name, successor, erasure)


def note_retired(connection: Connection, kind: str, name: str, successor: str | None, erasure: str) -> None:
    """Note within a transaction that a version or a dataset is gone, instead of an older note of it.

    Args:
        connection: to the project's database, in a transaction.
        kind: VERSION or DATASET.
        name: what is gone.
        successor: what took its place, if anything did.
        erasure: the id of the erasure that retires it.
    """
    connection.execute(delete(retired).where(retired.c.kind == kind, retired.c.name == name))
    values = {"kind": kind, "name": name, "successor": successor, "erasure": erasure}
    connection.execute(insert(retired).values(**values, retired_at=now()))


def retired_versions(project: Project) -> dict[str, str | None]:
    """The successor of each version that an erasure retired."""
    with project.database.connect() as connection:
        chosen = select(retired).where(retired.c.kind == VERSION)
        return {row.name: row.successor for row in connection.execute(chosen)}


def roll_back(project: Project) -> str:
    """Undo the last promotion that is not undone yet: the champion before it is champion again.

    Args:
        project: an open project.

    Returns:
        The version that is champion now.

    Raises:
        BadInput: there was no other champion.
        Corrupt: it is damaged, so it may not serve.
    """
    pile = _champions(project)
    if not pile:
        raise BadInput("there is no champion to roll back; run `millwright train` first")
    if len(pile) == 1:
        raise BadInput(f"there is no champion before {pile[0]}; promote a version by name")
    return promote(project, pile[-2], f"{ROLLED_BACK}{pile[-1]}")


def _champions(project: Project) -> list[str]:
    """The champions as promotions piled them up and roll-backs took them off; the last one serves."""
    changes = select(alias_changes).where(alias_changes.c.alias == CHAMPION).order_by(alias_changes.c.id)
    pile: list[str] = []
    with project.database.connect() as connection:
        for change in connection.execute(changes):
            if change.reason.startswith(ROLLED_BACK) and change.version in pile:
                while pile[-1] != change.version:
                    pile.pop()
            elif pile[-1:] != [change.version]:
                pile.append(change.version)
        there = set(connection.scalars(select(versions.c.name)))
    return [name for name, _ in groupby(name for name in pile if name in there)]
