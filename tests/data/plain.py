"""What `prepare` promises, row by row in plain Python: the reference that its parts and pieces must meet."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from itertools import combinations

import numpy as np

from millwright.data.split import split_of
from millwright.modalities.text import canonical, clean, is_broken
from millwright.records import SPLITS, Row

LISTED = 50


def group_name(data, text, group, subject):
    value = subject if data.group is not None and data.group == data.subject else group
    return f"g:{value}" if value else f"t:{canonical(text)}"


def file_rows(data, name, table, *, only_test):
    """Rows without ids, and (file, row, reason) of those left out; `table` is a list of dicts."""
    test_share = 0.0 if data.test_files else data.test_share
    rows, excluded = [], []
    for number, line in enumerate(table, start=1):
        text, label = clean(line[data.text]), clean(line[data.label])
        if not text or not label or len(text) > data.max_characters:
            what = "empty text" if not text else "empty label" if not label else None
            excluded.append((name, number, what or f"longer than {data.max_characters} characters"))
            continue
        group = line[data.group] if data.group else None
        subject = (line[data.subject] or None) if data.subject else None
        group = group_name(data, text, group, subject)
        split = split_of(group, data.split_seed, data.validation_share, test_share)
        slices = tuple((own, line[own]) for own in data.slices)
        split = "test" if only_test else split
        rows.append(Row("", text, label, split, f"file:{name}:{number}", group, subject, slices))
    return rows, excluded


def without_repeats(rows):
    first, kept, excluded = {}, [], []
    for row in rows:
        key = canonical(row.text), row.label, row.split == "test"
        if key in first:
            kind, _, rest = row.source.partition(":")
            file, number = rest.rsplit(":", 1) if kind == "file" else (row.source, 0)
            excluded.append((file, int(number), f"exact duplicate of {first[key].source}"))
        else:
            first[key] = row
            kept.append(row)
    return kept, excluded


def numbered(rows):
    def digest(row):
        said = (row.text, row.label, row.group, "test" if row.split == "test" else "", "1")
        return hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]

    return [replace(row, id=digest(row)) for row in rows]


def moved_to_training(rows, data):
    def may_train(row):
        return row.split != "test" or (row.source.startswith("file:") and not data.test_files)

    trained = {row.label for row in rows if row.split == "train"}
    movable = defaultdict(list)
    for row in rows:
        if row.label not in trained and row.source.startswith("file:") and may_train(row):
            movable[row.label].append(row)
    groups = {min(found, key=lambda row: row.id).group for found in movable.values()}
    notes = [f"label {label!r} had no row in training; one group of it was moved there" for label in movable]
    unknown = sorted({row.label for row in rows} - trained - set(movable))
    notes += [f"label {label!r} has only test rows, so no version can learn it" for label in unknown]
    return [
        replace(row, split="train") if row.group in groups and may_train(row) else row for row in rows
    ], notes


def shingles(text):
    words = text.split()
    if len(words) == 1 and not text.isascii():
        words = list(words[0])
    return {(word,) for word in words} | set(zip(words, words[1:], strict=False))


def near_pairs(rows, similarity):
    """For each text the most similar one before it in the order of ids, if similar enough."""
    first = {}
    for row in rows:
        first.setdefault(canonical(row.text), row)
    texts = sorted(first, key=lambda text: first[text].id)
    sets = [shingles(text) for text in texts]
    best = {}
    for earlier, later in combinations(range(len(texts)), 2):
        found = len(sets[earlier] & sets[later]) / len(sets[earlier] | sets[later])
        if found >= similarity and found > best.get(later, (0,))[0]:
            best[later] = found, first[texts[earlier]], first[texts[later]]
    return list(best.values())


def listed(groups):
    return {"count": len(groups), "listed": [[row.source for row in group] for group in groups[:LISTED]]}


def report(rows, data, order):
    """`rows` in reading order; `order` gives a source's place in it."""
    by_text = defaultdict(list)
    for row in rows:
        by_text[canonical(row.text)].append(row)
    pairs = [
        sorted((one, other), key=lambda row: order[row.source]) + [round(found, 3)]
        for found, one, other in near_pairs(rows, data.near_duplicate_similarity)
    ]
    pairs.sort(key=lambda pair: (order[pair[1].source], order[pair[0].source]))
    lengths = np.quantile([len(row.text) for row in rows], [0, 0.05, 0.5, 0.95, 1]).round().astype(int)
    groups = defaultdict(set)
    for row in rows:
        groups[row.group].add(row.split)
    labels = Counter((row.label, row.split) for row in rows)
    sums = Counter(row.label for row in rows)
    return {
        "rows": len(rows),
        "splits": {split: sum(row.split == split for row in rows) for split in SPLITS},
        "labels": {label: {split: labels[label, split] for split in SPLITS} for label in sorted(sums)},
        "largest_over_smallest_label": round(max(sums.values()) / min(sums.values()), 2),
        "characters": dict(zip(("min", "p05", "median", "p95", "max"), lengths.tolist(), strict=True)),
        "near_duplicates": {
            "pairs": len(pairs),
            "across_splits": sum(one.split != other.split for one, other, _ in pairs),
            "listed": [[one.source, other.source, found] for one, other, found in pairs[:LISTED]],
        },
        "texts_in_more_than_one_split": listed(
            [same for same in by_text.values() if len({row.split for row in same}) > 1]
        ),
        "groups_in_more_than_one_split": sum(len(found) > 1 for found in groups.values()),
        "conflicting_labels": listed(
            [same for same in by_text.values() if len({row.label for row in same}) > 1]
        ),
        "broken_texts": listed([[row] for row in rows if is_broken(row.text)]),
    }


def prepared(data, tables, feedback):
    """(rows in canonical order, report, excluded, content of rows.jsonl) of tables by file name."""
    drafts, excluded = [], []
    for name, table in tables.items():
        rows, left = file_rows(data, name, table, only_test=name in data.test_files)
        drafts += rows
        excluded += left
    drafts += feedback
    order = {row.source: place for place, row in enumerate(drafts)}
    kept, repeats = without_repeats(drafts)
    rows, notes = moved_to_training(numbered(kept), data)
    excluded += repeats
    reasons = Counter(reason.split(" of ")[0] for _, _, reason in excluded)
    whole = {**report(rows, data, order), "excluded": dict(reasons), "notes": notes}
    ordered = sorted(rows, key=lambda row: row.id)
    trees = [{**asdict(row), "slices": dict(row.slices)} for row in ordered]
    content = "".join(json.dumps(tree, ensure_ascii=False) + "\n" for tree in trees)
    return ordered, whole, excluded, content.encode()
