"""Meaning of the pixel values of masks, from some of the files."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ddpkit import open_image
from ddpkit_plugins.datasets.files import format_files
from ddpkit_plugins.datasets.masks import BYTE, MaskEncoding
from ddpkit_plugins.starters.image_survey import evenly_spaced

SAMPLED = 100
"""Maximum number of masks that are read."""
MOST = 32
"""Maximum number of values that are probably classes; more are those of a photo or of a mask with JPEG artefacts."""
GRAY = MaskEncoding(values=None, is_coloured=False, ignore_index=None, n_classes=0)
COLOURED = MaskEncoding(values=None, is_coloured=True, ignore_index=None, n_classes=0)


@attrs.frozen(kw_only=True)
class MaskMeaning:
    """Keys of the dataset that the masks require, and the number of classes."""

    n_classes: int | None
    """None: the number is not certain, because not all masks were read."""
    mask_values: Sequence[int] | None = None
    palette: Sequence[Sequence[int]] | None = None
    ignored: int | None = None
    """Value of the pixels without a class."""
    is_binary: bool = False
    """Whether there are two classes, and each pixel has one of them."""

    @property
    def keys(self) -> Mapping[str, Any]:
        """Keys of `[dataset.config]`; those that are not needed are None."""
        return {"mask_values": self.mask_values, "palette": self.palette, "ignore_index": self.ignored}


def interpret_masks(files: Sequence[Path]) -> MaskMeaning:
    """Read at most SAMPLED masks and return their meaning. Raises ValueError if the values cannot be classes."""
    sampled = evenly_spaced(files, SAMPLED)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(read_values, sampled))
    if len({is_coloured for _, is_coloured, _ in found}) > 1:
        raise ValueError(f"some masks in {sampled[0].parent} are coloured and some are grayscale; save all in the same way")
    values = set[int]().union(*(each for each, _, _ in found))
    if len(values) > MOST:
        advice = "a mask must have one value per class; save it as PNG, because JPEG changes the values"
        raise ValueError(f"the masks have {len(values)} different values, such as {format_files(sampled[:1])}; {advice}")
    if len(values) == 1:
        raise ValueError(f"all pixels of the masks in {sampled[0].parent} have the same value, {values.pop()}; mark the objects")
    if found[0][1]:
        palette = [[value >> 16, value >> 8 & BYTE, value & BYTE] for value in sorted(values)]
        return MaskMeaning(n_classes=len(palette), palette=palette, is_binary=len(palette) == 2)  # noqa: PLR2004
    return interpret_values(values, has_palette=any(each for _, _, each in found), is_complete=len(sampled) == len(files))


def read_values(file: Path) -> tuple[set[int], bool, bool]:
    """Return the different values in a mask, whether they are colours, and whether they are palette indices."""
    mask = open_image(file)
    is_coloured = len(mask.getbands()) > 1
    pixels = (COLOURED if is_coloured else GRAY).pixels(mask, file)
    return set(np.unique(pixels).tolist()), is_coloured, mask.mode == "P"


def interpret_values(values: Collection[int], *, has_palette: bool, is_complete: bool) -> MaskMeaning:
    """Return the meaning of grayscale values or palette indices; `is_complete`: whether all masks were read."""
    if values == {0, BYTE} and not has_palette:
        return MaskMeaning(n_classes=2, is_binary=True)
    ignored = BYTE if BYTE in values else None
    indices = sorted(set(values) - {ignored})
    is_gapless = indices == list(range(len(indices))) and len(indices) > 1
    if is_gapless or (not is_complete and max(indices) < MOST):
        n_classes = len(indices) if is_complete else None
        return MaskMeaning(n_classes=n_classes, ignored=ignored, is_binary=indices == [0, 1] and ignored is None)
    return MaskMeaning(n_classes=len(values), mask_values=sorted(values), is_binary=len(values) == 2)  # noqa: PLR2004
