"""Reviewing at a terminal, a key a row: a number or Enter labels, s passes, u takes back, q leaves.

Everything is kept as it is typed; the same command goes on where it was left.
"""

from collections.abc import Callable

from millwright.errors import NotFound
from millwright.project import Project
from millwright.review.annotations import annotate, next_items, undo
from millwright.review.items import Item, label_names

HELP = "Enter or 1-9 labels, / and a label's beginning, then Enter, s passes, u takes back, q leaves"
ENTER = ("\r", "\n")


def review_rows(project: Project, annotator: str, key: Callable[[], str], show: Callable[[str], None]) -> int:
    """Show rows one after the other until none is left or the annotator leaves.

    Args:
        project: a project whose queue was built.
        annotator: whose labels they are.
        key: waits for a key and returns it, or "" once there is none to come.
        show: shows a line.

    Returns:
        How many rows were labelled or passed over, those taken back not counted.
    """
    labels, needed, done = label_names(project), project.settings.review.annotators, 0
    show(HELP)
    while items := next_items(project, annotator, 1, needed):
        item = items[0]
        offered = _offered(item, labels)
        show(_shown(item, offered))
        pressed = key()
        if pressed in ("q", ""):
            break
        if pressed == "u":
            try:
                show(f"taken back: {undo(project, annotator).item}")
                done -= 1
            except NotFound as nothing:
                show(str(nothing))
        elif pressed == "s":
            annotate(project, item.id, annotator, None)
            done += 1
        elif (label := _label(pressed, item, offered, labels, key, show)) is not None:
            annotate(project, item.id, annotator, label)
            done += 1
        else:
            show(HELP)
    else:
        show("no row is left")
    return done


def _offered(item: Item, labels: list[str]) -> list[str]:
    """At most nine labels: the model's, the one given, then others."""
    likely = [label for label, _ in item.choices] + ([item.given] if item.given else [])
    return list(dict.fromkeys([*likely, *labels]))[:9]


def _shown(item: Item, offered: list[str]) -> str:
    # Of unlabelled rows no reason is shown: gold rows have that of rows drawn by chance.
    given = f" ({item.reason}, labelled {item.given})" if item.given else ""
    choices = "  ".join(f"{place} {label}" for place, label in enumerate(offered, start=1))
    return f"\n{item.text}{given}\n{choices}"


def _label(
    pressed: str,
    item: Item,
    offered: list[str],
    labels: list[str],
    key: Callable[[], str],
    show: Callable[[str], None],
) -> str | None:
    """The label that a key means, None if it means none; that of Enter is the model's, else the one given."""
    if pressed in ENTER:
        return item.choices[0][0] if item.choices else item.given
    if pressed.isdigit() and 1 <= int(pressed) <= len(offered):
        return offered[int(pressed) - 1]
    if pressed != "/":
        return None
    typed = ""
    while (pressed := key()) not in (*ENTER, ""):
        typed = typed[:-1] if pressed in ("\x7f", "\b") else typed + pressed
        fitting = [label for label in labels if label.startswith(typed)]
        show(f"/{typed}  {', '.join(fitting[:9]) or 'no label begins so'}")
    fitting = [label for label in labels if label.startswith(typed)]
    return typed if typed in labels else fitting[0] if typed and len(fitting) == 1 else None
