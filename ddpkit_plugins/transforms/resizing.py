"""A size for images, masks and boxes alike."""

from collections.abc import Sequence
from typing import Any

from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Mask, wrap


class Resize(v2.Resize):  # type: ignore[misc]  # torchvision is not typed
    """Images bilinear, smoothed where they shrink; a mask's pixel is that of which the centre is nearest.

    Torchvision's takes for masks the pixel left of and above it, which moves a mask by up to half a pixel against its image.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__(size, antialias=True)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the sample's parts."""
        if not isinstance(inpt, Mask):
            return super().transform(inpt, params)
        layers = inpt.reshape(-1, 1, *inpt.shape[-2:])
        resized = functional.resize_image(layers, self.size, interpolation=InterpolationMode.NEAREST_EXACT)
        return wrap(resized.reshape(*inpt.shape[:-2], *self.size), like=inpt)


class CenterCrop(v2.CenterCrop):  # type: ignore[misc]
    """A border of nought where there is less than the window, the odd pixel right and below.

    Torchvision's rounds half of an odd border down for images and to the even number for boxes, which are then a pixel off.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the sample's parts."""
        height, width = (max(wanted - there, 0) for wanted, there in zip(self.size, functional.get_size(inpt), strict=True))
        left, top = width // 2, height // 2
        bordered = functional.pad(inpt, [left, top, width - left, height - top]) if width or height else inpt
        return super().transform(bordered, params)
