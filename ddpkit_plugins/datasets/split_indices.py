"""Index ranges of splits that follow one another in a dataset."""

from collections.abc import Mapping
from itertools import accumulate

SPLITS = ("train", "valid", "test")
"""Names of the possible splits."""


def consecutive_ranges(lengths: Mapping[str, int]) -> dict[str, range]:
    """Return the indices of each split. Samples without a split (`""`) are divided by the split component."""
    ends = accumulate(lengths.values())
    return {split: range(end - lengths[split], end) for split, end in zip(lengths, ends, strict=True) if split}
