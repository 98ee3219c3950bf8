"""Erases people: a walk from left to right, each step of which may be repeated after a kill.

People who are erased together share one walk, one dataset and one successor of each version; each gets a
receipt of their own. What was found and done stands in the table of erasures after each step, so a second
call goes on where the first one stopped.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from millwright.data.dataset import dataset_folder, settle_replaced
from millwright.erase.cases import begin, close, finished, join, unfinished
from millwright.erase.erased_data import (
    erase_bodies,
    erase_cache,
    erase_datasets,
    erase_files,
    erase_rows,
)
from millwright.erase.erased_models import erase_versions, make_successor_dataset, train_successors
from millwright.erase.found import Found, find, not_found
from millwright.erase.people import People
from millwright.erase.work import Case, Work
from millwright.errors import BadInput, Busy, Corrupt, MillwrightError
from millwright.privacy.consent import HELD, restrictions_of
from millwright.privacy.receipts import receipt_folder
from millwright.privacy.tombstones import delete_said
from millwright.privacy.vault import Vault, open_vault
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.versions import CHALLENGER, CHAMPION, alias
from millwright.serve.available import check_runtime
from millwright.store.database import scrub
from millwright.store.files import read_json


def _scrub(work: Work) -> None:
    scrub(work.project.database)


STEPS: tuple[tuple[str, Callable[[Work], None]], ...] = (
    ("rows", erase_rows),
    ("files", erase_files),
    ("cached features", erase_cache),
    ("bodies", erase_bodies),
    ("dataset", make_successor_dataset),
    ("successors", train_successors),
    ("versions", erase_versions),
    ("datasets", erase_datasets),
    ("database", _scrub),
)


@dataclass(frozen=True)
class Erased:
    """The receipt of an erasure and its file."""

    receipt: JsonObject
    path: Path


@dataclass(frozen=True)
class ErasedAll:
    """What became of some people: receipts of those who are erased, and why the others are not.

    Both by the name that was asked for, in the order that was asked for.
    """

    erased: dict[str, Erased]
    refused: dict[str, MillwrightError]

    def not_erased(self) -> list[JsonObject]:
        """Who was not erased, and why, for surfaces to show."""
        return [{"subject": name, "why": str(error)} for name, error in self.refused.items()]


def plan_erasures(
    project: Project, subjects: Sequence[str], *, vault: Vault | None = None
) -> dict[str, Found]:
    """What an erasure of some people would find of each, by name; nothing is changed.

    `vault` spares opening another one. A dataset that a kill found being replaced is seen once `prepare` or
    an erasure has put it back.
    """
    keys = (vault or open_vault(project)).keys
    named = {subject: keys.pseudonym(subject) for subject in subjects}
    found = find(project, People(keys, tuple(dict.fromkeys(named.values()))))
    return {subject: found[pseudonym] for subject, pseudonym in named.items()}


def erase(
    project: Project,
    subject: str,
    *,
    withdraw_only: bool = False,
    progress: Progress = quiet,
    vault: Vault | None = None,
) -> Erased:
    """Erase a person from rows, files, features, datasets and models; or go on with an erasure.

    Args:
        project: an open project.
        subject: as files and requests name the person.
        withdraw_only: take versions whose body was tuned out of service instead of training them anew;
            a head is always trained anew, it takes seconds.
        progress: called with a step's name and the fraction done.
        vault: the project's, where it is open already.

    Returns:
        The signed receipt. If nothing is left to erase, that of the last erasure.

    Raises:
        NotFound: nothing is known of the person.
        BadInput: the person is under a legal hold.
        Busy: a training, a turn or another erasure runs; or the person appeared again meanwhile.
        Corrupt: the dataset of a successor was deleted meanwhile.
        MissingExtra: a version must be trained anew and packages of its method, or of the runtime that
            `serve.runtime` names, are missing; nothing was changed then.
    """
    done = erase_all(project, [subject], withdraw_only=withdraw_only, progress=progress, vault=vault)
    if done.refused:
        raise done.refused[subject]
    return done.erased[subject]


def erase_all(
    project: Project,
    subjects: Sequence[str],
    *,
    withdraw_only: bool = False,
    progress: Progress = quiet,
    vault: Vault | None = None,
) -> ErasedAll:
    """Erase people together: one walk over what the project holds, one successor of each version that serves.

    Args:
        project: an open project.
        subjects: as files and requests name the people.
        withdraw_only: as for `erase`.
        progress: called with a step's name and the fraction done.
        vault: the project's, where it is open already.

    Returns:
        A signed receipt of each person, which says nothing of the others; and of those of whom nothing is
        known (NotFound) or whom a legal hold keeps (BadInput) the reason: they don't stop the others.

    Raises:
        Busy: a training, a turn or another erasure runs; or one of the people appeared again meanwhile: the
            others have their receipts then.
        Corrupt: the dataset of a successor was deleted meanwhile; there is no receipt.
        MissingExtra: as for `erase`.
    """
    vault = vault or open_vault(project)
    named = {subject: vault.keys.pseudonym(subject) for subject in subjects}
    erased, refused = erase_pseudonyms(
        project, vault, list(dict.fromkeys(named.values())), withdraw_only=withdraw_only, progress=progress
    )
    return ErasedAll(
        {subject: erased[person] for subject, person in named.items() if person in erased},
        {subject: refused[person] for subject, person in named.items() if person in refused},
    )


def erase_pseudonyms(
    project: Project,
    vault: Vault,
    pseudonyms: Sequence[str],
    *,
    withdraw_only: bool = False,
    progress: Progress = quiet,
) -> tuple[dict[str, Erased], dict[str, MillwrightError]]:
    """Erase the people of some pseudonyms; receipts and reasons by pseudonym, see `erase_all`.

    An erasure that was cut off is finished first, with everyone who was to be erased together then.
    """

    def work_on(cases: Sequence[Case]) -> Work:
        """A walk with these people."""
        people = People(vault.keys, tuple(case.pseudonym for case in cases))
        return Work(project, vault, people, tuple(cases), withdraw_only, progress)

    with ExitStack() as locks:
        for action in ("erase", "turn", "train", "prepare", "review"):
            locks.enter_context(project.lock(action))
        settle_replaced(dataset_folder(project))  # before anything is looked for
        erased = dict[str, Erased]()
        for batch in unfinished(project, pseudonyms):
            held = _held(project, [case.pseudonym for case in batch])
            if cases := [case for case in batch if case.pseudonym not in held]:
                erased |= _go_on(work_on(cases))
        refused = _held(project, [person for person in pseudonyms if person not in erased])
        rest = tuple(person for person in pseudonyms if person not in erased and person not in refused)
        found = find(project, People(vault.keys, rest)) if rest else {}
        for person, about in list(found.items()):
            if about.is_nothing and (last := _last(project, person)) is not None:
                erased[person] = last
                del found[person]
            elif about.is_nothing and not about.files:  # those outside: a tombstone bars their rows
                refused[person] = not_found(about)
                del found[person]
        if found:
            _check_packages(project, found.values(), withdraw_only)
            erased |= _walk(work_on(begin(project, found)))
        return erased, refused


def _held(project: Project, pseudonyms: Sequence[str]) -> dict[str, MillwrightError]:
    """Those whom a legal hold keeps, with the reason."""
    since = {person: restrictions_of(project, person).get(HELD) for person in pseudonyms}
    return {
        person: BadInput(
            f"a legal hold keeps this person's data since {hour}; lift it first with "
            "`millwright subject hold --lift`"
        )
        for person, hour in since.items()
        if hour is not None
    }


def _go_on(work: Work) -> dict[str, Erased]:
    """Take up an unfinished erasure; what appeared of the people since joins what was found then."""
    found = find(work.project, work.people)
    for case in work.cases:
        join(case, found[case.pseudonym])
    _check_packages(work.project, found.values(), work.withdraw_only)
    return _walk(work)


def _walk(work: Work) -> dict[str, Erased]:
    for place, (name, step) in enumerate(STEPS):
        work.progress(f"erase: {name}", place / len(STEPS))
        step(work)
        with work.project.database.begin() as connection:
            work.keep(connection)
    return _finish(work)


def _finish(work: Work) -> dict[str, Erased]:
    """Look again; sign what was done; close the erasures of those of whom nothing is left."""
    until = {case.pseudonym: case.record["tombstone"]["erased_at"] for case in work.cases}
    late = [delete_said(work.project.database, person, hour) for person, hour in until.items()]
    if any(late):  # what was under way then
        scrub(work.project.database)
    after = find(work.project, work.people)
    _check_successors(work, after)
    back = {case.pseudonym for case in work.cases if _is_back(case, after[case.pseudonym])}
    erased = {
        case.pseudonym: _read(work.project, close(work, case, after[case.pseudonym]))
        for case in work.cases
        if case.pseudonym not in back
    }
    if back:
        raise Busy("the person appeared again while being erased; run the same command again")
    return erased


def _is_back(case: Case, after: Found) -> bool:
    """True if something of the person is there that is not left to the user."""
    files = after.owned_files - case.record["left_to_you"].keys()
    return bool(files or after.datasets or after.versions)


def _check_successors(work: Work, after: Mapping[str, Found]) -> None:
    """Refuse to sign that a version never saw a person whom it may have seen."""
    for case in work.cases:
        made = {about.get("successor") for about in case.record["versions"].values()}
        if lost := sorted(made.intersection(after[case.pseudonym].unknown_versions)):
            raise Corrupt(
                f"{', '.join(lost)} was trained in this erasure and its dataset is gone, so nobody can tell "
                "whom it saw; run the same command again, which makes the dataset anew"
            )


def _check_packages(project: Project, found: Collection[Found], withdraw_only: bool) -> None:
    """Refuse what a version that serves and must be trained anew needs and what cannot be had here."""
    serving = {alias(project, name) for name in (CHAMPION, CHALLENGER)}
    methods = {about["method"] for one in found for name, about in one.versions.items() if name in serving}
    if not methods or (withdraw_only and "head" not in methods):
        return
    check_runtime(project.settings)
    if "private-lora" in methods and not withdraw_only:
        from millwright.train.private_lora import need_opacus  # PyTorch, only where it must be

        need_opacus()


def _last(project: Project, pseudonym: str) -> Erased | None:
    """The receipt of a person's last erasure, None if there was none."""
    done = finished(project, pseudonym)
    return _read(project, f"{done[-1]}.json") if done else None


def _read(project: Project, name: str) -> Erased:
    path = receipt_folder(project) / name
    return Erased(read_json(path), path)
