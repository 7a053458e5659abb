"""torchvision's segmenters by name."""

from torch import nn

from ddpkit_plugins.models.torchvision_models import torchvision


def fcn_resnet50(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """FCN on ResNet-50 (Long et al. 2015, "Fully convolutional networks for semantic segmentation"); as of `torchvision`."""
    return torchvision("fcn_resnet50", n_channels, n_classes, pretrained)


def deeplabv3_resnet50(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """DeepLab v3 on ResNet-50 (Chen et al. 2017, "Rethinking atrous convolution"); parameters as of `torchvision`."""
    return torchvision("deeplabv3_resnet50", n_channels, n_classes, pretrained)


def deeplabv3_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """DeepLab v3 on MobileNet v3 large (Chen et al. 2017); parameters as of `torchvision`."""
    return torchvision("deeplabv3_mobilenet_v3_large", n_channels, n_classes, pretrained)


def lraspp_mobilenet_v3_large(n_channels: int = 3, n_classes: int = 21, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """Lite R-ASPP (Howard et al. 2019, "Searching for MobileNetV3"); parameters as of `torchvision`."""
    return torchvision("lraspp_mobilenet_v3_large", n_channels, n_classes, pretrained)
