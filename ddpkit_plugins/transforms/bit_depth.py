"""Transforms for grayscale images with more than 8 bits, whose values torchvision would clip or lose."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2


class PilToTensor(v2.PILToTensor):  # type: ignore[misc]  # torchvision is not typed
    """Convert a PIL image to a tensor [C, H, W]; an image of mode `I` becomes uint16.

    Pillow opens 16-bit files in mode `I`, which has 32 bits. With uint16, later transforms know the true value range.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Convert one entry of the sample. Raises ValueError for values that do not fit in 16 bits."""
        if not (isinstance(inpt, Image.Image) and inpt.mode == "I"):
            return super().transform(inpt, params)
        values = np.asarray(inpt)
        if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004
            raise ValueError(
                f"an image contains grayscale values from {values.min()} to {values.max()}; they must be between 0 and 65535"
            )
        return torch.from_numpy(values.astype(np.uint16))[None]


class Grayscale(v2.Grayscale):  # type: ignore[misc]
    """Convert colours to grayscale; images of more than 8 bits are rejected, because torchvision makes values above 255 white."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Convert one entry of the sample. Raises ValueError for a grayscale image of more than 8 bits."""
        if isinstance(inpt, Image.Image) and inpt.mode[0] in "IF":
            raise ValueError(
                f"GRAY_SCALE requires 8 bits per channel, but an image has mode {inpt.mode}, which is already grayscale;"
                " remove GRAY_SCALE from [transform]"
            )
        return super().transform(inpt, params)
