"""Regions of objects in the format of COCO: polygons, and run-length encoding."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ddpkit_plugins.datasets.files import format_file

CORNERS = 6
"""Length of the smallest polygon: three points, six numbers."""
LARGEST = 2**20
"""Limit of coordinates, above any position in an image. pycocotools allocates memory in proportion to the length of the edges."""


def decode_region(segmentation: Any, file: Path, size: tuple[int, int]) -> Any:
    """Return the pixels of an object, bool [H, W] with `size` = (H, W), from polygons or run lengths.

    The pixels are those of pycocotools. Raises ValueError for another form.
    """
    if isinstance(segmentation, dict):
        return decode_runs(segmentation, file, size)
    polygons = segmentation if isinstance(segmentation, list) else [segmentation]
    for polygon in polygons:
        if not is_numbers(polygon) or len(polygon) < CORNERS or len(polygon) % 2:
            raise ValueError(f"{format_file(file)} has an annotation whose segmentation is not a polygon: {polygon!r}")
    return decode_runs(encode_polygons(polygons, size), file, size) if polygons else np.zeros(size, dtype=bool)


def encode_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> dict[str, Any]:
    """Return the run lengths of the pixels in any of the polygons."""
    from pycocotools import mask  # noqa: PLC0415 - an optional library

    merged = mask.merge(mask.frPyObjects(polygons, *size))
    return {"size": list(size), "counts": merged["counts"].decode()}


def decode_runs(segmentation: Mapping[str, Any], file: Path, size: tuple[int, int]) -> Any:
    """Decode run lengths, which alternate between outside and inside of the object, column by column."""
    if segmentation.get("size") != list(size):
        sizes = f"[height, width] {segmentation.get('size')}, but the image has {list(size)}"
        raise ValueError(f"{format_file(file)} has an annotation whose run lengths are for {sizes}")
    counts = segmentation.get("counts")
    runs = unpack_counts(counts) if isinstance(counts, str) else counts
    if not is_lengths(runs) or sum(runs) != size[0] * size[1]:
        wrong = "whose run lengths (RLE) do not add up to the number of pixels of the image"
        raise ValueError(f"{format_file(file)} has an annotation {wrong}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[::-1]).T


def unpack_counts(text: str) -> list[int]:
    """Decode run lengths in the packed text of pycocotools.

    Each number is a sequence of base-32 digits, the least significant first, written as characters from '0' on; 32 is
    added to a digit if another digit follows. The highest bit of the last digit is the sign. From the fourth run on, a number
    is the difference to the run two positions before.
    """
    runs, number, shift = list[int](), 0, 0
    for digit in (ord(character) - ord("0") for character in text):
        number |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            number -= (digit & 16) << (shift - 4)
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))  # noqa: PLR2004
            number, shift = 0, 0
    return runs


def is_numbers(values: Any) -> TypeGuard[list[float]]:
    """Return whether the values are a list of finite numbers."""
    return isinstance(values, list) and all(isinstance(value, int | float) and abs(value) < LARGEST for value in values)


def is_lengths(runs: Any) -> TypeGuard[list[int]]:
    """Return whether the runs are a list of integers of at least 0."""
    return isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
