"""Regions of objects, as COCO writes them: polygons, and runs of pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image, ImageDraw

from ddpkit_plugins.datasets.files import shown

CORNERS = 6
"""Numbers of the smallest polygon: three points."""
LARGEST = 2**31
"""Beyond what any place in an image is."""


def region(segmentation: Any, file: Path, size: tuple[int, int]) -> Any:
    """The pixels of an object, bool [H, W] = `size`: inside of polygons, or as runs. Raises ValueError for what is neither."""
    if isinstance(segmentation, dict):
        return of_runs(segmentation, file, size)
    area = Image.new("1", size[::-1])
    for polygon in segmentation if isinstance(segmentation, list) else [segmentation]:
        if not is_numbers(polygon) or len(polygon) < CORNERS or len(polygon) % 2:
            raise ValueError(f"{shown(file)} has an annotation whose segmentation is no polygon: {polygon!r}")
        ImageDraw.Draw(area).polygon(list(map(float, polygon)), fill=1)
    return np.array(area)


def of_runs(segmentation: Mapping[str, Any], file: Path, size: tuple[int, int]) -> Any:
    """From lengths of runs that lie outside and inside in turn, column by column."""
    if segmentation.get("size") != list(size):
        said = f"of an image of {segmentation.get('size')}, height and width; it has {list(size)}"
        raise ValueError(f"{shown(file)} has an annotation whose runs are {said}")
    counts = segmentation.get("counts")
    runs = unpacked(counts) if isinstance(counts, str) else counts
    if not is_lengths(runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"{shown(file)} has an annotation whose runs do not fill the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[::-1]).T


def unpacked(text: str) -> list[int]:
    """Runs as pycocotools packs them: digits of base 32, least first, from the character '0' on; 32 more = others follow.

    The last digit's highest bit is the sign; from the fourth run on, a number is the difference to the run two before.
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
    """Whether these are finite numbers."""
    return isinstance(values, list) and all(isinstance(value, int | float) and abs(value) < LARGEST for value in values)


def is_lengths(runs: Any) -> TypeGuard[list[int]]:
    """Whether these are numbers of pixels."""
    return isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
