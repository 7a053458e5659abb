"""Transforms: torchvision's v2, under the names of the TOML.

Called with `(image, target)`: a target that is a `tv_tensors.Mask` moves with its image, by nearest neighbour, and keeps its
values; boxes in a target that is a dict move with their image, and are taken out with their labels when they leave it; any other
target, a class index say, is left alone. Where an image is moved, what comes in from outside is 0: black, and class 0 of a
mask.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_transforms() -> Iterator[Component]:
    """The transforms."""
    here = "ddpkit_plugins.transforms"
    yield Component("RESIZE", f"{here}:resize", doc="to height and width, whatever the shape was")
    yield Component("CROP", f"{here}:crop", doc="a window of height and width at a random place", train_only=True)
    yield Component("CENTER_CROP", f"{here}:center_crop", doc="a window of height and width in the middle")
    yield Component("HFLIP", f"{here}:hflip", doc="left and right change places, so often", train_only=True)
    yield Component("VFLIP", f"{here}:vflip", doc="top and bottom change places, so often", train_only=True)
    yield Component("ROTATION", f"{here}:rotation", doc="turn by a random angle of at most so many degrees", train_only=True)
    yield Component("INVERT", f"{here}:invert", doc="a negative, so often", train_only=True)
    yield Component("COLOR_JITTER", f"{here}:color_jitter", doc="other brightness, contrast, saturation, hue", train_only=True)
    yield Component("GAUSSIAN_BLUR", f"{here}:gaussian_blur", doc="a blur of random strength", train_only=True)
    yield Component("GRAY_SCALE", f"{here}:gray_scale", doc="colours to grey, in one channel or three equal ones")
    yield Component("AUG_MIX", f"{here}:aug_mix", doc="a mixture of distorted copies; integer images", train_only=True)
    yield Component("TO_TENSOR", f"{here}:to_tensor", doc="PIL image to float32 tensor [C, H, W] in 0..1")
    yield Component("PIL_TO_TENSOR", f"{here}:pil_to_tensor", doc="PIL image to uint8 tensor [C, H, W]")
    yield Component("CONVERT_IMAGE_DTYPE", f"{here}:convert_image_dtype", doc="integers to floats in 0..1", batchable=True)
    yield Component("NORMALIZE", f"{here}:normalize", doc="subtract mean, divide by std, a channel each", batchable=True)


def resize(height: int = 224, width: int | None = None) -> "nn.Module":
    """To `height` x `width` pixels: images bilinear, smoothed where they shrink (antialias), masks by nearest neighbour.

    Args:
        height: From 1.
        width: From 1; absent = as the height.
    """
    from ddpkit_plugins.transforms.resizing import Resize  # noqa: PLC0415 - heavy, and wanted by runs alone

    transform: nn.Module = Resize(size(height, width))
    return transform


def crop(height: int = 224, width: int | None = None) -> "nn.Module":
    """A window of `height` x `width` pixels at a random place; a smaller image is padded with 0.

    Args:
        height: From 1.
        width: From 1; absent = as the height.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.boxes import Moving  # noqa: PLC0415

    return Moving(v2.RandomCrop(size(height, width), pad_if_needed=True))


def center_crop(height: int = 224, width: int | None = None) -> "nn.Module":
    """The window of `height` x `width` pixels in the middle; a smaller image is padded with 0.

    Args:
        height: From 1.
        width: From 1; absent = as the height.
    """
    from ddpkit_plugins.transforms.boxes import Moving  # noqa: PLC0415
    from ddpkit_plugins.transforms.resizing import CenterCrop  # noqa: PLC0415

    return Moving(CenterCrop(size(height, width)))


def hflip(p: float = 0.5) -> "nn.Module":
    """Left and right change places with probability `p`."""
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomHorizontalFlip(probability(p))
    return transform


def vflip(p: float = 0.5) -> "nn.Module":
    """Top and bottom change places with probability `p`."""
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomVerticalFlip(probability(p))
    return transform


def rotation(degrees: float) -> "nn.Module":
    """Turn by an angle drawn from -degrees..degrees; what comes in from outside is black."""
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.boxes import Moving  # noqa: PLC0415

    if degrees < 0:
        raise ValueError(f"degrees are 0 or more, got {degrees}")
    return Moving(v2.RandomRotation(degrees))


def invert(p: float = 0.5) -> "nn.Module":
    """A negative with probability `p`: each value `v` becomes `largest - v`, 255 for bytes and 1 for floats."""
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.RandomInvert(probability(p))
    return transform


def color_jitter(brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.0) -> "nn.Module":
    """Random brightness, contrast, saturation and hue, in random order.

    Args:
        brightness: The factor is drawn from 1 - brightness to 1 + brightness, never below 0.
        contrast: As brightness.
        saturation: As brightness; changes nothing in grey images.
        hue: 0..0.5: the shift, in turns of the colour circle, is drawn from -hue..hue; changes nothing in grey images.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:  # noqa: PLR2004 - half a turn
        given = f"{brightness}, {contrast}, {saturation} and {hue}"
        raise ValueError(f"brightness, contrast and saturation are 0 or more, hue is 0 to 0.5; got {given}")
    transform: nn.Module = v2.ColorJitter(brightness, contrast, saturation, hue)
    return transform


def gaussian_blur(kernel_size: int = 3, sigma: tuple[float, float] = (0.1, 2.0)) -> "nn.Module":
    """Blur with a Gaussian.

    Args:
        kernel_size: Pixels that are looked at in each direction, odd; half of it must be less than the image's sides.
        sigma: Least and largest standard deviation, in pixels, above 0; drawn for each image.
    """
    from torchvision.transforms import v2  # noqa: PLC0415

    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is odd and at least 1, got {kernel_size}")
    if not 0 < sigma[0] <= sigma[1]:
        raise ValueError(f"sigma is the least and the largest standard deviation, above 0; got {list(sigma)}")
    transform: nn.Module = v2.GaussianBlur(kernel_size, sigma)
    return transform


def gray_scale(n_channels: int = 1) -> "nn.Module":
    """Grey by the weights of ITU-R BT.601: 0.299 red + 0.587 green + 0.114 blue.

    Args:
        n_channels: 1, or 3 equal ones for models that take colours.
    """
    from ddpkit_plugins.transforms.bit_depth import Grayscale  # noqa: PLC0415

    if n_channels not in (1, 3):
        raise ValueError(f"n_channels is 1 or 3, got {n_channels}")
    transform: nn.Module = Grayscale(n_channels)
    return transform


def aug_mix(severity: int = 3, mixture_width: int = 3) -> "nn.Module":
    """AugMix (Hendrycks et al. 2020): the image mixed with copies that went through random chains of distortions.

    Takes PIL images of mode `L` or `RGB` and uint8 tensors with one or three channels, so it stands before TO_TENSOR and
    CONVERT_IMAGE_DTYPE. With a target that is a mask, or has boxes, distortions are of colours alone: copies that were moved
    apart have no common mask.

    Args:
        severity: 1..10, how strong the distortions get.
        mixture_width: Copies, at least 1.
    """
    from ddpkit_plugins.transforms.mixing import AugMix  # noqa: PLC0415

    if not 1 <= severity <= 10 or mixture_width < 1:  # noqa: PLR2004 - as torchvision has it
        raise ValueError(f"severity is 1 to 10 and mixture_width at least 1, got {severity} and {mixture_width}")
    return AugMix(severity, mixture_width)


def to_tensor() -> "nn.Module":
    """A PIL image as a float32 tensor [C, H, W], its values scaled to 0..1; the target is left alone."""
    import torch  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    from ddpkit_plugins.transforms.bit_depth import PilToTensor  # noqa: PLC0415

    transform: nn.Module = v2.Compose([PilToTensor(), v2.ToDtype(torch.float32, scale=True)])
    return transform


def pil_to_tensor() -> "nn.Module":
    """A PIL image as a uint8 tensor [C, H, W], uint16 where it is grey of 16 bits; the target is left alone."""
    from ddpkit_plugins.transforms.bit_depth import PilToTensor  # noqa: PLC0415

    transform: nn.Module = PilToTensor()
    return transform


def convert_image_dtype(dtype: Literal["float32", "float64"] = "float32") -> "nn.Module":
    """Integer images as floats, their range scaled to 0..1; the target is left alone."""
    import torch  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.ToDtype(getattr(torch, dtype), scale=True)
    return transform


def normalize(mean: list[float], std: list[float]) -> "nn.Module":
    """`(image - mean) / std` for each channel of a float image; a single mean and std are those of all channels.

    Images with another number of channels are a ValueError when they come.
    """
    from ddpkit_plugins.transforms.normalization import Normalize  # noqa: PLC0415

    if not mean or len(mean) != len(std) or not all(each > 0 for each in std):
        raise ValueError(f"mean and std hold one number a channel, std above 0; got {mean} and {std}")
    return Normalize(mean, std)


def size(height: int, width: int | None) -> list[int]:
    """Height and width as torchvision takes them; a square without a width."""
    sides = [height, height if width is None else width]
    if min(sides) < 1:
        raise ValueError(f"height and width are at least 1, got {sides}")
    return sides


def probability(p: float) -> float:
    """`p` if it is one."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, 0 to 1, got {p}")
    return p
