"""Charts of benchmark rows as SVG text: bars side by side, and lines on logarithmic axes."""

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from record import Row

from millwright.reports.charts import ACCENT, INK, QUIET

COLOURS = (ACCENT, QUIET, INK, "#d97706", "#7c3aed", "#be123c", "#0369a1", "#4d7c0f")
GRID = "#e2e8f0"
LONG_NAME = 45  # characters; two of them do not fit side by side


def bars(rows: Sequence[Row], label: Callable[[Row], str], values: dict[str, str], unit: str) -> str:
    """Horizontal bars, one group a row and one bar a value.

    Args:
        rows: from top to bottom.
        label: names a row.
        values: what to draw: the key of a row, and its name in the legend.
        unit: what the axis counts.

    Returns:
        The picture.
    """
    figure, axes = _canvas(7.2, 0.9 + 0.3 * len(values) * len(rows), "x")
    height = 0.8 / len(values)
    for place, (key, name) in enumerate(values.items()):
        at = [number + (place - (len(values) - 1) / 2) * height for number in range(len(rows))]
        width = [float(str(row.get(key) or 0)) for row in rows]
        drawn = axes.barh(at, width, height=0.9 * height, color=COLOURS[place], label=name)
        axes.bar_label(drawn, [f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in width],
                       padding=3, fontsize=8, color=INK)  # fmt: skip
    axes.set_yticks(range(len(rows)), [label(row) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    if len(values) > 1:
        _add_legend(figure, list(values.values()))
    return _svg(figure)


def lines(rows: Sequence[Row], across: str, up: str, series: str, names: tuple[str, str]) -> str:
    """One line a series over two axes; an axis is logarithmic where its values span a factor of 20.

    Args:
        rows: points in any order.
        across: the key on the horizontal axis.
        up: the key on the vertical axis.
        series: the key that tells the lines apart.
        names: of the axes.

    Returns:
        The picture.
    """
    figure, axes = _canvas(7.2, 3.9, "both")
    for place, name in enumerate(dict.fromkeys(str(row[series]) for row in rows)):
        own = sorted(
            (float(str(row[across])), float(str(row[up]))) for row in rows if str(row[series]) == name
        )
        cycle, colour = divmod(place, len(COLOURS))
        style = ("o-", "s--", "^:")[cycle % 3]  # where there are more lines than colours
        axes.plot(*zip(*own, strict=True), style, color=COLOURS[colour], ms=5, label=name)
    for key, scale, axis in ((across, axes.set_xscale, axes.xaxis), (up, axes.set_yscale, axes.yaxis)):
        found = [float(str(row[key])) for row in rows]
        if min(found) > 0 and max(found) / min(found) > 20:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    _add_legend(figure, [str(line.get_label()) for line in axes.lines])
    return _svg(figure)


def gains(rows: Sequence[Row], label: Callable[[Row], str], series: str, unit: str) -> str:
    """Differences with their intervals about a line at nought, one group a label and one dot a series.

    Args:
        rows: with `gain`, `low` and `high`; groups stand in their order from top to bottom.
        label: names a row's group.
        series: the key that tells a group's dots apart.
        unit: what the axis counts.

    Returns:
        The picture.
    """
    groups = list(dict.fromkeys(map(label, rows)))
    names = list(dict.fromkeys(str(row[series]) for row in rows))
    figure, axes = _canvas(7.2, 0.9 + 0.13 * len(rows), "x")
    axes.axvline(0, color=QUIET, lw=1)
    for place, name in enumerate(names):
        own = [row for row in rows if str(row[series]) == name]
        gain, low, high = ([float(str(row[key])) for row in own] for key in ("gain", "low", "high"))
        at = [groups.index(label(row)) + 0.7 * (place / max(1, len(names) - 1) - 0.5) for row in own]
        ends = [[value - end for value, end in zip(gain, low, strict=True)],
                [end - value for value, end in zip(gain, high, strict=True)]]  # fmt: skip
        axes.errorbar(gain, at, xerr=ends, fmt="o", ms=4, lw=1, color=COLOURS[place], label=name)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    _add_legend(figure, names)
    return _svg(figure)


def _add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Above the picture, where it hides nothing."""
    columns = 2 if max(map(len, names)) < LONG_NAME else 1
    figure.set_figheight(figure.get_figheight() + 0.18 * -(-len(names) // columns))
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=columns)


def _canvas(width: float, height: float, grid: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis=grid, color=GRID, lw=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "millwright", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, facecolor="white")
    text = out.getvalue()
    return text[text.index("<svg") :]
