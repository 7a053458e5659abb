"""Transforms: torchvision's v2, under the names of the TOML."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_transforms() -> Iterator[Component]:
    """The transforms."""
    here = "ddpkit_plugins.transforms"
    yield Component("ROTATION", f"{here}:rotation", doc="turn by a random angle of at most so many degrees", train_only=True)
    yield Component("PIL_TO_TENSOR", f"{here}:pil_to_tensor", doc="PIL image to uint8 tensor [C, H, W]")
    yield Component("CONVERT_IMAGE_DTYPE", f"{here}:convert_image_dtype", doc="integers to floats in 0..1", batchable=True)
    yield Component("NORMALIZE", f"{here}:normalize", doc="subtract mean, divide by std, a channel each", batchable=True)


def rotation(degrees: float) -> "nn.Module":
    """Turn by an angle drawn from -degrees..degrees; what comes in from outside is black."""
    from torchvision.transforms import v2  # noqa: PLC0415 - heavy, and wanted by runs alone

    if degrees < 0:
        raise ValueError(f"degrees are 0 or more, got {degrees}")
    transform: nn.Module = v2.RandomRotation(degrees)
    return transform


def pil_to_tensor() -> "nn.Module":
    """A PIL image as a uint8 tensor [C, H, W]; the target is left alone."""
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.PILToTensor()
    return transform


def convert_image_dtype(dtype: Literal["float32", "float64"] = "float32") -> "nn.Module":
    """Integer images as floats, their range scaled to 0..1."""
    import torch  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    transform: nn.Module = v2.ToDtype(getattr(torch, dtype), scale=True)
    return transform


def normalize(mean: list[float], std: list[float]) -> "nn.Module":
    """`(image - mean) / std` for each channel of a float image."""
    from torchvision.transforms import v2  # noqa: PLC0415

    if len(mean) != len(std) or not all(each > 0 for each in std):
        raise ValueError(f"mean and std hold one number a channel, std above 0; got {mean} and {std}")
    transform: nn.Module = v2.Normalize(mean, std)
    return transform
