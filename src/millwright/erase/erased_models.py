"""The steps of an erasure that reach the model: a dataset without the person, successors, retirement."""

from pathlib import Path

from millwright.data.dataset import Dataset, open_dataset
from millwright.data.prepare import prepare
from millwright.erase.erased_data import erase_reports_of, remove
from millwright.erase.work import Work
from millwright.errors import BadInput, NotFound
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.signatures import drop_signature
from millwright.registry.versions import (
    CHALLENGER,
    CHAMPION,
    VersionInfo,
    alias,
    find_made,
    point,
    retire,
    version_manifest,
    withdraw,
)
from millwright.serve.runtime_record import is_measured
from millwright.settings import FROZEN, Settings
from millwright.train.shards import shard_hashes, weights_sha256


def make_successor_dataset(work: Work) -> None:
    """Prepare the dataset that is to stand in place of those that held the person, if any did."""
    if not work.record["found"]["datasets"] or "successor_dataset" in work.record:
        return
    try:
        work.record["successor_dataset"] = prepare(work.project, progress=work.progress).id
    except BadInput as error:
        work.record.update(successor_dataset=None, no_successor=str(error))


def train_successors(work: Work) -> None:
    """Train each version that serves and saw the person anew, without the person, and let it serve instead.

    It starts from the pretrained network and sees the rows that are left, in the same order and with the
    same settings as a training from files that never held the person: it is that training, but for the noise
    of a private head, which is drawn anew and spends privacy budget again.
    """
    for name in (CHAMPION, CHALLENGER):
        old = alias(work.project, name)
        if old is None or old not in work.record["found"]["versions"]:
            continue
        about = work.record.setdefault("versions", {}).setdefault(old, {})
        about.setdefault("served_as", []).append(name)
        manifest = version_manifest(work.project, old)
        why_not = _why_not(work, manifest)
        if why_not is not None:
            _withdraw(work, old, name, why_not)
            continue
        dataset = open_dataset(work.project, work.record["successor_dataset"])
        # This erasure may have trained it before it was killed, or for the other alias.
        settings, seen = _settings_of(work.project, manifest), work.record["found"]["versions"]
        made = find_made(work.project, dataset.id, settings, but=seen)
        try:
            new = (made or _train(work, dataset, manifest, settings)).name
        except BadInput as error:  # too few rows or people are left for this method
            _withdraw(work, old, name, f"no version can be trained on what is left ({error})")
            continue
        except NotFound as error:  # it may come back: who cannot wait asks to withdraw only
            if not work.withdraw_only:
                raise
            _withdraw(work, old, name, f"its backbone cannot be loaded ({error})")
            continue
        if not is_measured(work.project, new):
            from millwright.serve.runtimes import choose_runtime  # PyTorch, only where it must be

            choose_runtime(work.project, new, work.progress)
        about.update(
            successor=new,
            successor_dataset=dataset.id,
            successor_sha256=weights_sha256(_folder(work.project, new)),
            **_how(work.project, old, new),
        )
        with work.project.database.begin() as connection:  # who serves and what is known of it go together
            point(work.project, connection, new, f"successor of {old}: a person was erased", name)
            work.keep(connection)


def erase_versions(work: Work) -> None:
    """Retire and delete every version that a dataset with the person made; none of them serves any more."""
    done = work.record.setdefault("versions", {})
    for name, found in work.record["found"]["versions"].items():
        about = done[name] = {**found, **done.get(name, {})}
        about.setdefault("successor", None)
        about.setdefault("how", "deleted; it did not serve, so there is no successor")
        with work.project.database.begin() as connection:
            retire(connection, name, about["successor"], work.id)
        erase_reports_of(work, name)
        remove(work.project.kept / "versions" / name)
        drop_signature(work.project, name)
        remove(work.project.kept / "runtimes" / name)


def _why_not(work: Work, manifest: JsonObject) -> str | None:
    """Why a version gets no successor, None if it gets one."""
    if work.record.get("successor_dataset") is None:
        return f"no version can be trained on what is left ({work.record.get('no_successor')})"
    if work.withdraw_only and manifest["method"] == "private-head":
        return "training it anew would spend privacy budget again, and only withdrawing was asked for"
    if work.withdraw_only and manifest["method"] not in FROZEN:
        return f"its body saw the person (method {manifest['method']}), and only withdrawing was asked for"
    return None


def _withdraw(work: Work, version: str, alias_name: str, why: str) -> None:
    work.record["versions"][version].update(successor=None, how=f"withdrawn from service: {why}")
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


def _train(work: Work, dataset: Dataset, manifest: JsonObject, settings: Settings) -> VersionInfo:
    from millwright.steps import make_version  # PyTorch, only where it must be
    from millwright.train.ensemble import read_members

    info, _ = make_version(
        work.project,
        dataset,
        settings,
        searched=manifest["facts"].get("search"),
        progress=work.progress,
        known=read_members(_folder(work.project, manifest["name"])),
    )
    return info


def _settings_of(project: Project, manifest: JsonObject) -> Settings:
    """The settings that a version was made with, where they matter to training."""
    made = {section: manifest["settings"][section] for section in ("backbone", "train")}
    return Settings.model_validate({**project.settings.model_dump(), **made})
