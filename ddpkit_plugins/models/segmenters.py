"""Segmenters of torchvision, by name."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def fcn_resnet50(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build FCN on ResNet-50 (Long et al. 2015, "Fully convolutional networks for semantic segmentation").

    Parameters: see the model `torchvision`.
    """
    return torchvision("fcn_resnet50", n_channels, n_classes, pretrained)


def deeplabv3_resnet50(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build DeepLab v3 on ResNet-50 (Chen et al. 2017, "Rethinking atrous convolution").

    Parameters: see the model `torchvision`.
    """
    return torchvision("deeplabv3_resnet50", n_channels, n_classes, pretrained)


def deeplabv3_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build DeepLab v3 on MobileNet v3 large (Chen et al. 2017).

    Parameters: see the model `torchvision`.
    """
    return torchvision("deeplabv3_mobilenet_v3_large", n_channels, n_classes, pretrained)


def lraspp_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Build Lite R-ASPP (Howard et al. 2019, "Searching for MobileNetV3").

    Parameters: see the model `torchvision`.
    """
    return torchvision("lraspp_mobilenet_v3_large", n_channels, n_classes, pretrained)
