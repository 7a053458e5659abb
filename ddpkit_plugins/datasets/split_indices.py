"""Parts of a dataset that stand one behind the other."""

from collections.abc import Mapping
from itertools import accumulate

PARTS = ("train", "valid", "test")
"""What there may be."""


def consecutive(lengths: Mapping[str, int]) -> dict[str, range]:
    """The indices of each part; what has no name, `""`, is left to be split."""
    ends = accumulate(lengths.values())
    return {part: range(end - lengths[part], end) for part, end in zip(lengths, ends, strict=True) if part}
