"""Pictures as SVG text. The same input gives the same bytes; no global state of matplotlib is touched."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from millwright.records import TurnRecord
from millwright.train.metrics import ClassScore, Confusion, ReliabilityBin

ACCENT, QUIET, INK = "#0f766e", "#94a3b8", "#334155"
MOST_LABELS = 40
SHOWN_CHARACTERS = 48


def turns_chart(turns: Sequence[TurnRecord]) -> str:
    """Quality per turn over the number of rows: the new version filled, the one before it hollow.

    Both points of a turn are measured on the same held-out rows, so the arrow between them is what
    the turn brought; held-out rows differ from turn to turn as traffic adds to them.
    """
    figure, axes = _canvas(7.2, 3.9)
    for turn in turns:
        if turn.before is not None:
            axes.annotate(
                "",
                (turn.rows, 100 * turn.after.value),
                (turn.rows, 100 * turn.before.value),
                arrowprops={"arrowstyle": "->", "color": QUIET, "shrinkA": 5, "shrinkB": 5},
            )
            axes.plot(turn.rows, 100 * turn.before.value, "o", mfc="white", mec=INK, ms=8, zorder=3)
        colour = ACCENT if turn.promoted else QUIET
        low, high = turn.after.value - turn.after.low, turn.after.high - turn.after.value
        axes.errorbar(
            turn.rows,
            100 * turn.after.value,
            yerr=[[100 * max(low, 0)], [100 * max(high, 0)]],
            fmt="o",
            color=colour,
            ms=9,
            capsize=4,
            zorder=4,
        )
        note = f"turn {turn.number}: {turn.challenger}" + ("" if turn.promoted else " (kept champion)")
        axes.annotate(
            note,
            (turn.rows, 100 * turn.after.value),
            (10, 6),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    axes.plot([], [], "o", color=ACCENT, label="new version, promoted (95 % interval)")
    axes.plot([], [], "o", mfc="white", mec=INK, label="version before it, same held-out rows")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.margins(x=0.25, y=0.2)
    axes.set_xlabel("rows that taught the version")
    axes.set_ylabel("accuracy on held-out rows, %")
    return _svg(figure)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy over confidence; on the diagonal, a probability means what it says."""
    figure, axes = _canvas(4.2, 3.6)
    axes.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--")
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=ACCENT, ms=5)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    return _svg(figure)


def per_class_f1(classes: Sequence[ClassScore]) -> str:
    """F1 a label, the lowest on top; at most 40 labels."""
    worst = sorted(classes, key=lambda score: score.f1)[:MOST_LABELS]
    figure, axes = _canvas(7.2, 0.9 + 0.22 * len(worst))
    axes.barh(range(len(worst)), [score.f1 for score in worst], color=ACCENT, height=0.65)
    _name_bars(axes, [f"{_short(score.label)} ({score.rows})" for score in worst])
    axes.set(xlim=(0, 1), xlabel="F1")
    return _svg(figure)


def confusions_chart(confused: Sequence[Confusion]) -> str:
    """The pairs that are taken for one another most often."""
    figure, axes = _canvas(7.2, 0.9 + 0.26 * max(1, len(confused)))
    axes.barh(range(len(confused)), [pair.count for pair in confused], color=ACCENT)
    _name_bars(axes, [f"{_short(pair.truth)} taken for {_short(pair.predicted)}" for pair in confused])
    axes.set_xlabel("rows")
    return _svg(figure)


def label_balance(labels: Mapping[str, Mapping[str, int]]) -> str:
    """Rows a label and split, the largest on top; at most 40 labels."""
    largest = sorted(labels.items(), key=lambda item: -sum(item[1].values()))[:MOST_LABELS]
    figure, axes = _canvas(7.2, 0.9 + 0.22 * len(largest))
    left = [0] * len(largest)
    for split, colour in (("train", ACCENT), ("validation", QUIET), ("test", INK)):
        counts = [splits[split] for _, splits in largest]
        axes.barh(range(len(largest)), counts, left=left, color=colour, height=0.65, label=split)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    _name_bars(axes, [_short(name) for name, _ in largest])
    axes.set_xlabel("rows")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Write a name at each bar, the first on top; dollars in a label are no mathematics."""
    axes.set_yticks(range(len(names)), list(names), parse_math=False)
    axes.invert_yaxis()


def _short(label: str) -> str:
    return label if len(label) <= SHOWN_CHARACTERS else label[: SHOWN_CHARACTERS - 1] + "…"


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="x", color="#e2e8f0", lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    options: Any = {"svg.hashsalt": "millwright", "svg.fonttype": "none", "font.family": "sans-serif"}
    with mpl.rc_context(options), warnings.catch_warnings():
        # The reader's fonts draw the text, so it does not matter which letters ours lack.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(out, format="svg", metadata={"Date": None}, facecolor="white")
    text = out.getvalue()
    return text[text.index("<svg") :]
