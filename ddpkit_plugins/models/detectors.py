"""torchvision's detectors by name; `n_classes` is without the background."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def fasterrcnn_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015, "Faster R-CNN") on ResNet-50 with a pyramid; parameters as of `torchvision`."""
    return torchvision("fasterrcnn_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def fasterrcnn_mobilenet_v3_large_320_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 320,
    max_size: int = 640,
) -> nn.Module:
    """Faster R-CNN on MobileNet v3 large, for small images; parameters as of `torchvision`."""
    return torchvision("fasterrcnn_mobilenet_v3_large_320_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def retinanet_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """RetinaNet (Lin et al. 2017, "Focal loss for dense object detection"); parameters as of `torchvision`."""
    return torchvision("retinanet_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def fcos_resnet50_fpn(
    n_channels: int = 3,
    n_classes: int = 90,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """FCOS (Tian et al. 2019, "FCOS: fully convolutional one-stage object detection"); as of `torchvision`."""
    return torchvision("fcos_resnet50_fpn", n_channels, n_classes, pretrained, min_size, max_size)


def ssd300_vgg16(n_channels: int = 3, n_classes: int = 90, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """SSD of 300 x 300 pixels (Liu et al. 2016, "SSD: single shot multibox detector"); parameters as of `torchvision`."""
    return torchvision("ssd300_vgg16", n_channels, n_classes, pretrained)


def ssdlite320_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 90, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """SSDlite of 320 x 320 pixels (Sandler et al. 2018, "MobileNetV2"); parameters as of `torchvision`."""
    return torchvision("ssdlite320_mobilenet_v3_large", n_channels, n_classes, pretrained)
