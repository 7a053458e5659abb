"""Transforms of grey images with more than 8 bits, whose values torchvision would cut or lose."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2


class PilToTensor(v2.PILToTensor):  # type: ignore[misc]  # torchvision is not typed
    """Convert a PIL image to a tensor [C, H, W]; an image of mode `I` becomes uint16.

    Pillow opens 16-bit files in mode `I`, which has 32 bits. uint16 tells later transforms the true range.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Convert one entry of the sample. Raises ValueError for values that do not fit in 16 bits."""
        if not (isinstance(inpt, Image.Image) and inpt.mode == "I"):
            return super().transform(inpt, params)
        values = np.asarray(inpt)
        if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004
            raise ValueError(f"an image holds grey values {values.min()} to {values.max()}; 8 or 16 bits are needed")
        return torch.from_numpy(values.astype(np.uint16))[None]


class Grayscale(v2.Grayscale):  # type: ignore[misc]
    """Convert colours to grey; images of more than 8 bits are rejected, because torchvision makes values above 255 white."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Convert one entry of the sample. Raises ValueError for a grey image of more than 8 bits."""
        if isinstance(inpt, Image.Image) and inpt.mode[0] in "IF":
            raise ValueError(f"GRAY_SCALE takes 8 bits a channel, an image has mode {inpt.mode}; it is grey, leave this out")
        return super().transform(inpt, params)
