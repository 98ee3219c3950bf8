"""The steps of an erasure that reach the model: a dataset without the person, successors, retirement."""

from millwright.data.dataset import Dataset, open_dataset
from millwright.data.prepare import prepare
from millwright.erase.erased_data import erase_reports_of, remove
from millwright.erase.work import Work
from millwright.errors import BadInput
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
from millwright.store.files import sha256_file

WEIGHTS = "weights.safetensors"


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
        new, why_not = None, _why_not(work, manifest)
        if why_not is None:
            try:
                new = _successor(work, manifest)
            except BadInput as error:  # too few rows or people are left for this method
                why_not = str(error)
        if new is None:
            about.update(successor=None, how=f"withdrawn from service: {why_not}")
            with work.project.database.begin() as connection:
                withdraw(work.project, connection, name, "a person was erased")
                work.keep(connection)
            continue
        if not is_measured(work.project, new):
            from millwright.serve.runtimes import choose_runtime  # PyTorch, only where it must be

            choose_runtime(work.project, new, work.progress)
        about.update(
            successor=new,
            successor_dataset=work.record["successor_dataset"],
            successor_sha256=sha256_file(work.project.kept / "versions" / new / WEIGHTS),
            how=_how(work, new),
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


def _successor(work: Work, manifest: JsonObject) -> str:
    """The version without the person; this erasure may have trained it before it was killed."""
    dataset = open_dataset(work.project, work.record["successor_dataset"])
    settings, seen = _settings_of(work.project, manifest), work.record["found"]["versions"]
    made = find_made(work.project, dataset.id, settings, but=seen)
    return (made or _train(work, dataset, manifest, settings)).name


def _how(work: Work, name: str) -> str:
    """What a successor is, in words that are true of its method."""
    how = "trained anew from the pretrained network on the rows that are left"
    if (spent := version_manifest(work.project, name).get("spent")) is None:
        return how
    return (
        f"{how}, with noise drawn anew: one draw of those that a training without the person could make, "
        f"not the same to the byte; it spent privacy budget again, epsilon = {spent['epsilon']:.3g} with "
        f"delta = {spent['delta']:g} after {spent['releases']} releases"
    )


def _train(work: Work, dataset: Dataset, manifest: JsonObject, settings: Settings) -> VersionInfo:
    from millwright.steps import make_version  # PyTorch, only where it must be

    searched = manifest["facts"].get("search")
    info, _ = make_version(work.project, dataset, settings, searched=searched, progress=work.progress)
    return info


def _settings_of(project: Project, manifest: JsonObject) -> Settings:
    """The settings that a version was made with, where they matter to training."""
    made = {section: manifest["settings"][section] for section in ("backbone", "train")}
    return Settings.model_validate({**project.settings.model_dump(), **made})
