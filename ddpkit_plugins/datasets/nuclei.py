"""Cell nuclei under the microscope, from the 2018 Data Science Bowl (Caicedo et al. 2019, Nature Methods 16:1247; CC0)."""

from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

BUNDLED = "nuclei.npz"
"""File with one field of 512x512 pixels and 183 nuclei, from the package stardist 0.9.2."""


class Nuclei:
    """Dataset of tiles of a microscope field: PIL images of mode `L`, with masks uint8 [tile, tile], which are 1 on nuclei.

    Tiles do not overlap. The tiles in the lowest quarter of the field are the test split.

    Args:
        tile: Side of a tile in pixels: 16, 32, 64 or 128. Raises ValueError for others.
    """

    classes = ("background", "nucleus")

    def __init__(self, tile: int = 64) -> None:
        with files("ddpkit_plugins.datasets").joinpath(BUNDLED).open("rb") as file, np.load(file) as arrays:
            self.image, self.nuclei = arrays["image"], (arrays["instances"] > 0).astype(np.uint8)
        if not 16 <= tile <= 128 or len(self.image) % tile:  # noqa: PLR2004 - see the docstring
            raise ValueError(f"tile must be 16, 32, 64 or 128; got {tile}")
        self.tile = tile
        self.columns = len(self.image) // tile
        self.splits = {"test": range(len(self) * 3 // 4, len(self))}

    def __len__(self) -> int:
        return self.columns**2

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        from torchvision.tv_tensors import Mask  # noqa: PLC0415 - slow import that only runs need

        row, column = (position * self.tile for position in divmod(range(len(self))[index], self.columns))
        window = (slice(row, row + self.tile), slice(column, column + self.tile))
        return Image.fromarray(self.image[window]), Mask(self.nuclei[window])
