"""The steps of an erasure that reach the model: a dataset without the people, successors, retirement.

Each is done once for everyone who is erased, and noted for each of them alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from millwright.data.dataset import Dataset, open_dataset
from millwright.data.prepare import build_dataset, dataset_folder
from millwright.erase.erased_data import erase_reports_of, remove_signed
from millwright.erase.work import Case, Work
from millwright.errors import BadInput, NotFound
from millwright.experiment.plans import running
from millwright.experiment.rollout import stop
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.signatures import RUNTIMES, VERSIONS
from millwright.registry.traffic import current_traffic
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    VersionInfo,
    alias,
    find_made,
    point,
    retire,
    retired_versions,
    version_manifest,
    withdraw,
)
from millwright.serve.promotion import is_measured
from millwright.settings import FROZEN, PRIVATE, Settings
from millwright.train.shards import shard_hashes, weights_sha256

if TYPE_CHECKING:
    from millwright.train.ensemble import Trained
    from millwright.train.span_model import SpanModel


def make_successor_dataset(work: Work) -> None:
    """Prepare the dataset that is to stand in place of those that held one of the people, if any did."""
    cases = [case for case in work.cases if case.found("datasets")]
    if all("successor_dataset" in case.record for case in cases) and _are_there(work.project, cases):
        return
    try:
        made: JsonObject = {"successor_dataset": build_dataset(work.project, work.progress).id}
    except BadInput as error:
        made = {"successor_dataset": None, "no_successor": str(error)}
    for case in cases:
        case.record.update(made)


def _are_there(project: Project, cases: Sequence[Case]) -> bool:
    names = {case.successor_dataset for case in cases}
    return all(name is None or (dataset_folder(project) / name).is_dir() for name in names)


def train_successors(work: Work) -> None:
    """Train each version that serves and saw one of the people anew, once, and let it serve instead.

    It starts from the pretrained network and sees the rows that are left, in the same order and with the
    same settings as a training from files that never held the people: it is that training, but for the noise
    of a private version, which is drawn anew and spends privacy budget again.
    """
    versions = work.names("versions")
    _end_experiment(work, versions)
    for name in (CHAMPION, CHALLENGER):
        old = alias(work.project, name)
        if old is None or old not in versions:
            continue
        cases = versions[old]
        for about in _said_of(old, cases):
            about.setdefault("served_as", []).append(name)
        manifest = version_manifest(work.project, old)
        why_not = _why_not(work, cases[0], manifest)
        if why_not is not None:
            _withdraw(work, old, name, why_not)
            continue
        dataset = open_dataset(work.project, cases[0].record["successor_dataset"])
        # This erasure may have trained it before it was killed, or for the other alias.
        settings = _settings_of(work.project, manifest)
        made = find_made(work.project, dataset.id, settings, but=versions)
        try:
            info, model = (made, None) if made else _train(work, dataset, manifest, settings)
        except BadInput as error:  # too few rows or people are left for this method
            _withdraw(work, old, name, f"no version can be trained on what is left ({error})")
            continue
        except NotFound as error:  # it may come back: who cannot wait asks to withdraw only
            if not work.withdraw_only:
                raise
            _withdraw(work, old, name, f"its backbone cannot be loaded ({error})")
            continue
        new = info.name
        if not is_measured(work.project, new):
            from millwright.serve.runtimes import choose_runtime  # PyTorch, only where it must be

            choose_runtime(work.project, new, work.progress, model)
        facts = {
            "successor": new,
            "successor_dataset": dataset.id,
            "successor_sha256": weights_sha256(_folder(work.project, new)),
            **_how(work.project, old, new),
        }
        for about in _said_of(old, cases):
            about.update(facts)
        with work.project.database.begin() as connection:  # who serves and what is known of it go together
            point(work.project, connection, new, f"successor of {old}: a person was erased", name)
            work.keep(connection)


def _end_experiment(work: Work, versions: Mapping[str, Sequence[Case]]) -> None:
    """Stop the experiment that serves one of these versions; it cannot go on with another in its place."""
    current, experiment = current_traffic(work.project), running(work.project)
    gone = [name for name in current.versions if name in versions] if current else []
    if not gone or experiment is None:
        return
    aliases = {alias(work.project, name) for name in (CHAMPION, CHALLENGER)}
    for name in gone:
        if name not in aliases:
            how = f"deleted; it served in the experiment {experiment.name}, which ended with it"
            for about in _said_of(name, versions[name]):
                about.update(served_as=[experiment.name], successor=None, how=how)
    with work.project.database.begin() as connection:
        work.keep(connection)
    stop(work.project, f"a person was erased whose data taught {', '.join(gone)}", experiment.name)


def erase_versions(work: Work) -> None:
    """Retire and delete every version that a dataset with one of the people made; none of them serves."""
    gone = retired_versions(work.project)
    for case in work.cases:
        case.record.setdefault("versions", {})
    for name, cases in work.names("versions").items():
        how, successor = "deleted; it did not serve, so there is no successor", gone.get(name)
        if successor is not None:  # another erasure reached it while this one waited to be taken up
            how = "deleted before this erasure came to it"
        for case, about in zip(cases, _said_of(name, cases), strict=True):
            whole = {"successor": successor, "how": how, **case.found("versions")[name], **about}
            about.update(whole)
        with work.project.database.begin() as connection:
            retire(connection, name, about["successor"], cases[0].id)
        erase_reports_of(work, name, cases)
        remove_signed(work.project, VERSIONS, name)
        remove_signed(work.project, RUNTIMES, name)


def _said_of(version: str, cases: Sequence[Case]) -> list[JsonObject]:
    """What the records say of a version, one a case, to be added to."""
    return [case.record.setdefault("versions", {}).setdefault(version, {}) for case in cases]


def _why_not(work: Work, case: Case, manifest: JsonObject) -> str | None:
    """Why a version gets no successor, None if it gets one."""
    if case.successor_dataset is None:
        return f"no version can be trained on what is left ({case.record.get('no_successor')})"
    if work.withdraw_only and manifest["method"] in PRIVATE:
        return "training it anew would spend privacy budget again, and only withdrawing was asked for"
    if work.withdraw_only and manifest["method"] not in FROZEN:
        return f"its body saw the person (method {manifest['method']}), and only withdrawing was asked for"
    return None


def _withdraw(work: Work, version: str, alias_name: str, why: str) -> None:
    for about in _said_of(version, work.names("versions")[version]):
        about.update(successor=None, how=f"withdrawn from service: {why}")
    with work.project.database.begin() as connection:
        withdraw(work.project, connection, alias_name, "a person was erased")
        work.keep(connection)


def _how(project: Project, old: str, new: str) -> JsonObject:
    """What the receipt says of a successor, true of its method; a shard was kept if its file is the same."""
    how = "trained anew from the pretrained network on the rows that are left"
    if (spent := version_manifest(project, new).get("spent")) is not None:
        how += (
            ", with noise drawn anew: one draw of those that a training without the person could make, "
            f"not the same to the byte; it spent privacy budget again, epsilon = {spent['epsilon']:.3g} with "
            f"delta = {spent['delta']:g} after {spent['releases']} releases"
        )
        return {"how": how}
    before, after = shard_hashes(_folder(project, old)), shard_hashes(_folder(project, new))
    if not before or before.keys() != after.keys():
        return {"how": how}
    kept = {name: sha256 for name, sha256 in after.items() if before[name] == sha256}
    trained = {name: {"before": before[name], "after": after[name]} for name in after if name not in kept}
    return {
        "how": f"{len(trained)} of {len(after)} shards trained anew from the pretrained network on the rows "
        f"that are left, {len(kept)} kept to the byte; the temperature of their average found again",
        "shards_trained_anew": trained,
        "shards_kept": kept,
    }


def _folder(project: Project, version: str) -> Path:
    return project.kept / "versions" / version


def _train(
    work: Work, dataset: Dataset, manifest: JsonObject, settings: Settings
) -> tuple[VersionInfo, "Trained | SpanModel"]:
    from millwright.steps import make_version  # PyTorch, only where it must be
    from millwright.train.ensemble import read_members

    info, model, _ = make_version(
        work.project,
        dataset,
        settings,
        searched=manifest["facts"].get("search"),
        progress=work.progress,
        known=read_members(_folder(work.project, manifest["name"])),
    )
    return info, model


def _settings_of(project: Project, manifest: JsonObject) -> Settings:
    """The settings that a version was made with, where they matter to training."""
    made = {section: manifest["settings"][section] for section in ("backbone", "train")}
    return Settings.model_validate({**project.settings.model_dump(), **made})
