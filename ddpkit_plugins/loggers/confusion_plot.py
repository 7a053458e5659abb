"""Drawing of a confusion matrix."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COUNTS, MAX_LABELS = 20, 50
"""Largest numbers of classes whose counts, and whose names, are readable in the image."""


def draw_confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """Return a PNG file: rows are true classes, columns are predicted classes.

    The color of a cell is its share of the samples of the true class. Classes without a name are numbered.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import that only a test needs

    counts = np.asarray(matrix)
    n = len(counts)
    size = 3 + 0.35 * min(n, MAX_LABELS)  # inches
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the true class")
    if n <= MAX_LABELS:
        write_class_names(axes, [*classes[:n], *map(str, range(len(classes), n))])
    if n <= MAX_COUNTS:
        write_counts(axes, counts, shares)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # no font of this machine has the script of a class name
        figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def write_class_names(axes: "Axes", names: Sequence[str]) -> None:
    """Label rows and columns; `$` in a name does not begin a formula."""
    axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)


def write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    """Write the number of samples in each cell, white on dark cells."""
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 - middle of the color map
        axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=8)
