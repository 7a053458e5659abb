"""Models: declared here, one file a family."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """The models."""
    here = "ddpkit_plugins.models"
    yield Component("resnet18", f"{here}.classifiers:resnet18", doc="torchvision's ResNet-18, 11 million parameters")
    yield Component("resnet34", f"{here}.classifiers:resnet34", doc="torchvision's ResNet-34, 21 million parameters")
    yield Component("resnet50", f"{here}.classifiers:resnet50", doc="torchvision's ResNet-50, 24 million parameters")
    yield Component("resnet101", f"{here}.classifiers:resnet101", doc="torchvision's ResNet-101, 43 million parameters")
    yield Component("efficientnet_b0", f"{here}.classifiers:efficientnet_b0", doc="torchvision's, 4 million parameters")
    yield Component("mobilenet_v3_small", f"{here}.classifiers:mobilenet_v3_small", doc="torchvision's, 1.5 million parameters")
    yield Component("vit_b_16", f"{here}.classifiers:vit_b_16", doc="torchvision's ViT-B/16 for 224x224, 86 million parameters")
    yield Component("convnext_tiny", f"{here}.classifiers:convnext_tiny", doc="torchvision's, 28 million parameters")
    yield Component("torchvision", f"{here}.classifiers:torchvision", doc="any classifier of torchvision, chosen by arch")
    yield Component("unet", f"{here}.unet:UNet", doc="U-Net for segmentation of images of any size")
