"""Puts a trained model into a version's folder, and takes it out again.

A folder holds weights.safetensors (or a file a shard), classifier.json, tokenizer.json, manifest.json and
the model card README.md. It is sealed and never changes; which versions there are is in versions.py.
"""

import shutil
from importlib.metadata import version as installed_version

from sqlalchemy import func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from millwright.data.dataset import Dataset
from millwright.errors import BadInput, MillwrightError
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.budget import spend
from millwright.registry.card import model_card
from millwright.registry.signatures import VERSIONS, drop_signature, sign, verify_version
from millwright.registry.versions import VersionInfo, resolve, retired_versions
from millwright.settings import SPANS
from millwright.store.database import now
from millwright.store.files import sealed_folder, write_json, write_text
from millwright.store.tables import versions
from millwright.train.cost import Clock
from millwright.train.ensemble import Trained, open_trained
from millwright.train.fit import Fitted
from millwright.train.metrics import Evaluation
from millwright.train.span_metrics import SpanEvaluation
from millwright.train.span_model import SpanModel, is_span_model, open_span_model

MANIFEST_FORMAT = 1
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


def load_model(project: Project, name: str) -> Trained | SpanModel:
    """Load a version by name or alias, whatever its task.

    Args:
        project: an open project.
        name: a version or an alias.

    Returns:
        A classifier, or what finds spans.

    Raises:
        NotFound: no such version.
        Corrupt: a file of it was truncated, edited, added or removed; the message names the file.
    """
    folder = verify_version(project, resolve(project, name))
    return open_span_model(folder) if is_span_model(folder) else open_trained(folder)


def load_classifier(project: Project, name: str) -> Trained:
    """`load_model` for what only a classifier can do; BadInput if the version finds spans."""
    model = load_model(project, name)
    if isinstance(model, SpanModel):
        raise BadInput(
            f"version {name!r} finds spans (project.task {SPANS!r}), and this needs one label a text; "
            "name a version that classifies texts"
        )
    return model


def register(
    project: Project,
    dataset: Dataset,
    fitted: Fitted,
    evaluation: Evaluation | SpanEvaluation | None,
    clock: Clock | None = None,
) -> VersionInfo:
    """Write a trained model as the next version.

    Args:
        project: an open project.
        dataset: what it was trained on.
        fitted: the model and its facts.
        evaluation: what was measured on test rows, None where there are none.
        clock: has measured the stages so far, and measures the saving.

    Returns:
        The new version; no alias points to it yet.

    Raises:
        CannotStore: the disk is full or read-only; no version was added then.
    """
    clock = clock or Clock()
    with project.lock("registry"):
        number = _free_number(project)
        info = VersionInfo(
            name=f"v{number}",
            number=number,
            dataset=dataset.id,
            method=fitted.method,
            accuracy=evaluation.headline.value if evaluation else None,
            created_at=now(),
        )
        manifest = _manifest(project, info, dataset, fitted, evaluation)
        if (privacy := fitted.facts.get("privacy")) is not None:
            manifest["spent"] = spend(project, info.name, privacy)
        target = project.kept / "versions" / info.name
        with sealed_folder(target) as folder:
            with clock.stage("save", 1):
                fitted.classifier.save(folder)
            manifest["facts"] = fitted.facts | {
                "stages": fitted.facts["stages"] | clock.stages,
                "peak_memory_bytes": max(fitted.facts["peak_memory_bytes"], clock.peak_memory_bytes()),
            }
            write_json(folder / "manifest.json", manifest)
            write_text(folder / "README.md", model_card(manifest))
        row = {key: getattr(info, key) for key in versions.columns.keys()}  # noqa: SIM118, not a dict
        try:
            sign(project, VERSIONS, info.name)
            with project.database.begin() as connection:
                connection.execute(insert(versions).values(**row))
        except (MillwrightError, SQLAlchemyError):
            shutil.rmtree(target)
            drop_signature(project, VERSIONS, info.name)
            raise
    return info


def _free_number(project: Project) -> int:
    """The next number; a folder that a kill left without its line in the table keeps its own."""
    with project.database.connect() as connection:
        listed = connection.scalar(select(func.max(versions.c.number))) or 0
    left = [path.name for path in (project.kept / "versions").glob("v*")]
    left += retired_versions(project)
    return 1 + max([listed, *(int(name[1:]) for name in left if name[1:].isdecimal())])


def _manifest(
    project: Project,
    info: VersionInfo,
    dataset: Dataset,
    fitted: Fitted,
    evaluation: Evaluation | SpanEvaluation | None,
) -> JsonObject:
    return {
        "format": MANIFEST_FORMAT,
        "name": info.name,
        "project": project.settings.project.name,
        "task": project.settings.project.task,
        "created_at": info.created_at,
        "dataset": {"id": dataset.id, "splits": dataset.report["splits"]},
        "backbone": {"name": fitted.classifier.backbone.name, "sha256": fitted.classifier.backbone.sha256},
        "method": fitted.method,
        "why": fitted.why,
        "labels": list(fitted.classifier.labels),
        "metrics": evaluation.to_json() if evaluation else None,
        "settings": project.settings.model_dump(),
        "libraries": {name: installed_version(name) for name in LIBRARIES},
    }
