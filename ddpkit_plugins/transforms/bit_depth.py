"""Grey images of more than 8 bits, where torchvision would cut or lose their values."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2


class PilToTensor(v2.PILToTensor):  # type: ignore[misc]  # torchvision is not typed
    """Images of mode `I`, 32 bits, hold 16 in truth (so Pillow opened such files): uint16, whose range is known."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the sample's parts. Raises ValueError for values that are beyond 16 bits."""
        if not (isinstance(inpt, Image.Image) and inpt.mode == "I"):
            return super().transform(inpt, params)
        values = np.asarray(inpt)
        if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004
            raise ValueError(f"an image holds grey values {values.min()} to {values.max()}; 8 or 16 bits are needed")
        return torch.from_numpy(values.astype(np.uint16))[None]


class Grayscale(v2.Grayscale):  # type: ignore[misc]
    """Refuses images of 16 bits: of them, it would make all above 255 white."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the sample's parts. Raises ValueError for an image that is grey already, and deeper than 8 bits."""
        if isinstance(inpt, Image.Image) and inpt.mode[0] in "IF":
            raise ValueError(f"GRAY_SCALE takes 8 bits a channel, an image has mode {inpt.mode}; it is grey, leave this out")
        return super().transform(inpt, params)
