"""Chart of the report: named series over common x values. The browser draws it with uPlot, see `templates/charts.html`."""

from collections.abc import Sequence

import attrs


@attrs.frozen
class Series:
    """One line of a chart."""

    label: str
    values: Sequence[float | None]
    """One value per x value; None = no value."""
    color: int = 0
    """Index of the colour, 0 to 7; a larger index starts again with the first colour."""
    is_dashed: bool = False


@attrs.frozen
class Marker:
    """Vertical line with a text."""

    x: float
    text: str
    is_best: bool = False
    """Whether it marks a best epoch; such a line is solid, others are dashed."""


@attrs.frozen
class Chart:
    """Series over common x values."""

    title: str
    x_label: str
    x: Sequence[float]
    """Strictly increasing."""
    series: Sequence[Series]
    markers: Sequence[Marker] = ()
