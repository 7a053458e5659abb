"""Sizes and modes of image files, from the headers of some of them."""

import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import attrs
from PIL import Image

from ddpkit_plugins.datasets.files import format_files
from ddpkit_plugins.datasets.images import is_sideways

SAMPLED = 200
"""Maximum number of images whose headers are read."""
MULTIPLE = 32
"""Sides of larger images become multiples of this number, because models halve the size about five times."""
TINY = 64
"""Images whose sides are at most this number of pixels keep their size."""
FOUND_SIZES = """\
  sizes        $sizes, $colours | 尺寸         $sizes，$colours
  sizes        $sizes, grayscale ($gray) | 尺寸         $sizes，灰度（$gray）
"""
FOUND_UNREADABLE = """\
  unreadable   $unreadable; `ddpkit check --data` finds all | 无法读取     $unreadable；`ddpkit check --data` 可找出全部
"""
T = TypeVar("T")


@attrs.frozen
class ImageSurvey:
    """Headers of evenly spaced image files."""

    widths: Sequence[int]
    heights: Sequence[int]
    is_grayscale: bool
    """Whether all of them are grayscale."""
    unreadable: Sequence[Path]

    def input_size(self, largest: int) -> list[int]:
        """Return height and width for a model: the median size, reduced so that no side is longer than `largest` pixels."""
        height, width = statistics.median_low(self.heights), statistics.median_low(self.widths)
        longest = max(height, width)
        if longest <= TINY:
            return [height, width]
        limit = min(longest, largest)
        return [max(side * limit // longest // MULTIPLE, 1) * MULTIPLE for side in (height, width)]

    @property
    def values(self) -> dict[str, object]:
        """Values of the templates."""
        bad = len(self.unreadable)
        width, height = (format_range(min(sides), max(sides)) for sides in (self.widths, self.heights))
        return {
            "sizes": f"{width} x {height}",
            "colours": None if self.is_grayscale else "RGB",
            "gray": "L" if self.is_grayscale else None,
            "n_channels": 1 if self.is_grayscale else 3,
            "mean": [0.5] * (1 if self.is_grayscale else 3),
            "unreadable": f"{bad} of {bad + len(self.widths)} files: {format_files(self.unreadable)}" if bad else None,
        }


def survey_images(files: Sequence[Path]) -> ImageSurvey:
    """Read the headers of at most SAMPLED files. Raises ValueError if none of them is an image."""
    sampled = evenly_spaced(files, SAMPLED)
    headers = [(file, read_header(file)) for file in sampled]
    found = [header for _, header in headers if header]
    unreadable = [file for file, header in headers if not header]
    if not found:
        raise ValueError(f"none of {len(sampled)} image files can be read: {format_files(unreadable)}; replace them")
    return ImageSurvey(
        [width for width, _, _ in found],
        [height for _, height, _ in found],
        all(is_grayscale for _, _, is_grayscale in found),
        unreadable,
    )


def format_range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}-{most}"


def evenly_spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most `most` items."""
    return items[:: -(-len(items) // most) or 1]


def read_header(file: Path) -> tuple[int, int, bool] | None:
    """Return width and height of the upright image, and whether it is grayscale; None if the file is not a valid image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                has_exif = image.format != "PNG" or "exif" in image.info  # else Pillow would decode a PNG to look for it
                width, height = image.size[::-1] if has_exif and is_sideways(image) else image.size
                return width, height, image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    except Exception:  # noqa: BLE001 - Pillow's decoders raise any exception for a corrupt file
        return None
