"""Two recordings side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

DTYPES: tuple[Literal["float64", "float32"], ...] = ("float64", "float32")
"""Number formats; what differs in the first is not rounding."""
Recording = Mapping[str, Any]
"""`step 1|gradient|conv.weight` -> its value, a tensor on the CPU, in the order in which they were computed."""
Group = tuple[str, str]
"""When and what: `step 1`, `gradient`."""
TOLERANCE = 1e-9
"""Relative difference in float64 up to which two results are equal."""
AMPLIFIED, SHRUNK = 1e-8, 1e-7
"""Up to the first, a difference that is no more than the second of what it is in float32 is rounding too: it shrinks as the
number format does (2**29). Adam makes it of gradients near nought, as those of a bias that begins at 0."""
FAINT = 1e-6
"""Of the largest number of its kind in a step: what is smaller is compared with this."""


@attrs.frozen
class Row:
    """The tensors of one kind at one time; differences are relative to the largest number of a tensor."""

    when: str
    """`step 1`, `end`."""
    kind: str
    """`loss`, `gradient`, `weights`, `valid`."""
    worst: str
    """Name of the first tensor that differs by more than rounding; of the most different one where none does."""
    float64: float
    float32: float
    is_equal: bool
    """But for rounding."""


@attrs.frozen
class Comparison:
    """All of it, in the order in which it was computed."""

    rows: Sequence[Row]

    @property
    def first(self) -> Row | None:
        """What differs first."""
        return next((row for row in self.rows if not row.is_equal), None)


def compare(alone: Mapping[str, Recording], ranks: Mapping[str, Recording]) -> Comparison:
    """Recordings by number format, of one process and of N."""
    single, double = (differences(alone[dtype], ranks[dtype]) for dtype in ("float32", "float64"))
    return Comparison([row(group, names, single.get(group, {})) for group, names in double.items()])


def row(group: Group, double: Mapping[str, float], single: Mapping[str, float]) -> Row:
    """One line of the table."""
    other = next((name for name, value in double.items() if not is_rounding(value, single.get(name, 0.0))), None)
    worst = other or max(double, key=lambda name: double[name])
    return Row(*group, worst, max(double.values()), max(single.values(), default=math.inf), is_equal=other is None)


def is_rounding(float64: float, float32: float) -> bool:
    """Whether differences in the two formats are of the format."""
    return float64 <= TOLERANCE or (float64 <= AMPLIFIED and float64 <= SHRUNK * float32)


def differences(one: Recording, other: Recording) -> dict[Group, dict[str, float]]:
    """Of each tensor, relative to its largest number; infinite where one recording lacks it, or has no numbers."""
    groups: dict[Group, dict[str, float]] = {}
    largest = {key: float(tensor.abs().max()) for key, tensor in one.items()}
    floors: dict[Group, float] = {}
    for key, value in largest.items():
        floors[group_of(key)] = max(floors.get(group_of(key), 0.0), FAINT * value)
    for key in {**one, **other}:
        gap = float((one[key] - other[key]).abs().max()) if key in one and key in other else math.inf
        scale = max(largest.get(key, 0.0), floors.get(group_of(key), 0.0))
        value = gap / scale if gap and scale else gap
        groups.setdefault(group_of(key), {})[key.split("|", 2)[2]] = math.inf if math.isnan(value) else value
    return groups


def group_of(key: str) -> Group:
    """`step 1|gradient|conv.weight` -> step 1, gradient."""
    when, kind, _ = key.split("|", 2)
    return when, kind
