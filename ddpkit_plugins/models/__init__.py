"""Models: declared here, one module per family."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl

HERE = "ddpkit_plugins.models"


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """Yield the built-in models."""
    yield from classifier_components()
    yield from segmenter_components()
    yield from detector_components()
    yield Component(
        "torchvision",
        f"{HERE}.torchvision_models:torchvision",
        doc="any model of torchvision, selected by arch",
        draws=("torch",),
    )
    yield Component("unet", f"{HERE}.unet:UNet", doc="U-Net for segmentation of images of any size", draws=())


def classifier_components() -> Iterator[Component]:
    """Yield a selection of torchvision's classifiers; `torchvision/*` has all models."""
    here = f"{HERE}.classifiers"
    yield Component("resnet18", f"{here}:resnet18", doc="torchvision's ResNet-18, 11 million parameters", draws=())
    yield Component("resnet34", f"{here}:resnet34", doc="torchvision's ResNet-34, 21 million parameters", draws=())
    yield Component("resnet50", f"{here}:resnet50", doc="torchvision's ResNet-50, 24 million parameters", draws=())
    yield Component("resnet101", f"{here}:resnet101", doc="torchvision's ResNet-101, 43 million parameters", draws=())
    yield Component("densenet121", f"{here}:densenet121", doc="torchvision's DenseNet-121, 8 million parameters", draws=())
    yield Component(
        "efficientnet_b0", f"{here}:efficientnet_b0", doc="torchvision's EfficientNet-B0, 4 million parameters", draws=("torch",)
    )
    yield Component(
        "mobilenet_v3_small",
        f"{here}:mobilenet_v3_small",
        doc="torchvision's MobileNet v3 small, 1.5 million parameters",
        draws=("torch",),
    )
    yield Component(
        "mobilenet_v3_large",
        f"{here}:mobilenet_v3_large",
        doc="torchvision's MobileNet v3 large, 5 million parameters",
        draws=("torch",),
    )
    yield Component(
        "vit_b_16", f"{here}:vit_b_16", doc="torchvision's ViT-B/16 for 224x224, 86 million parameters", draws=("torch",)
    )
    yield Component("swin_t", f"{here}:swin_t", doc="torchvision's Swin tiny, 28 million parameters", draws=("torch",))
    yield Component(
        "convnext_tiny", f"{here}:convnext_tiny", doc="torchvision's ConvNeXt tiny, 28 million parameters", draws=("torch",)
    )


def segmenter_components() -> Iterator[Component]:
    """Yield the segmenters, which return the logits of each class per pixel."""
    here = f"{HERE}.segmenters"
    yield Component("fcn_resnet50", f"{here}:fcn_resnet50", doc="torchvision's FCN, 33 million parameters", draws=("torch",))
    yield Component(
        "deeplabv3_resnet50",
        f"{here}:deeplabv3_resnet50",
        doc="torchvision's DeepLab v3, 40 million parameters",
        draws=("torch",),
    )
    yield Component(
        "deeplabv3_mobilenet_v3_large",
        f"{here}:deeplabv3_mobilenet_v3_large",
        doc="torchvision's DeepLab v3, 11 million parameters",
        draws=("torch",),
    )
    yield Component(
        "lraspp_mobilenet_v3_large",
        f"{here}:lraspp_mobilenet_v3_large",
        doc="torchvision's Lite R-ASPP, 3 million parameters",
        draws=(),
    )


def detector_components() -> Iterator[Component]:
    """Yield the detectors, which return boxes and compute their own losses."""
    here = f"{HERE}.detectors"
    yield Component(
        "fasterrcnn_resnet50_fpn",
        f"{here}:fasterrcnn_resnet50_fpn",
        doc="torchvision's Faster R-CNN, 42 million parameters",
        draws=("torch",),
    )
    yield Component(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        f"{here}:fasterrcnn_mobilenet_v3_large_320_fpn",
        doc="torchvision's Faster R-CNN for small images, 19 million parameters",
        draws=("torch",),
    )
    yield Component(
        "retinanet_resnet50_fpn",
        f"{here}:retinanet_resnet50_fpn",
        doc="torchvision's RetinaNet, 34 million parameters",
        draws=("torch",),
    )
    yield Component(
        "fcos_resnet50_fpn", f"{here}:fcos_resnet50_fpn", doc="torchvision's FCOS, 32 million parameters", draws=("torch",)
    )
    yield Component(
        "ssd300_vgg16", f"{here}:ssd300_vgg16", doc="torchvision's SSD for 300x300, 36 million parameters", draws=("torch",)
    )
    yield Component(
        "ssdlite320_mobilenet_v3_large",
        f"{here}:ssdlite320_mobilenet_v3_large",
        doc="torchvision's SSDlite for 320x320",
        draws=("torch",),
    )
