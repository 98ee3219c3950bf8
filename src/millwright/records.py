"""Frozen records that cross folders. One name for one thing; see docs/architecture.md for the nouns.

They hold data only: no record opens a file, a connection or a model.
"""

from dataclasses import dataclass
from typing import Any

SPLITS = ("train", "validation", "test")
WEAK = "weak:"  # begins the source of a row that labelling functions labelled


@dataclass(frozen=True)
class Row:
    """One labelled example of a dataset.

    `id` is stable over dataset versions: a hash of what the row says, wherever it stands.
    `source` is "file:NAME:ROW", "feedback:PREDICTION" or "weak:ROW", a row of weak.jsonl. `slices` are
    columns to report by. Where spans are to be found, `label` is all of them in one line of JSON; see
    modalities/spans.py.
    """

    id: str
    text: str
    label: str
    split: str
    source: str
    group: str
    subject: str | None = None
    slices: tuple[tuple[str, str], ...] = ()

    @property
    def is_weak(self) -> bool:
        """True if labelling functions gave the label, and nobody looked."""
        return self.source.startswith(WEAK)


@dataclass(frozen=True)
class Excluded:
    """A row that was left out of a dataset, and why; `row` counts from 1 after the header."""

    file: str
    row: int
    reason: str


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval: `low` and `high` bound the middle 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Answer:
    """What a model says of one input: labels by falling probability, at least one.

    Where spans are to be found: their labels and probabilities in the order of the text, perhaps none, and
    `places`, their start and end (exclusive) in the text as it came.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    places: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class Prediction:
    """An answer that was given, with the id by which users refer to it.

    `ask` tells that the user is one of those who are always asked for the right label: the held-out
    ones, so that what is measured on their answers is not biased towards the model's mistakes. During an
    experiment `traffic` names the shares in force, `arm` which of them answered and `propensity` with
    which probability; `unit` is set where no subject was named. `seconds` is how long the
    request took, None where any of its inputs was answered from memory.
    """

    id: str
    version: str
    text: str
    label: str
    probability: float
    subject: str | None
    ask: bool
    created_at: str
    traffic: int | None = None
    arm: str | None = None
    propensity: float | None = None
    unit: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Shadow:
    """What a version that nobody saw would have answered; `failure` instead, where it could not.

    `seconds` is as of `Prediction`, and the same where both answered over one pass of the network.
    """

    id: str
    prediction: str
    version: str
    label: str | None
    probability: float | None
    seconds: float | None
    failure: str | None
    created_at: str


@dataclass(frozen=True)
class Failure:
    """A request that a version did not answer during an experiment; `kind` is the error's class.

    "HungUp" is the kind of those whose client did not wait.
    """

    id: str
    traffic: int
    arm: str
    propensity: float
    unit: str | None
    subject: str | None
    kind: str
    created_at: str


@dataclass(frozen=True)
class Opinion:
    """What a user said of a prediction, or what became of it.

    At least one of `label`, `rating`, `comment`, `csat`, `nps`, `outcome` is set. `key` is the client's own
    name for it, under which it is kept once. `asked_with` is the probability with which the user was
    asked, where a survey asked.
    """

    id: str
    prediction: str
    label: str | None
    rating: int | None
    comment: str | None
    created_at: str
    csat: int | None = None
    nps: int | None = None
    outcome: str | None = None
    key: str | None = None
    asked_with: float | None = None


@dataclass(frozen=True)
class ProposedRow:
    """A labelled opinion on its way into the next dataset, by the turn that takes it."""

    prediction: str
    opinion: str
    text: str
    label: str
    subject: str | None
    split: str
    turn: int


@dataclass(frozen=True)
class TurnRecord:
    """One turn of the wheel, as it stands in the table of turns.

    `before` and `after` are the accuracies of champion and challenger on the same held-out rows;
    in the first turn there is no champion and `before` is None. `blocked` are the gates that it did not
    pass, in words. Where `decided_by` is "users", an experiment decides on a challenger that passed them.
    """

    number: int
    dataset: str
    rows: int
    new_rows: int
    champion: str | None
    challenger: str
    before: Interval | None
    after: Interval
    held_out: int
    p_value: float | None
    promoted: bool
    reason: str
    created_at: str
    decided_by: str = "rows"
    blocked: tuple[str, ...] = ()


JsonObject = dict[str, Any]
