"""Recognises which column is the text, the label, the group and the subject, and says why."""

from dataclasses import dataclass, field

import polars as pl

from millwright.data.table import Table
from millwright.errors import BadInput, one_of
from millwright.modalities.text import is_number

TEXT_NAMES = (
    "text", "message", "sentence", "question", "review", "body", "content", "utterance", "comment", "input",
)  # fmt: skip
LABEL_NAMES = ("label", "intent", "category", "class", "target", "sentiment", "topic", "tag", "y", "output")
SUBJECT_NAMES = ("subject", "customer", "user", "person", "patient", "client", "member", "email")
GROUP_NAMES = ("group", "thread", "conversation", "session", "document", "case")
MAX_SLICE_VALUES = 12
SENTENCE = 40  # characters on average: longer than names and ids are
SAMPLE_ROWS = 5_000


@dataclass(frozen=True)
class Columns:
    """What each column was taken for, and the reasons, one sentence a column."""

    text: str
    label: str
    group: str | None
    subject: str | None
    slices: tuple[str, ...]
    reasons: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Look:
    """What the first rows of one column look like."""

    name: str
    mean_length: float
    distinct: int
    filled: int
    numeric_share: float


def recognise(
    table: Table,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    subject: str | None = None,
) -> Columns:
    """Find the columns that were not named.

    Args:
        table: a loaded file.
        text: the input's column, if known.
        label: the label's column, if known.
        group: the column whose rows must stay together, if known.
        subject: the column that names the person, if known.

    Returns:
        The columns and why each was taken.

    Raises:
        NotFound: a named column is not in the file.
        BadInput: no column can be the text or the label; the message says what to pass.
    """
    for name in (text, label, group, subject):
        if name is not None:
            one_of(f"column in {table.path.name}", name, table.columns)
    looks = {name: _look(table.frame, name) for name in table.columns}
    reasons = []
    if text is None:
        text, why = _find_text(table, looks, {label, group, subject})
        reasons.append(f"text = {text!r}: {why}")
    if label is None:
        label, why = _find_label(table, looks, {text, group, subject})
        reasons.append(f"label = {label!r}: {why}")
    if text == label:
        raise BadInput(f"column {text!r} is both text and label; name another with --text or --label")
    left = {name: look for name, look in looks.items() if name not in (text, label)}
    # Neither few values nor sentences name people or threads, whatever the column is called.
    nameable = {
        name: look for name, look in left.items() if not _is_slice(look) and look.mean_length < SENTENCE
    }
    if subject is None and (subject := _by_name(nameable, SUBJECT_NAMES)):
        reasons.append(f"subject = {subject!r}: its name says that it names a person")
    if group is None:
        group = _by_name({name: look for name, look in nameable.items() if name != subject}, GROUP_NAMES)
        if group:
            reasons.append(f"group = {group!r}: its name says that rows belong together")
        elif subject:
            group = subject
            reasons.append(f"group = {group!r}: one person's rows stay in one split")
    slices = tuple(name for name, look in left.items() if name not in (group, subject) and _is_slice(look))
    if slices:
        reasons.append(f"slices = {', '.join(map(repr, slices))}: few values, so quality is shown for each")
    return Columns(text, label, group, subject, slices, tuple(reasons))


def check_text_is_not_numbers(table: Table, text: str) -> None:
    """Raise BadInput if the text column holds numbers in nearly every row."""
    look = _look(table.frame, text)
    if look.filled and look.numeric_share > 0.95:
        raise BadInput(
            f"column {text!r} of {table.path.name} holds numbers, not text; name the text column with --text",
            field=text,
        )


def _look(frame: pl.DataFrame, name: str) -> _Look:
    values = [value for value in frame[name].head(SAMPLE_ROWS).to_list() if value.strip()]
    filled = len(values)
    return _Look(
        name,
        mean_length=sum(map(len, values)) / filled if filled else 0.0,
        distinct=len(set(values)),
        filled=filled,
        numeric_share=sum(map(is_number, values)) / filled if filled else 0.0,
    )


def _words(name: str) -> list[str]:
    return name.lower().replace("-", "_").replace(" ", "_").split("_")


def _by_name(looks: dict[str, _Look], names: tuple[str, ...]) -> str | None:
    """The first column one of whose words is among `names`, with repeated or distinct values alike."""
    for wanted in names:
        for name, look in looks.items():
            if wanted in _words(name) and look.filled:
                return name
    return None


def _find_text(table: Table, looks: dict[str, _Look], taken: set[str | None]) -> tuple[str, str]:
    wordy = {
        name: look
        for name, look in looks.items()
        if name not in taken and look.filled and look.numeric_share < 0.5
    }
    if not wordy:
        raise BadInput(f"no column of {table.path.name} holds text ({', '.join(looks)}); name it with --text")
    longest = max(wordy.values(), key=lambda look: (look.mean_length, look.name))
    named = _by_name(wordy, TEXT_NAMES)
    if named and wordy[named].mean_length >= 0.5 * longest.mean_length:
        return named, "its name, and it holds the longest texts"
    return longest.name, f"it holds the longest texts, {longest.mean_length:.0f} characters on average"


def _find_label(table: Table, looks: dict[str, _Look], taken: set[str | None]) -> tuple[str, str]:
    left = {name: look for name, look in looks.items() if name not in taken and look.filled}
    if named := _by_name(left, LABEL_NAMES):
        return named, f"its name, and it has {left[named].distinct} different values"
    few = [look for look in left.values() if 1 < look.distinct <= max(2, look.filled // 4)]
    if not few:
        raise BadInput(
            f"no column of {table.path.name} looks like a label ({', '.join(looks)}); name it with --label"
        )
    best = max(few, key=lambda look: (look.distinct, look.name))
    return best.name, f"it repeats {best.distinct} values over {best.filled} rows"


def _is_slice(look: _Look) -> bool:
    return 1 < look.distinct <= min(MAX_SLICE_VALUES, max(2, look.filled // 20)) and look.numeric_share < 0.5
