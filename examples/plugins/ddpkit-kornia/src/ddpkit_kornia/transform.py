"""Geometric transforms of kornia for an image and its mask."""

from collections.abc import Mapping
from typing import Any

import torch
from kornia.augmentation import (
    AugmentationSequential,
    RandomAffine,
    RandomElasticTransform,
    RandomPerspective,
)
from kornia.constants import DataKey, Resample
from torch import nn
from torchvision.tv_tensors import Mask, TVTensor


class ForImageAndMask:
    """Apply a random transform of kornia to an image, and the same one, with the nearest pixel, to its mask."""

    def __init__(self, transform: nn.Module):
        nearest = {DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": False}}
        self.transform = AugmentationSequential(transform, data_keys=None, extra_args=nearest)

    def __call__(self, image: torch.Tensor, target: Any) -> tuple[torch.Tensor, Any]:
        """Return the changed image [C, H, W], a float tensor, and the target with the changed mask [H, W].

        Raises:
            ValueError: The image is not a float tensor, or the target has boxes.
        """
        if not (isinstance(image, torch.Tensor) and image.is_floating_point()):
            raise ValueError("transforms of kornia change float tensors; put them after TO_TENSOR")
        if has_boxes(target):
            raise ValueError("this transform moves pixels, but not boxes; remove it")
        if not isinstance(target, Mask):
            return self.transform({"image": image[None]})["image"][0], target
        changed = self.transform({"image": image[None], "mask": target[None, None].to(image.dtype)})
        return changed["image"][0], Mask(changed["mask"][0, 0].round().to(target.dtype))


def has_boxes(target: Any) -> bool:
    if isinstance(target, Mapping):
        return any(isinstance(leaf, TVTensor) for leaf in target.values())
    return isinstance(target, TVTensor) and not isinstance(target, Mask)


def affine(
    degrees: float = 15.0,
    translate: list[float] | None = None,
    scale: list[float] | None = None,
    shear: float | None = None,
    p: float = 0.5,
) -> ForImageAndMask:
    """Build a random rotation, shift, scaling and shear.

    Args:
        degrees: Largest angle of the rotation.
        translate: Largest shift to the right and down, as shares of width and height, 0..1. Absent: no shift.
        scale: Smallest and largest factor. Absent: 1.
        shear: Largest angle of the shear in degrees. Absent: no shear.
        p: Probability of a change.
    """
    pairs = [tuple(pair) if pair else None for pair in (translate, scale)]
    return ForImageAndMask(RandomAffine(degrees, *pairs, shear, p=p))


def perspective(distortion: float = 0.3, p: float = 0.5) -> ForImageAndMask:
    """Build a random perspective. Corners move by at most half the share `distortion`, 0..1, of the sides."""
    return ForImageAndMask(RandomPerspective(distortion, p=p))


def elastic(kernel: int = 63, sigma: float = 32.0, alpha: float = 1.0, p: float = 0.5) -> ForImageAndMask:
    """Build a random elastic deformation.

    Args:
        kernel: Side of the smoothing kernel in pixels, odd, at most twice the sides of the image.
        sigma: Standard deviation of the smoothing in pixels; a larger one gives smoother shifts.
        alpha: Factor of the shifts.
        p: Probability of a change.
    """
    return ForImageAndMask(RandomElasticTransform((kernel, kernel), (sigma, sigma), (alpha, alpha), p=p))
