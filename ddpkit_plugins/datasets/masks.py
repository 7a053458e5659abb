"""Encoding of masks: the class of each pixel value."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from ddpkit import open_image
from ddpkit_plugins.datasets.files import format_file

LOGGER = logging.getLogger("ddpkit.masks")
SHOWN = 5
"""Maximum number of values in a message."""
BYTE = 255
SEVERAL = 2
"""Minimum number of class names that count as the complete list of classes."""


@attrs.frozen
class MaskEncoding:
    """Mapping from pixel values to class indices."""

    values: Sequence[int] | None
    """Pixel value of each class; a colour is red * 65536 + green * 256 + blue. None: values are class indices, see `decode`."""
    is_coloured: bool
    ignore_index: int | None
    """Index of pixels without a class."""
    n_classes: int
    """Number of classes that the run names."""

    @classmethod
    def of(
        cls,
        mask_values: Sequence[int] | None,
        palette: Sequence[tuple[int, int, int]] | None,
        ignore_index: int | None,
        n_classes: int,
    ) -> "MaskEncoding":
        """Build the encoding from the keys of a dataset. Raises ValueError for ambiguous or invalid values."""
        if mask_values is not None and palette is not None:
            raise ValueError("mask_values is for grayscale masks, palette for masks in colours; set only one of them")
        check_distinct("mask_values", mask_values, ignore_index)
        check_distinct("palette", palette, ignore_index)
        if palette and not all(0 <= channel <= BYTE for colour in palette for channel in colour):
            raise ValueError(f"palette must contain colours [red, green, blue] from 0 to {BYTE}; got {palette}")
        values = mask_values if palette is None else [red << 16 | green << 8 | blue for red, green, blue in palette]
        return cls(values, palette is not None, ignore_index, n_classes)

    def decode(self, mask: Image.Image, file: Path) -> Any:
        """Return the class indices of an opened mask, int64 [H, W]. Raises a ValueError that names the file.

        Without `values`, a grayscale mask with only the values 0 and 255 has the classes 0 and 1.
        """
        return self.to_classes(mask, self.pixels(mask, file), file)

    def to_classes(self, mask: Image.Image, pixels: Any, file: Path) -> Any:
        """Return the class index of each pixel; `pixels`: all pixels of the mask, or only their different values."""
        if self.values is not None:
            return self.indices(pixels, file)
        indices = pixels // BYTE if self.is_black_and_white(mask, pixels) else pixels
        self.check_class_range(indices, file)
        return indices

    def is_black_and_white(self, mask: Image.Image, pixels: Any) -> bool:
        """Return whether a mask has only the values 0 and 255, which are not class indices themselves."""
        has_more_classes = self.n_classes > SEVERAL or self.values is not None
        return not has_more_classes and mask.mode != "P" and self.ignore_index != BYTE and bool(np.isin(pixels, (0, BYTE)).all())

    def read_labels(self, file: Path) -> tuple[set[int], bool]:
        """Return the class indices in a mask file without `ignore_index`, and whether its class 1 is the value 255."""
        mask = open_image(file)
        pixels = np.unique(self.pixels(mask, file))
        labels = {*self.to_classes(mask, pixels, file).tolist()}
        return labels - {self.ignore_index}, 1 in labels and self.is_black_and_white(mask, pixels)

    def pixels(self, mask: Image.Image, file: Path) -> Any:
        """Return one integer per pixel. Raises ValueError for a mask in colours without `palette`."""
        if self.is_coloured:
            channels = np.array(mask.convert("RGB"), dtype=np.int64)
            return channels @ np.array([1 << 16, 1 << 8, 1])
        if len(mask.getbands()) > 1 or mask.mode == "F":
            wanted = "a mask must have one integer per pixel: grayscale values or palette indices"
            raise ValueError(f"{format_file(file)} has mode {mask.mode}, but {wanted}; for colours, set dataset.config.palette")
        return np.array(mask, dtype=np.int64)

    def indices(self, pixels: Any, file: Path) -> Any:
        """Return the index of each pixel's value in `values`; other values become `ignore_index`.

        Raises ValueError for other values if there is no `ignore_index`.
        """
        indices = np.full_like(pixels, -1)
        for index, value in enumerate(self.values or ()):
            indices[pixels == value] = index
        is_other = indices < 0
        if is_other.any() and self.ignore_index is None:
            found = [self.written(value) for value in np.unique(pixels[is_other])[:SHOWN].tolist()]
            name = "palette" if self.is_coloured else "mask_values"
            listed = list(map(self.written, self.values or ()))
            advice = f"add the values to {name}, or set dataset.config.ignore_index"
            raise ValueError(f"{format_file(file)} contains {found}, which are not in {name} {listed}; {advice}")
        return np.where(is_other, self.ignore_index or 0, indices)

    def written(self, value: int) -> int | list[int]:
        """Return a value or a colour as the config writes it."""
        return [value >> 16, value >> 8 & 255, value & 255] if self.is_coloured else value

    def check_class_range(self, indices: Any, file: Path) -> None:
        """Raise ValueError for indices that are not classes, if the run names two or more."""
        is_invalid = (indices < 0) | (indices >= self.n_classes)
        if self.ignore_index is not None:
            is_invalid &= indices != self.ignore_index
        if self.n_classes >= SEVERAL and is_invalid.any():
            found = np.unique(indices[is_invalid])[:SHOWN].tolist()
            advice = (
                "set dataset.config.mask_values (one value per class) or dataset.config.ignore_index (pixels without a class)"
            )
            raise ValueError(
                f"{format_file(file)} contains {found}, but the {self.n_classes} classes are 0 to {self.n_classes - 1}; {advice}"
            )


def find_labels(encoding: MaskEncoding, files: Sequence[Path]) -> list[int]:
    """Return the class indices in the masks, which are all read.

    Raises ValueError if 255 is class 1 in only some of them.
    """
    LOGGER.info("reading %d masks to find their classes; set 'classes' to skip this", len(files))
    with ThreadPoolExecutor() as pool:
        found = dict(zip(files, pool.map(encoding.read_labels, files), strict=True))
    white = [file for file, (_, is_white) in found.items() if is_white]
    others = [file for file, (labels, is_white) in found.items() if labels - {0} and not is_white]
    if white and others:
        values = f"{format_file(white[0])} contains only 0 and 255, but {format_file(others[0])} contains class indices"
        raise ValueError(f"{values}; set dataset.config.mask_values (one value per class) or dataset.config.ignore_index")
    return sorted(set().union(*(labels for labels, _ in found.values())))


def check_distinct(name: str, given: Sequence[Any] | None, ignore_index: int | None) -> None:
    """Raise ValueError for equal values, and for an `ignore_index` that is also a class."""
    if given is not None and len(set(given)) != max(len(given), 1):
        raise ValueError(f"{name} must contain one value per class, all different; got {given}")
    if given and ignore_index in range(len(given)):
        limits = f"must not be one of the classes 0 to {len(given) - 1}"
        raise ValueError(f"ignore_index {limits}; got {ignore_index}; use another index, such as 255")
