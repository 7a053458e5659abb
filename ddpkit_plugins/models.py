"""Models."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """The models."""
    yield Component("resnet18", "ddpkit_plugins.models:resnet18", doc="torchvision's ResNet-18, 11 million parameters")


def resnet18(n_channels: int = 3, n_classes: int = 1000) -> "nn.Module":
    """ResNet-18 (He et al. 2016, "Deep residual learning for image recognition"), from torchvision, untrained.

    Takes images [B, n_channels, H, W] and returns logits [B, n_classes]. Another `n_channels` than 3 replaces the first
    convolution.
    """
    from torch import nn  # noqa: PLC0415 - heavy, and wanted by runs alone
    from torchvision.models import resnet18 as torchvision_resnet18  # noqa: PLC0415

    if n_channels < 1 or n_classes < 1:
        raise ValueError(f"n_channels and n_classes are at least 1, got {n_channels} and {n_classes}")
    model: nn.Module = torchvision_resnet18(num_classes=n_classes)
    if n_channels != 3:  # noqa: PLR2004 - red, green and blue
        model.conv1 = nn.Conv2d(n_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
