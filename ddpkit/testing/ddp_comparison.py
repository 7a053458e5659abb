"""Comparison of the recordings of one rank and of N ranks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

DTYPES: tuple[Literal["float64", "float32"], ...] = ("float64", "float32")
"""Dtypes of the recordings; a difference in the first one, float64, is not rounding."""
Recording = Mapping[str, Any]
"""Recorded tensors on the CPU by name, e.g. `step 1|gradient|conv.weight`, in the order in which they were computed."""
Group = tuple[str, str]
"""Time and kind of a value: `step 1`, `gradient`."""
TOLERANCE = 1e-9
"""Largest relative difference in float64 between two results that count as equal."""
AMPLIFIED, SHRUNK = 1e-8, 1e-7
"""Limits for amplified rounding errors. A float64 difference up to AMPLIFIED still counts as rounding if it is at most SHRUNK
times the float32 difference: rounding errors scale with the machine epsilon, which is 2**29 times smaller in float64. Adam
amplifies rounding for near-zero gradients, e.g. those of a bias that is initialised to 0."""
VALUE, VALUE_TOLERANCE = "value", 1e-6
"""Kind of the values of a step, and its TOLERANCE: a step may compute them in float32 even in a float64 run, as in
`(predictions == targets).float().mean()`. They have no influence on the training."""
NEGLIGIBLE = 1e-6
"""Smallest scale for a relative difference, as a fraction of the largest value of the same kind and step."""


@attrs.frozen
class ComparisonRow:
    """Row for the tensors of one kind at one time. Differences are relative to the largest value of a tensor."""

    when: str
    """Time of the values: `step 1`, `end`."""
    kind: str
    """Kind of the values: `loss`, `value` (of a step), `gradient`, `weights`, `valid`."""
    worst: str
    """Name of the first tensor that differs by more than rounding, otherwise of the tensor with the largest difference."""
    float64: float
    float32: float
    is_equal: bool
    """Equality of all tensors, except for rounding."""


@attrs.frozen
class Comparison:
    """Comparison of two recordings; its rows are in the order of computation."""

    rows: Sequence[ComparisonRow]

    @property
    def first(self) -> ComparisonRow | None:
        """First row that differs; None if all rows are equal."""
        return next((row for row in self.rows if not row.is_equal), None)


def compare(one_rank: Mapping[str, Recording], ranks: Mapping[str, Recording]) -> Comparison:
    """Compare the recordings of one process and of N ranks, both by dtype."""
    single, double = (relative_differences(one_rank[dtype], ranks[dtype]) for dtype in ("float32", "float64"))
    return Comparison([create_row(group, names, single.get(group, {})) for group, names in double.items()])


def create_row(group: Group, double: Mapping[str, float], single: Mapping[str, float]) -> ComparisonRow:
    tolerance = VALUE_TOLERANCE if group[1] == VALUE else TOLERANCE
    other = next((name for name, value in double.items() if not is_rounding(value, single.get(name, 0.0), tolerance)), None)
    worst = other or max(double, key=lambda name: double[name])
    return ComparisonRow(*group, worst, max(double.values()), max(single.values(), default=math.inf), is_equal=other is None)


def is_rounding(float64: float, float32: float, tolerance: float = TOLERANCE) -> bool:
    """Return whether a difference is only rounding, judged by its values in both dtypes."""
    return float64 <= tolerance or (float64 <= AMPLIFIED and float64 <= SHRUNK * float32)


def relative_differences(one: Recording, other: Recording) -> dict[Group, dict[str, float]]:
    """Return the difference of each tensor, relative to its largest value; inf if one recording lacks it, or for NaN."""
    groups: dict[Group, dict[str, float]] = {}
    largest = {key: float(tensor.abs().max()) for key, tensor in one.items()}
    floors: dict[Group, float] = {}
    for key, value in largest.items():
        floors[parse_group(key)] = max(floors.get(parse_group(key), 0.0), NEGLIGIBLE * value)
    for key in {**one, **other}:
        gap = float((one[key] - other[key]).abs().max()) if key in one and key in other else math.inf
        scale = max(largest.get(key, 0.0), floors.get(parse_group(key), 0.0))
        value = gap / scale if gap and scale else gap
        groups.setdefault(parse_group(key), {})[key.split("|", 2)[2]] = math.inf if math.isnan(value) else value
    return groups


def parse_group(key: str) -> Group:
    """Return `step 1`, `gradient` for the name `step 1|gradient|conv.weight`."""
    when, kind, _ = key.split("|", 2)
    return when, kind
