"""The queue as JSON of Label Studio and of Argilla, and their annotations back.

A row carries its id in `data.millwright_id` (Label Studio) or `id` (Argilla), by which it comes home.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from millwright.data.dataset import open_dataset
from millwright.errors import BadInput, NotFound, one_of
from millwright.privacy.exported import note_export
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import JsonObject
from millwright.registry.versions import CHAMPION, version_manifest
from millwright.review.annotations import Annotation, gold_items, keep_all, queue_with_gold, verdicts
from millwright.review.items import Item, label_names, read_queue
from millwright.store.database import now
from millwright.store.files import write_json, write_text

FROM, TO = "label", "text"


def export_queue(project: Project, path: Path, tool: str) -> int:
    """Write the queue for a labelling tool, the model's guesses as its suggestions, every tenth a gold row.

    Beside tasks for Label Studio stands the labelling configuration that they need, with the ending .xml.

    Args:
        project: a project whose queue was built.
        path: the JSON file to write.
        tool: "label-studio" or "argilla".

    Returns:
        How many rows were written.

    Raises:
        NotFound: no queue was built, or no such tool.
        CannotStore: the file or the audit log cannot be written.
    """
    write, _ = TOOLS[one_of("tool", tool, TOOLS)]
    queue = queue_with_gold(project)
    owners = {item.owner for item in queue}
    note_export(project, owners, {"what": f"review queue for {tool}", "rows": len(queue)})
    write_json(path, [write(item) for item in queue])
    if tool == "label-studio":
        write_text(path.with_suffix(".xml"), labelling_config(label_names(project)))
    return len(queue)


def labelling_config(labels: Sequence[str]) -> str:
    """The labelling configuration of Label Studio for texts with one label each."""
    choices = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in labels)
    return (
        f'<View>\n  <Text name="{TO}" value="${TO}"/>\n'
        f'  <Choices name="{FROM}" toName="{TO}" choice="single">\n{choices}  </Choices>\n</View>\n'
    )


def import_labels(project: Project, path: Path, tool: str) -> int:
    """Take annotations from a labelling tool's export.

    Args:
        project: a project whose queue has the rows.
        path: the JSON file.
        tool: "label-studio" or "argilla".

    Returns:
        How many annotations were kept; nothing is kept where one cannot be.

    Raises:
        NotFound: no such file or tool; a row or a label that is not known.
        BadInput: the file is not what the tool writes.
    """
    _, read = TOOLS[one_of("tool", tool, TOOLS)]
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"no file {path}; check the path") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not JSON in UTF-8 ({error}); export it again") from None
    known = {item.id: item.reason for item in (*read_queue(project), *gold_items(project))}
    labels = label_names(project)
    try:
        found = [said for task in tree for said in read(task)]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadInput(
            f"{path} is not what {tool} writes ({type(error).__name__}: {error}); export whole tasks as JSON"
        ) from None
    made = []
    for item, who, label in found:
        one_of("row", item, known)
        one_of("label", label, labels)
        made.append(Annotation(item, f"{tool}:{who}", label, known[item], now()))
    keep_all(project, made)
    return len(made)


def export_corrections(project: Project, path: Path) -> int:
    """Write the rows of files that reviewers gave another label, for you to mend: file, row, old and new.

    Args:
        project: a project whose queue was reviewed.
        path: the CSV file to write.

    Returns:
        How many rows there are.

    Raises:
        NotFound: no queue was built.
        CannotStore: the file or the audit log cannot be written.
    """
    agreed = verdicts(project, project.settings.review.annotators)
    dataset = version_manifest(project, CHAMPION)["dataset"]["id"]
    rows = {f"row:{row.id}": row for row in open_dataset(project, dataset).rows}
    lines, people = [], set[str | None]()
    for item in read_queue(project):
        label, row = agreed.get(item.id), rows.get(item.id)
        if row is not None and label not in (None, row.label):
            lines.append([row.source, row.text, row.label, label])
            people.add(row.subject)
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([["source", "text", "label", "corrected"], *lines])
    if lines:
        vault = open_vault(project)
        note_export(project, map(vault.pseudonym, people), {"what": "corrected rows", "rows": len(lines)})
    write_text(path, content.getvalue())
    return len(lines)


def _to_label_studio(item: Item) -> JsonObject:
    return {
        "data": {TO: item.text, "millwright_id": item.id, "reason": item.reason, "given": item.given},
        "predictions": [
            {
                "model_version": "millwright",
                "score": share,
                "result": [
                    {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [label]}}
                ],
            }
            for label, share in item.choices[:1]
        ],
    }


def _from_label_studio(task: Any) -> Sequence[tuple[str, str, str]]:
    item = task["data"]["millwright_id"]
    found = []
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        who = annotation.get("completed_by", "somebody")
        who = who.get("email") or who["id"] if isinstance(who, dict) else who
        for result in annotation["result"]:
            if result["type"] == "choices":
                found.append((item, str(who), result["value"]["choices"][0]))
    return found


def _to_argilla(item: Item) -> JsonObject:
    guesses = [{"value": label, "score": share, "agent": "millwright"} for label, share in item.choices]
    return {
        "id": item.id,
        "fields": {TO: item.text},
        "metadata": {"reason": item.reason, **({"given": item.given} if item.given else {})},
        "suggestions": {FROM: guesses[0]} if guesses else {},
        "responses": {},
        "vectors": {},
        "status": "pending",
    }


def _from_argilla(record: Any) -> Sequence[tuple[str, str, str]]:
    said = record["responses"].get(FROM, [])
    return [
        (record["id"], str(one["user_id"]), one["value"])
        for one in said
        if one.get("status", "submitted") == "submitted" and one["value"] is not None
    ]


TOOLS: dict[str, tuple[Callable[[Item], JsonObject], Callable[[Any], Sequence[tuple[str, str, str]]]]] = {
    "label-studio": (_to_label_studio, _from_label_studio),
    "argilla": (_to_argilla, _from_argilla),
}
