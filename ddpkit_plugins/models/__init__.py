"""Models: declared here, built in the files beside."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddpkit import Component, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """The models."""
    here = "ddpkit_plugins.models"
    yield Component("unet", f"{here}.unet:UNet", doc="segmentation: a U-Net of any depth and width")
    yield Component("torchvision", f"{here}:torchvision", doc="any classifier of torchvision, chosen by arch")
    yield Component("resnet18", f"{here}:resnet18", doc="torchvision's ResNet-18, 11 million parameters")
    yield Component("resnet34", f"{here}:resnet34", doc="torchvision's ResNet-34, 21 million parameters")
    yield Component("resnet50", f"{here}:resnet50", doc="torchvision's ResNet-50, 24 million parameters")
    yield Component("efficientnet_b0", f"{here}:efficientnet_b0", doc="torchvision's EfficientNet-B0, 5 million parameters")
    yield Component("mobilenet_v3_small", f"{here}:mobilenet_v3_small", doc="torchvision's MobileNetV3, 2 million parameters")
    yield Component("convnext_tiny", f"{here}:convnext_tiny", doc="torchvision's ConvNeXt-T, 28 million parameters")
    yield Component("vit_b_16", f"{here}:vit_b_16", doc="torchvision's ViT-B/16 for 224x224 pixels, 86 million parameters")


def torchvision(arch: str, n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002 - a key of the TOML
    """A classifier of torchvision: images [B, n_channels, H, W] to logits [B, n_classes].

    Args:
        arch: Its name there, as in `resnet50`.
        n_channels: Another number than 3 replaces the first convolution; published weights are summed over the channels
            for 1, repeated and scaled for others.
        n_classes: Outputs.
        pretrained: Begin with the weights that torchvision publishes (a download).
    """
    from ddpkit_plugins.models.classifiers import classifier  # noqa: PLC0415 - heavy, and wanted by runs alone

    return classifier(arch, n_channels, n_classes, pretrained=pretrained)


def resnet18(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """ResNet-18 (He et al. 2016, "Deep residual learning for image recognition"); parameters as of `torchvision`."""
    return torchvision("resnet18", n_channels, n_classes, pretrained)


def resnet34(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """ResNet-34 (He et al. 2016); parameters as of `torchvision`."""
    return torchvision("resnet34", n_channels, n_classes, pretrained)


def resnet50(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """ResNet-50 (He et al. 2016); parameters as of `torchvision`."""
    return torchvision("resnet50", n_channels, n_classes, pretrained)


def efficientnet_b0(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """EfficientNet-B0 (Tan and Le 2019); parameters as of `torchvision`."""
    return torchvision("efficientnet_b0", n_channels, n_classes, pretrained)


def mobilenet_v3_small(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """MobileNetV3, small (Howard et al. 2019); parameters as of `torchvision`."""
    return torchvision("mobilenet_v3_small", n_channels, n_classes, pretrained)


def convnext_tiny(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """ConvNeXt-T (Liu et al. 2022); parameters as of `torchvision`."""
    return torchvision("convnext_tiny", n_channels, n_classes, pretrained)


def vit_b_16(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> "nn.Module":  # noqa: FBT001, FBT002
    """ViT-B/16 (Dosovitskiy et al. 2021) for images of 224x224 pixels; parameters as of `torchvision`."""
    return torchvision("vit_b_16", n_channels, n_classes, pretrained)
