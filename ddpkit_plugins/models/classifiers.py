"""Classifiers of torchvision, by name."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def resnet18(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ResNet-18 (He et al. 2016, "Deep residual learning for image recognition").

    Parameters: see the model `torchvision`.
    """
    return torchvision("resnet18", n_channels, n_classes, pretrained)


def resnet34(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ResNet-34 (He et al. 2016).

    Parameters: see the model `torchvision`.
    """
    return torchvision("resnet34", n_channels, n_classes, pretrained)


def resnet50(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ResNet-50 (He et al. 2016).

    Parameters: see the model `torchvision`.
    """
    return torchvision("resnet50", n_channels, n_classes, pretrained)


def resnet101(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ResNet-101 (He et al. 2016).

    Parameters: see the model `torchvision`.
    """
    return torchvision("resnet101", n_channels, n_classes, pretrained)


def densenet121(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build DenseNet-121 (Huang et al. 2017, "Densely connected convolutional networks").

    Parameters: see the model `torchvision`.
    """
    return torchvision("densenet121", n_channels, n_classes, pretrained)


def efficientnet_b0(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build EfficientNet-B0 (Tan and Le 2019, "EfficientNet").

    Parameters: see the model `torchvision`.
    """
    return torchvision("efficientnet_b0", n_channels, n_classes, pretrained)


def mobilenet_v3_small(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build MobileNet v3 small (Howard et al. 2019, "Searching for MobileNetV3").

    Parameters: see the model `torchvision`.
    """
    return torchvision("mobilenet_v3_small", n_channels, n_classes, pretrained)


def mobilenet_v3_large(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build MobileNet v3 large (Howard et al. 2019).

    Parameters: see the model `torchvision`.
    """
    return torchvision("mobilenet_v3_large", n_channels, n_classes, pretrained)


def vit_b_16(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ViT-B/16 for images of 224 x 224 pixels (Dosovitskiy et al. 2021, "An image is worth 16x16 words").

    Parameters: see the model `torchvision`.
    """
    return torchvision("vit_b_16", n_channels, n_classes, pretrained)


def swin_t(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build Swin tiny (Liu et al. 2021, "Swin transformer").

    Parameters: see the model `torchvision`.
    """
    return torchvision("swin_t", n_channels, n_classes, pretrained)


def convnext_tiny(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build ConvNeXt tiny (Liu et al. 2022, "A ConvNet for the 2020s").

    Parameters: see the model `torchvision`.
    """
    return torchvision("convnext_tiny", n_channels, n_classes, pretrained)
