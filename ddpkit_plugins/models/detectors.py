"""Detectors of torchvision, by name; `n_classes` does not include the background."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def fasterrcnn_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """Build Faster R-CNN on ResNet-50 with a feature pyramid (Ren et al. 2015, "Faster R-CNN").

    Parameters: see the model `torchvision`.
    """
    return torchvision("fasterrcnn_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def fasterrcnn_mobilenet_v3_large_320_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 320,
    max_size: int = 640,
) -> nn.Module:
    """Build Faster R-CNN on MobileNet v3 large, for small images.

    Parameters: see the model `torchvision`.
    """
    return torchvision("fasterrcnn_mobilenet_v3_large_320_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def retinanet_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """Build RetinaNet (Lin et al. 2017, "Focal loss for dense object detection").

    Parameters: see the model `torchvision`.
    """
    return torchvision("retinanet_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def fcos_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """Build FCOS (Tian et al. 2019, "FCOS: fully convolutional one-stage object detection").

    Parameters: see the model `torchvision`.
    """
    return torchvision("fcos_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def ssd300_vgg16(n_channels: int = 3, n_classes: int = 90, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build SSD for images of 300 x 300 pixels (Liu et al. 2016, "SSD: single shot multibox detector").

    Parameters: see the model `torchvision`.
    """
    return torchvision("ssd300_vgg16", n_channels, n_classes, pretrained)


def ssdlite320_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 90, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build SSDlite for images of 320 x 320 pixels (Sandler et al. 2018, "MobileNetV2").

    Parameters: see the model `torchvision`.
    """
    return torchvision("ssdlite320_mobilenet_v3_large", n_channels, n_classes, pretrained)
