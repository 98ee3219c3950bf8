"""The queue as it is kept: rows to look at, in order. Reading it loads no network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from millwright.errors import NotFound
from millwright.project import Project
from millwright.registry.versions import CHAMPION, version_manifest
from millwright.store.files import make_folder, read_json, write_json


@dataclass(frozen=True)
class Item:
    """A row to look at. `id` is "prediction:ID" or "row:ID"; `given` the label that it has, if any.

    `reason` is coverage, margin or chance (nobody labelled it), suspect (its label looks wrong) or
    disagreement (a user said another label than the model, which was sure). `choices` are the model's
    likeliest labels with their probabilities.
    """

    id: str
    text: str
    reason: str
    given: str | None
    choices: tuple[tuple[str, float], ...]


def write_queue(project: Project, version: str, queue: Sequence[Item]) -> None:
    """Keep a queue in place of the one before; what was labelled stays."""
    make_folder(project.kept / "review")
    items = [asdict(item) for item in queue]
    write_json(project.kept / "review" / "queue.json", {"version": version, "items": items})


def read_queue(project: Project) -> list[Item]:
    """The queue as it was built.

    Args:
        project: an open project.

    Returns:
        Its rows in order.

    Raises:
        NotFound: none was built yet.
    """
    file = project.kept / "review" / "queue.json"
    if not file.exists():
        raise NotFound("no review queue yet; run `millwright review build`")
    return [
        Item(**{**tree, "choices": tuple((label, share) for label, share in tree["choices"])})
        for tree in read_json(file)["items"]
    ]


def label_names(project: Project) -> list[str]:
    """The labels that may be given: the champion's."""
    return list(version_manifest(project, CHAMPION)["labels"])
