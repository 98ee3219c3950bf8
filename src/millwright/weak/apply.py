"""Keeps what labelling functions say of unlabelled files as weak.jsonl, one more source of `prepare`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from millwright.data.dataset import write_lines
from millwright.data.table import ROW
from millwright.data.weak import SOURCE, VOTES, WEAK_FILE, pattern_of
from millwright.errors import BadInput
from millwright.privacy.audit import record as note
from millwright.progress import Progress, quiet
from millwright.project import Project
from millwright.store.files import part_of, storing
from millwright.weak.functions import LabellingFunction
from millwright.weak.report import NO_VOTE, WeakReport, labelled_rows, summarise
from millwright.weak.votes import TEXT, Piece, Tally, cast_votes


def apply_weak(
    project: Project,
    files: Sequence[Path],
    functions: Sequence[LabellingFunction],
    progress: Progress = quiet,
) -> WeakReport:
    """Write weak.jsonl anew: each row of the files that got a vote, its text masked, and the votes.

    Args:
        project: an open project.
        files: unlabelled files.
        functions: what to ask.
        progress: called with a stage's name and the fraction done.

    Returns:
        What the functions are worth.

    Raises:
        NotFound: a file or a column is missing.
        BadInput: a file or a function cannot be used, or no function voted; the earlier weak.jsonl stands
            then.
        CannotStore: the disk is full or read-only.
        Busy: a training, a turn or an erasure runs.
    """
    names = {project.settings.data.text, project.settings.data.subject, project.settings.data.group}
    if reserved := {VOTES, SOURCE} & names:
        raise BadInput(f"{WEAK_FILE} has its own column {reserved.pop()!r}; name yours otherwise")
    tally = Tally()

    def lines() -> Iterator[bytes]:
        """The rows that got a vote, as JSON lines."""
        for piece in cast_votes(project, files, functions, lambda done: progress("ask functions", done)):
            tally.add(piece)
            yield _lines(piece, project.settings.data.text)

    path = project.folder / WEAK_FILE
    with project.lock("train"), storing(path), part_of(path) as temporary:  # an erasure holds the lock too
        write_lines(temporary, lines())
        if not any(pattern != NO_VOTE for pattern in tally.patterns):
            none = f"no function voted on any of {tally.rows:,} rows"
            raise BadInput(f"{none}; mend the functions, or name other files")
        temporary.replace(path)
    note(project, "weak labels applied", details={"rows": tally.rows, "functions": len(functions)})
    return summarise(tally, functions, labelled_rows(project, progress))


def clear_weak(project: Project) -> bool:
    """Delete weak.jsonl, and tell whether there was one."""
    path = project.folder / WEAK_FILE
    with project.lock("train"), storing(path):
        was_there = path.is_file()
        path.unlink(missing_ok=True)
    return was_there


def _lines(piece: Piece, text: str) -> bytes:
    lines = []
    for row, votes in zip(piece.rows.iter_rows(named=True), piece.votes, strict=True):
        if votes:
            number = row.pop(ROW)
            about = {text: row.pop(TEXT), **row, SOURCE: f"file:{piece.source}:{number}"}
            about[VOTES] = json.loads(pattern_of(votes))
            lines.append(json.dumps(about, ensure_ascii=False).encode() + b"\n")
    return b"".join(lines)
