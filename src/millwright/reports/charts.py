"""Pictures as SVG text. The same input gives the same bytes; no global state of matplotlib is touched.

Colours are plain, so that a picture stands alone; `themed` lets the page around it choose them.
"""

import io
import warnings
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from millwright.records import TurnRecord
from millwright.train.metrics import ClassScore, Confusion, ReliabilityBin
from millwright.train.span_metrics import SpanScore

ACCENT, QUIET, INK, GRID, PAPER = "#0f766e", "#94a3b8", "#334155", "#e2e8f0", "#ffffff"
THEME = {ACCENT: "accent", QUIET: "quiet", INK: "ink", GRID: "grid", PAPER: "paper"}
MOST_LABELS = 40
MOST_NAMED_TURNS = 10
MOST_CHARACTERS = 44  # of a label in a picture; tables have all of it


def turns_chart(turns: Sequence[TurnRecord]) -> str:
    """Quality per turn over the number of rows: the new version filled, the one before it hollow.

    Both points of a turn are measured on the same held-out rows, so the arrow between them is what
    the turn brought; held-out rows differ from turn to turn as traffic adds to them.
    """
    figure, axes = _canvas(7.2, 4.1)
    axes.grid(axis="y", color=GRID, lw=0.6)
    for turn in turns:
        _draw_turn(axes, turn)
        if len(turns) <= MOST_NAMED_TURNS or turn is turns[0] or turn.promoted:
            name = f"turn {turn.number}: {turn.challenger}" + ("" if turn.promoted else " (kept champion)")
            place = (turn.rows, 100 * turn.after.value)
            axes.annotate(name, place, (10, 6), textcoords="offset points", fontsize=9, color=INK)
    axes.plot([], [], "o", color=ACCENT, label="new version, promoted (95 % interval)")
    axes.plot([], [], "o", color=QUIET, label="new version, champion kept")
    axes.plot([], [], "o", mfc=PAPER, mec=INK, label="version before it, same held-out rows")
    figure.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="outside lower center")
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("rows that taught the version")
    axes.set_ylabel("accuracy on held-out rows, %")
    return _svg(figure)


def _draw_turn(axes: Axes, turn: TurnRecord) -> None:
    """The new version with its interval, and the one before it with an arrow from it, where there was one."""
    after, colour = 100 * turn.after.value, ACCENT if turn.promoted else QUIET
    ends = [[max(after - 100 * turn.after.low, 0)], [max(100 * turn.after.high - after, 0)]]
    axes.errorbar(turn.rows, after, yerr=ends, fmt="o", color=colour, ms=9, capsize=4, zorder=4)
    if turn.before is None:
        return
    before = 100 * turn.before.value
    arrow = {"arrowstyle": "->", "color": INK, "shrinkA": 5, "shrinkB": 5}
    axes.annotate("", (turn.rows, after), (turn.rows, before), arrowprops=arrow, zorder=5)
    axes.plot(turn.rows, before, "o", mfc=PAPER, mec=INK, ms=6, zorder=6)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy over confidence; on the diagonal, a probability means what it says. Areas show rows."""
    figure, axes = _canvas(4.2, 3.6)
    axes.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--")
    confidences, accuracies = [b.confidence for b in bins], [b.accuracy for b in bins]
    axes.plot(confidences, accuracies, color=ACCENT, lw=1)
    most = max(b.rows for b in bins)
    areas = [max(8, 160 * b.rows / most) for b in bins]
    axes.scatter(confidences, accuracies, s=areas, color=ACCENT, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    return _svg(figure)


def per_class_f1(classes: Sequence[ClassScore]) -> str:
    """F1 a label that has rows, the lowest on top; at most 40 labels."""
    worst = sorted((score for score in classes if score.rows), key=lambda score: score.f1)[:MOST_LABELS]
    figure, axes = _bars(len(worst), 0.24)
    names = [f"{_short(score.label)} ({score.rows})" for score in worst]
    axes.barh(range(len(worst)), [score.f1 for score in worst], color=ACCENT, height=0.65)
    _name_bars(axes, names)
    axes.set(xlim=(0, 1), xlabel="F1 (rows in brackets)")
    return _svg(figure)


def per_label_f1(scores: Sequence[SpanScore]) -> str:
    """F1 with its interval a label that has spans, the lowest on top; at most 40 labels."""
    worst = sorted((score for score in scores if score.spans), key=lambda score: score.f1.value)[:MOST_LABELS]
    figure, axes = _bars(len(worst), 0.24)
    names = [f"{_short(score.label)} ({score.spans})" for score in worst]
    ends = [
        [score.f1.value - score.f1.low for score in worst],
        [score.f1.high - score.f1.value for score in worst],
    ]
    axes.barh(range(len(worst)), [score.f1.value for score in worst], color=ACCENT, height=0.65)
    axes.errorbar(
        [score.f1.value for score in worst], range(len(worst)), xerr=ends, fmt="none", ecolor=INK, lw=1
    )
    _name_bars(axes, names)
    axes.set(xlim=(0, 1), xlabel="F1 with its 95 % interval (spans in brackets)")
    return _svg(figure)


def confusions_chart(confused: Sequence[Confusion]) -> str:
    """The pairs that are taken for one another most often."""
    figure, axes = _bars(len(confused), 0.36)
    names = [f"{_short(pair.truth)}\ntaken for {_short(pair.predicted)}" for pair in confused]
    axes.barh(range(len(confused)), [pair.count for pair in confused], color=ACCENT, height=0.65)
    _name_bars(axes, names)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rows")
    return _svg(figure)


def label_balance(labels: Mapping[str, Mapping[str, int]], unit: str = "rows") -> str:
    """How many of a unit a label and split has, the largest on top; at most 40 labels."""
    largest = sorted(labels.items(), key=lambda item: -sum(item[1].values()))[:MOST_LABELS]
    figure, axes = _bars(len(largest), 0.24)
    left = [0] * len(largest)
    for split, colour in (("train", ACCENT), ("validation", QUIET), ("test", INK)):
        counts = [splits[split] for _, splits in largest]
        axes.barh(range(len(largest)), counts, left=left, color=colour, height=0.65, label=split)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    _name_bars(axes, [_short(name) for name, _ in largest])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(unit)
    figure.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="outside upper right")
    return _svg(figure)


def themed(svg: str) -> str:
    """The picture with its colours as variables of the page (`--chart-ink` and so on), plain as fallback."""
    for colour, name in THEME.items():
        svg = svg.replace(f": {colour}", f": var(--chart-{name}, {colour})")
    return svg


def _short(label: str) -> str:
    return label if len(label) <= MOST_CHARACTERS else label[: MOST_CHARACTERS - 1] + "…"


def _bars(count: int, inches_a_bar: float) -> tuple[Figure, Axes]:
    """A canvas for horizontal bars, the first on top."""
    figure, axes = _canvas(7.2, 0.75 + inches_a_bar * max(1, count))
    axes.set_ylim(count - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Write a name at each bar; dollars in a label are no mathematics."""
    axes.set_yticks(range(len(names)), list(names), parse_math=False)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="x", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with (
        mpl.rc_context({"svg.hashsalt": "millwright", "svg.fonttype": "none", "font.family": "sans-serif"}),
        warnings.catch_warnings(),
    ):
        # The reader's fonts draw the text, so it does not matter which letters ours lack.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(out, format="svg", metadata={"Date": None}, facecolor=PAPER)
    text = out.getvalue()
    return text[text.index("<svg") :]
