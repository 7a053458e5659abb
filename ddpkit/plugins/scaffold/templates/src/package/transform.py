"""Transform: a change of one image and its target."""

from typing import Any

import torch


class Cutout:
    """Set a random square of the image to 0 (DeVries and Taylor 2017, "Cutout").

    The random numbers come from the global generator of torch. ddpkit seeds it for each
    sample, so a run can be repeated.

    Args:
        size: Side of the square in pixels; the border of the image may cut it off.
    """

    def __init__(self, size: int = 8) -> None:
        self.size = size

    def __call__(self, image: torch.Tensor, target: Any) -> tuple[torch.Tensor, Any]:
        """Return the changed image [C, H, W] and the same target."""
        height, width = image.shape[-2:]
        bottom = int(torch.randint(1, height + self.size, ()))
        right = int(torch.randint(1, width + self.size, ()))
        top, left = max(bottom - self.size, 0), max(right - self.size, 0)
        image = image.clone()
        image[..., top:bottom, left:right] = 0
        return image, target
