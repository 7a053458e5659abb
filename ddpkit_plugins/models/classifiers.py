"""torchvision's classifiers by name."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def resnet18(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ResNet-18 (He et al. 2016, "Deep residual learning for image recognition"); parameters as of `torchvision`."""
    return torchvision("resnet18", n_channels, n_classes, pretrained)


def resnet34(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ResNet-34 (He et al. 2016); parameters as of `torchvision`."""
    return torchvision("resnet34", n_channels, n_classes, pretrained)


def resnet50(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ResNet-50 (He et al. 2016); parameters as of `torchvision`."""
    return torchvision("resnet50", n_channels, n_classes, pretrained)


def resnet101(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ResNet-101 (He et al. 2016); parameters as of `torchvision`."""
    return torchvision("resnet101", n_channels, n_classes, pretrained)


def densenet121(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """DenseNet-121 (Huang et al. 2017, "Densely connected convolutional networks"); parameters as of `torchvision`."""
    return torchvision("densenet121", n_channels, n_classes, pretrained)


def efficientnet_b0(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """EfficientNet-B0 (Tan and Le 2019, "EfficientNet"); parameters as of `torchvision`."""
    return torchvision("efficientnet_b0", n_channels, n_classes, pretrained)


def mobilenet_v3_small(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """MobileNet v3 small (Howard et al. 2019, "Searching for MobileNetV3"); parameters as of `torchvision`."""
    return torchvision("mobilenet_v3_small", n_channels, n_classes, pretrained)


def mobilenet_v3_large(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """MobileNet v3 large (Howard et al. 2019); parameters as of `torchvision`."""
    return torchvision("mobilenet_v3_large", n_channels, n_classes, pretrained)


def vit_b_16(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ViT-B/16 for 224 x 224 pixels (Dosovitskiy et al. 2021, "An image is worth 16x16 words"); as of `torchvision`."""
    return torchvision("vit_b_16", n_channels, n_classes, pretrained)


def swin_t(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Swin tiny (Liu et al. 2021, "Swin transformer"); parameters as of `torchvision`."""
    return torchvision("swin_t", n_channels, n_classes, pretrained)


def convnext_tiny(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ConvNeXt tiny (Liu et al. 2022, "A ConvNet for the 2020s"); parameters as of `torchvision`."""
    return torchvision("convnext_tiny", n_channels, n_classes, pretrained)
