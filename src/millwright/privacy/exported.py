"""What was written out of a project of whom, as the audit log knows it: such copies are out of reach."""

import json
from collections.abc import Collection, Iterable

from millwright.privacy.audit import Details, audit_file, record
from millwright.project import Project

EXPORTED = "exported"
PEOPLE_A_LINE = 1_000  # a reader of the log must be able to bear it


def note_export(project: Project, people: Iterable[str | None], details: Details) -> None:
    """Note that rows of people leave the project; call it before they do, so that the log knows each copy.

    Args:
        project: an open project.
        people: their pseudonyms, None for rows of nobody.
        details: what it is, without the file's name, which may name a person.

    Raises:
        CannotStore: the log cannot be written.
        Corrupt: its last line cannot be read.
    """
    known = sorted({person for person in people if person is not None})
    for start in range(0, max(1, len(known)), PEOPLE_A_LINE):
        part = known[start : start + PEOPLE_A_LINE]
        subject = part[0] if len(known) == 1 else None
        named = {"subjects": " ".join(part)} if len(known) > 1 else {}
        record(project, EXPORTED, subject=subject, details={**details, **named})


def exports_of(project: Project, people: Collection[str]) -> dict[str, dict[str, str]]:
    """Which exports hold rows of people, as the audit log says; whether it is whole `verify_chain` tells.

    Args:
        project: an open project.
        people: pseudonyms.

    Returns:
        By pseudonym, what each export is by its hour, oldest first.
    """
    found = dict[str, dict[str, str]]()
    path, mark = audit_file(project), f'"{EXPORTED}"'
    for written in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
        if mark not in written:
            continue
        try:
            line = json.loads(written)
            action, at, details = line["action"], line["at"], dict(line["details"])
            named = {line["subject"], *str(details.pop("subjects", "")).split()}
        except (ValueError, KeyError, TypeError):
            continue  # a torn line, or one that somebody changed
        if action == EXPORTED:
            for person in named.intersection(people):
                told = ", ".join(f"{name} {value}" for name, value in details.items())
                own = found.setdefault(person, {})
                own[at] = f"{own[at]}; {told}" if at in own else told
    return found
