"""The registry: versions in sealed folders, aliases that say which of them serves.

A version's folder holds weights.safetensors, classifier.json, tokenizer.json, manifest.json and the
model card README.md. Folders never change; `champion` and `challenger` are names in the database.
"""

import shutil
from dataclasses import dataclass
from importlib.metadata import version as installed_version

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, MillwrightError, NotFound, one_of
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.card import model_card
from millwright.store.database import now
from millwright.store.files import read_json, sealed_folder, verify, write_json, write_text
from millwright.store.tables import alias_changes, aliases, versions
from millwright.train.classifier import Classifier, open_classifier
from millwright.train.fit import Fitted
from millwright.train.metrics import Evaluation

MANIFEST_FORMAT = 1
CHAMPION, CHALLENGER = "champion", "challenger"
ROLLED_BACK = "rolled back from "
LIBRARIES = (
    "millwright",
    "torch",
    "transformers",
    "peft",
    "scikit-learn",
    "numpy",
    "safetensors",
    "tokenizers",
)


@dataclass(frozen=True)
class VersionInfo:
    """A line of the list of versions."""

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
    if not known:
        raise NotFound("this project has no version yet; run `millwright train` first")
    by_alias = {alias_name: info.name for info in known for alias_name in info.aliases}
    if name in (CHAMPION, CHALLENGER) and name not in by_alias:
        raise NotFound(f"no version is {name} now; name one of {', '.join(info.name for info in known)}")
    return by_alias.get(name) or one_of("version", name, [info.name for info in known])


def version_manifest(project: Project, name: str) -> JsonObject:
    """A version's manifest, after its folder was checked against its seal."""
    folder = project.kept / "versions" / resolve(project, name)
    verify(folder)
    manifest: JsonObject = read_json(folder / "manifest.json")
    return manifest


def load_classifier(project: Project, name: str) -> Classifier:
    """Load a version by name or alias.

    Args:
        project: an open project.
        name: a version or an alias.

    Returns:
        The classifier.

    Raises:
        NotFound: no such version.
        Corrupt: a file of it was truncated, edited, added or removed; the message names the file.
    """
    folder = project.kept / "versions" / resolve(project, name)
    verify(folder)
    return open_classifier(folder)


def register(
    project: Project, dataset: Dataset, fitted: Fitted, evaluation: Evaluation | None
) -> VersionInfo:
    """Write a trained classifier as the next version.

    Args:
        project: an open project.
        dataset: what it was trained on.
        fitted: the classifier and its facts.
        evaluation: what was measured on test rows, None where there are none.

    Returns:
        The new version; no alias points to it yet.

    Raises:
        CannotStore: the disk is full or read-only; no version was added then.
    """
    with project.lock("registry"):
        number = _free_number(project)
        info = VersionInfo(
            name=f"v{number}",
            number=number,
            dataset=dataset.id,
            method=fitted.method,
            accuracy=evaluation.accuracy.value if evaluation else None,
            created_at=now(),
        )
        manifest = _manifest(project, info, dataset, fitted, evaluation)
        target = project.kept / "versions" / info.name
        with sealed_folder(target) as folder:
            fitted.classifier.save(folder)
            write_json(folder / "manifest.json", manifest)
            write_text(folder / "README.md", model_card(manifest))
        row = {key: getattr(info, key) for key in versions.columns.keys()}  # noqa: SIM118, not a dict
        try:
            with project.database.begin() as connection:
                connection.execute(insert(versions).values(**row))
        except (MillwrightError, SQLAlchemyError):
            shutil.rmtree(target)
            raise
    return info


def _free_number(project: Project) -> int:
    """The next number; a folder that a kill left without its line in the table keeps its own."""
    with project.database.connect() as connection:
        listed = connection.scalar(select(func.max(versions.c.number))) or 0
    left = (path.name for path in (project.kept / "versions").glob("v*"))
    return 1 + max([listed, *(int(name[1:]) for name in left if name[1:].isdecimal())])


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
    verify(project.kept / "versions" / name)
    with project.database.begin() as connection:
        point(connection, name, reason, alias_name)
    return name


def point(connection: Connection, name: str, reason: str, alias_name: str = CHAMPION) -> None:
    """Point an alias at a version within a transaction; the caller has verified the version.

    Args:
        connection: in a transaction.
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
    return pile


def _manifest(
    project: Project, info: VersionInfo, dataset: Dataset, fitted: Fitted, evaluation: Evaluation | None
) -> JsonObject:
    return {
        "format": MANIFEST_FORMAT,
        "name": info.name,
        "project": project.settings.project.name,
        "created_at": info.created_at,
        "dataset": {"id": dataset.id, "splits": dataset.report["splits"]},
        "backbone": {"name": fitted.classifier.backbone.name, "sha256": fitted.classifier.backbone.sha256},
        "method": fitted.method,
        "why": fitted.why,
        "labels": list(fitted.classifier.labels),
        "metrics": evaluation.to_json() if evaluation else None,
        "facts": fitted.facts,
        "settings": project.settings.model_dump(),
        "libraries": {name: installed_version(name) for name in LIBRARIES},
    }
