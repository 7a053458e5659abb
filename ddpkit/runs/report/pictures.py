"""Pictures of a run for papers and slides: its curves and its confusion matrix as PNG files."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddpkit.runs import fonts
from ddpkit.runs.report.chart import Chart
from ddpkit.runs.report.matrix import Matrix
from ddpkit.terminal import escape

COLORS = ("#0b6bcb", "#d1550a", "#0a8f5b", "#a8328f", "#7a6a00", "#5b4fcf", "#b3261e", "#46586f")
"""Colours of the series, as in `templates/style.css`."""
WIDTH, HEIGHT = 4.3, 2.3
"""Size of the area of one chart in inches."""
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.25, 0.5, 0.55
"""Margins of one chart in inches. They are fixed, because a layout that measures all texts takes twice the time."""
N_TICKS = 5
"""Largest number of intervals on an axis; each tick takes 3 ms."""
LABEL_DISTANCE = 0.15
"""Smallest distance of the texts of two markers, as a part of the width of a chart."""
DPI = 120
MAX_LABELS = 40
"""Largest number of classes whose names are written."""
MAX_COUNTS = 20
"""Largest number of classes whose counts are written into the cells."""
MAX_LENGTH = 24
"""Largest number of characters of a name; the middle of a longer one is left out."""


def draw_curves(charts: Sequence[Chart]) -> bytes:
    """Return a PNG file with all charts, two in a row."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - 0.3 s, and only this module needs it

    columns = min(len(charts), 2)
    rows = math.ceil(len(charts) / columns)
    width, height = columns * (LEFT + WIDTH + RIGHT), rows * (TOP + HEIGHT + BOTTOM)
    figure = Figure((width, height), dpi=DPI)
    for number, chart in enumerate(charts):
        row, column = divmod(number, columns)
        left, bottom = column * width / columns + LEFT, height - (row + 1) * height / rows + BOTTOM
        draw_chart(figure.add_axes((left / width, bottom / height, WIDTH / width, HEIGHT / height)), chart)
    return to_png(figure)


def draw_chart(axes: Any, chart: Chart) -> None:
    for series in chart.series:
        known = [(x, value) for x, value in zip(chart.x, series.values, strict=True) if value is not None]
        style = {"color": COLORS[series.color % len(COLORS)], "linestyle": "--" if series.is_dashed else "-"}
        style["marker"] = "." if len(known) == 1 else ""
        axes.plot([x for x, _ in known], [value for _, value in known], label=safe(series.label), **style)
    draw_markers(axes, chart)
    axes.set_title(safe(chart.title), loc="left", fontsize=11, y=1.08, parse_math=False, **font_of(chart.title))
    axes.set_xlabel(chart.x_label)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=N_TICKS)
    axes.yaxis.get_major_locator().set_params(nbins=N_TICKS)
    axes.grid(color="#e3e7ed")
    axes.spines[["top", "right"]].set_visible(False)
    if len(chart.series) > 1:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1.03), ncols=len(chart.series), fontsize=9)


def draw_markers(axes: Any, chart: Chart) -> None:
    low, high = axes.get_xlim()
    last = -math.inf
    for marker in chart.markers:
        style = {"color": "#1b2330", "linestyle": "-"} if marker.is_best else {"color": "#8a94a3", "linestyle": ":"}
        axes.axvline(marker.x, linewidth=1, **style)
        if (marker.x - last) / (high - low) > LABEL_DISTANCE:
            text = {
                "fontsize": 7,
                "color": "#5a6577",
                "va": "bottom",
                "ha": "right" if marker.x > (low + 3 * high) / 4 else "left",
            }
            axes.text(marker.x, 1.01, marker.text, transform=axes.get_xaxis_transform(), **text)
            last = marker.x


def draw_matrix(matrix: Matrix) -> bytes:
    """Return a PNG file with a confusion matrix: the colour is the share of the true class, the numbers are counts."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    n = len(matrix.classes)
    side = min(max(4.5, 1.5 + 0.45 * n), 14)
    figure = Figure((side + 1, side), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix.shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.045)
    axes.set(xlabel="predicted class", ylabel="true class")
    if n <= MAX_LABELS:
        write_labels(axes, matrix.classes)
    if n <= MAX_COUNTS:
        write_counts(axes, matrix)
    return to_png(figure)


def write_labels(axes: Any, classes: Sequence[str]) -> None:
    names = [drawable(name, number) for number, name in enumerate(classes)]
    long = max(map(len, names)) > 3  # noqa: PLR2004 - digits and short codes fit
    axes.set_xticks(range(len(names)), names, rotation=90 if long else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for label, name in zip([*axes.get_xticklabels(), *axes.get_yticklabels()], [*names, *names], strict=True):
        label.set(**font_of(name))


def write_counts(axes: Any, matrix: Matrix) -> None:
    for row, counts in enumerate(matrix.counts):
        for column, count in enumerate(counts):
            color = "white" if matrix.shares[row][column] > 0.5 else "black"  # noqa: PLR2004 - half of the colours
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=color)


def drawable(name: str, number: int) -> str:
    """Return the name of a class, shortened; its number if no font of this machine has its characters."""
    text = safe(name)
    short = text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH // 2]}...{text[-MAX_LENGTH // 3 :]}"
    return short if fonts.is_displayable(short) else str(number)


def safe(text: str) -> str:
    """Return a text without control characters, and without the `_` at its start that hides a label from the legend."""
    return escape(text).removeprefix("_")


def font_of(text: str) -> dict[str, Any]:
    """Return the font of a text that the font of matplotlib cannot write, as keyword arguments of a text."""
    name = fonts.find_font(text) or fonts.BUILT_IN
    return {} if name == fonts.BUILT_IN else {"font": Path(fonts.load_font(name).path)}  # type: ignore[union-attr,arg-type]  # it is loaded


def to_png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
