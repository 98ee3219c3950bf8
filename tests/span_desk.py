"""A desk where spans are to be found, of words that a tiny random encoder knows."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from millwright.project import Project, open_project
from millwright.settings import FILENAME, check_settings, dump_settings
from tests.desk import FILLING

SPANS = {"ITEM": (("card",), ("pin",)), "MOVE": (("transfer", "pending"), ("money", "sent"))}
PEOPLE = ("alma", "bob", "cyd", "dan", "eve")

SpanRow = dict[str, Any]


def span_row(chance: random.Random, person: str = "") -> SpanRow:
    """Filling words, with up to three spans of one or two words among them."""
    text, spans = "", []
    parts: list[tuple[str | None, tuple[str, ...]]] = [
        (None, (word,)) for word in chance.choices(FILLING, k=chance.randint(2, 5))
    ]
    if chance.random() < 0.3:
        parts.insert(0, (None, ("ada@example.com",)))  # it is masked, and what follows it moves
    for label in chance.choices(sorted(SPANS), k=chance.randint(0, 3)):
        parts.insert(chance.randint(0, len(parts)), (label, chance.choice(SPANS[label])))
    for label, words in parts:
        said = " ".join(words)
        text += f" {said}" if text else said
        if label:
            spans.append({"start": len(text) - len(said), "end": len(text), "label": label})
    return {"text": text, "spans": spans, "who": person}


def span_rows(count: int, seed: int = 0) -> list[SpanRow]:
    """Different texts whose words tell the spans, each of one of five people."""
    chance, rows = random.Random(seed), dict[str, SpanRow]()
    while len(rows) < count:
        row = span_row(chance, PEOPLE[len(rows) % len(PEOPLE)])
        rows.setdefault(str(row["text"]), row)
    return list(rows.values())


def span_project(
    folder: Path, encoder: Path, rows: Iterable[SpanRow], **sections: dict[str, object]
) -> Project:
    """A project of rows of spans over a tiny encoder; near duplicates are meant to be there."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    tree = {
        "project": {"task": "token-classification"},
        "backbone": {"name": str(encoder), "max_tokens": 16},
        **sections,
    }
    data = {"files": ["rows.jsonl"], "label": "spans", "subject": "who", "near_duplicate_similarity": 1.0}
    tree["data"] = data | tree.get("data", {})
    (folder / FILENAME).write_text(dump_settings(check_settings(tree, "test")), encoding="utf-8")
    return open_project(folder)
