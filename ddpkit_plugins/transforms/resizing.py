"""Resizing and cropping that keep images, masks and boxes aligned."""

from collections.abc import Sequence
from typing import Any

from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Mask, wrap


class Resize(v2.Resize):  # type: ignore[misc]  # torchvision is not typed
    """Transform that resizes images bilinearly with antialiasing, and masks by nearest neighbour.

    For a mask, torchvision's own transform uses the pixel to the left and above instead of the one with the nearest centre. This
    moves the mask by up to half a pixel against its image.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__(size, antialias=True)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one entry of the sample."""
        if not isinstance(inpt, Mask):
            return super().transform(inpt, params)
        layers = inpt.reshape(-1, 1, *inpt.shape[-2:])
        resized = functional.resize_image(layers, self.size, interpolation=InterpolationMode.NEAREST_EXACT)
        return wrap(resized.reshape(*inpt.shape[:-2], *self.size), like=inpt)


class CenterCrop(v2.CenterCrop):  # type: ignore[misc]
    """Transform that crops the middle of an image.

    An image smaller than the window gets a border of zeros; an odd border has its extra pixel at the right and at the bottom.
    Torchvision rounds half of an odd border down for images, but to the even number for boxes, which are then one pixel off.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop one entry of the sample."""
        height, width = (max(wanted - actual, 0) for wanted, actual in zip(self.size, functional.get_size(inpt), strict=True))
        left, top = width // 2, height // 2
        bordered = functional.pad(inpt, [left, top, width - left, height - top]) if width or height else inpt
        return super().transform(bordered, params)
