"""Transforms: torchvision's v2, under the names of the TOML.

They are called with `(image, target)`. A target that is a `tv_tensors.Mask` moves with its image by nearest neighbour, so it
keeps its values. Boxes in a target that is a dict move with their image; boxes that leave the image are removed together with
their labels. Any other target, such as a class index, stays unchanged. If an image is moved, the area that comes from outside the
image is filled with 0: black in an image, class 0 in a mask.
"""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_transforms() -> Iterator[Component]:
    """Yield the built-in transforms."""
    here = "ddpkit_plugins.transforms"
    same, to_tensor = (functools.partial(Component, image_type=image_type) for image_type in ("same", "tensor"))
    yield same("RESIZE", f"{here}:resize", doc="resize to height x width, whatever the aspect ratio")
    yield same("CROP", f"{here}:crop", doc="crop height x width pixels at a random position", train_only=True)
    yield same("CENTER_CROP", f"{here}:center_crop", doc="crop height x width pixels in the middle")
    yield same("HFLIP", f"{here}:hflip", doc="flip left and right with probability p", train_only=True)
    yield same("VFLIP", f"{here}:vflip", doc="flip top and bottom with probability p", train_only=True)
    yield same("ROTATION", f"{here}:rotation", doc="rotate by a random angle, at most `degrees`", train_only=True)
    yield same("INVERT", f"{here}:invert", doc="invert the values with probability p", train_only=True)
    jitter = "change brightness, contrast, saturation and hue at random"
    yield same("COLOR_JITTER", f"{here}:color_jitter", doc=jitter, train_only=True)
    yield same("GAUSSIAN_BLUR", f"{here}:gaussian_blur", doc="blur with a Gaussian of random width", train_only=True)
    yield same("GRAY_SCALE", f"{here}:gray_scale", doc="convert colours to grayscale, with one channel or three equal ones")
    yield same(
        "AUG_MIX", f"{here}:aug_mix", doc="mix several distorted copies of an image; only for integer images", train_only=True
    )
    yield to_tensor("TO_TENSOR", f"{here}:to_tensor", doc="convert a PIL image to a float32 tensor [C, H, W] in 0..1")
    yield to_tensor("PIL_TO_TENSOR", f"{here}:pil_to_tensor", doc="convert a PIL image to a uint8 tensor [C, H, W]")
    yield same("CONVERT_IMAGE_DTYPE", f"{here}:convert_image_dtype", doc="convert integers to floats in 0..1", batchable=True)
    yield same("NORMALIZE", f"{here}:normalize", doc="subtract mean and divide by std, per channel", batchable=True)


def resize(height: int = 224, width: int | None = None) -> "nn.Module":
    """Resize to `height` x `width` pixels, whatever the aspect ratio.

    Images are resized bilinearly with antialiasing, masks by nearest neighbour. Raises ValueError for a size below 1.

    Args:
        height: Height in pixels, at least 1.
        width: Width in pixels, at least 1. Absent: the height.
    """
    from ddpkit_plugins.transforms.resizing import Resize  # noqa: PLC0415 - slow import that only runs need

    transform: nn.Module = Resize(to_size(height, width))
    return transform


def crop(height: int = 224, width: int | None = None) -> "nn.Module":
    """Crop a window of `height` x `width` pixels at a random position; a smaller image is padded with 0.

    Raises ValueError for a size below 1.

    Args:
        height: Height in pixels, at least 1.
        width: Width in pixels, at least 1. Absent: the height.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.boxes import BoxAwareTransform  # noqa: PLC0415

    return BoxAwareTransform(v2.RandomCrop(to_size(height, width), pad_if_needed=True))


def center_crop(height: int = 224, width: int | None = None) -> "nn.Module":
    """Crop the window of `height` x `width` pixels in the middle; a smaller image is padded with 0.

    Raises ValueError for a size below 1.

    Args:
        height: Height in pixels, at least 1.
        width: Width in pixels, at least 1. Absent: the height.
    """
    from ddpkit_plugins.transforms.boxes import BoxAwareTransform  # noqa: PLC0415
    from ddpkit_plugins.transforms.resizing import CenterCrop  # noqa: PLC0415

    return BoxAwareTransform(CenterCrop(to_size(height, width)))


def hflip(p: float = 0.5) -> "nn.Module":
    """Flip left and right with probability `p`.

    Args:
        p: Probability, from 0 to 1. Raises ValueError for others.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomHorizontalFlip(check_probability(p))
    return transform


def vflip(p: float = 0.5) -> "nn.Module":
    """Flip top and bottom with probability `p`.

    Args:
        p: Probability, from 0 to 1. Raises ValueError for others.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomVerticalFlip(check_probability(p))
    return transform


def rotation(degrees: float) -> "nn.Module":
    """Rotate by a random angle from -degrees to degrees; the area that comes from outside the image is black.

    Args:
        degrees: Largest angle in degrees, at least 0. Raises ValueError for less.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.boxes import BoxAwareTransform  # noqa: PLC0415

    if degrees < 0:
        raise ValueError(f"degrees must be at least 0; got {degrees}")
    return BoxAwareTransform(v2.RandomRotation(degrees))


def invert(p: float = 0.5) -> "nn.Module":
    """Invert the values with probability `p`: each `v` becomes `largest - v`, with 255 for uint8 and 1 for floats.

    Args:
        p: Probability, from 0 to 1. Raises ValueError for others.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomInvert(check_probability(p))
    return transform


def color_jitter(brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.0) -> "nn.Module":
    """Change brightness, contrast, saturation and hue at random, in random order.

    Raises ValueError for values out of range.

    Args:
        brightness: At least 0. The factor is drawn from 1 - brightness to 1 + brightness, never below 0.
        contrast: Same as brightness, for the contrast.
        saturation: Same as brightness, for the saturation; it does not change grayscale images.
        hue: From 0 to 0.5. The shift is drawn from -hue to hue, as a fraction of the colour circle; grayscale images stay
            unchanged.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:  # noqa: PLR2004 - half a turn
        given = f"{brightness}, {contrast}, {saturation} and {hue}"
        raise ValueError(f"brightness, contrast and saturation must be at least 0 and hue between 0 and 0.5; got {given}")
    transform: nn.Module = v2.ColorJitter(brightness, contrast, saturation, hue)
    return transform


def gaussian_blur(kernel_size: int = 3, sigma: tuple[float, float] = (0.1, 2.0)) -> "nn.Module":
    """Blur with a Gaussian kernel of random strength.

    Raises ValueError for values out of range.

    Args:
        kernel_size: Width of the kernel in pixels, odd; half of it must be less than the height and width of the image.
        sigma: Smallest and largest standard deviation in pixels, greater than 0. The standard deviation is drawn for each image.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 1; got {kernel_size}")
    if not 0 < sigma[0] <= sigma[1]:
        wanted = "the smallest and the largest standard deviation, both greater than 0"
        raise ValueError(f"sigma must be {wanted}; got {list(sigma)}")
    transform: nn.Module = v2.GaussianBlur(kernel_size, sigma)
    return transform


def gray_scale(n_channels: int = 1) -> "nn.Module":
    """Convert colours to grayscale by the weights of ITU-R BT.601: 0.299 red + 0.587 green + 0.114 blue.

    Args:
        n_channels: 1, or 3 for three equal channels, for models that expect colours. Raises ValueError for others.
    """
    from ddpkit_plugins.transforms.bit_depth import Grayscale  # noqa: PLC0415

    if n_channels not in (1, 3):
        raise ValueError(f"n_channels must be 1 or 3; got {n_channels}")
    transform: nn.Module = Grayscale(n_channels)
    return transform


def aug_mix(severity: int = 3, mixture_width: int = 3) -> "nn.Module":
    """Mix the image with copies that went through random chains of distortions: AugMix (Hendrycks et al. 2020).

    It accepts PIL images of mode `L` or `RGB`, and uint8 tensors with one or three channels, so it must come before TO_TENSOR and
    CONVERT_IMAGE_DTYPE. If the target is a mask or has boxes, only colours are distorted, because copies with different
    movements have no common mask. Raises ValueError for values out of range.

    Args:
        severity: Strength of the distortions, from 1 to 10.
        mixture_width: Number of copies, at least 1.
    """
    from ddpkit_plugins.transforms.mixing import AugMix  # noqa: PLC0415

    if not 1 <= severity <= 10 or mixture_width < 1:  # noqa: PLR2004 - torchvision's limits
        given = f"{severity} and {mixture_width}"
        raise ValueError(f"severity must be between 1 and 10 and mixture_width must be at least 1; got {given}")
    return AugMix(severity, mixture_width)


def to_tensor() -> "nn.Module":
    """Convert a PIL image to a float32 tensor [C, H, W], scaled to 0..1. The target stays unchanged."""
    import torch  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.bit_depth import PilToTensor  # noqa: PLC0415

    transform: nn.Module = v2.Compose([PilToTensor(), v2.ToDtype(torch.float32, scale=True)])
    return transform


def pil_to_tensor() -> "nn.Module":
    """Convert a PIL image to a uint8 tensor [C, H, W]; a 16-bit grayscale image becomes uint16. The target stays unchanged."""
    from ddpkit_plugins.transforms.bit_depth import PilToTensor  # noqa: PLC0415

    transform: nn.Module = PilToTensor()
    return transform


def convert_image_dtype(dtype: Literal["float32", "float64"] = "float32") -> "nn.Module":
    """Convert integer images to floats, scaled from their range to 0..1. The target stays unchanged.

    Args:
        dtype: The float dtype.
    """
    import torch  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.ToDtype(getattr(torch, dtype), scale=True)
    return transform


def normalize(mean: list[float], std: list[float]) -> "nn.Module":
    """Normalise each channel of a float image: `(image - mean) / std`.

    A single mean and std apply to all channels. Images with another number of channels raise ValueError when they are
    transformed.

    Args:
        mean: One number per channel.
        std: One number per channel, greater than 0. Raises ValueError for others.
    """
    from ddpkit_plugins.transforms.normalization import Normalize  # noqa: PLC0415

    if not mean or len(mean) != len(std) or not all(each > 0 for each in std):
        raise ValueError(f"mean and std must have one number per channel, with each std greater than 0; got {mean} and {std}")
    return Normalize(mean, std)


def to_size(height: int, width: int | None) -> list[int]:
    """Return height and width in torchvision's form. Raises ValueError for a size below 1."""
    sides = [height, height if width is None else width]
    if min(sides) < 1:
        raise ValueError(f"height and width must be at least 1; got {sides}")
    return sides


def check_probability(p: float) -> float:
    """Return `p`. Raises ValueError if it is not between 0 and 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must be between 0 and 1; got {p}")
    return p
