"""Declarations of the components. ddpkit imports this file in every command, so it imports neither the library nor torch."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl

ddpkit_api = "1.0"

MODELS = {
    "unet": ("Unet", "U-Net, Ronneberger et al. 2015"),
    "unet_plus_plus": ("UnetPlusPlus", "U-Net++, Zhou et al. 2018"),
    "manet": ("MAnet", "MA-Net, Fan et al. 2020"),
    "linknet": ("Linknet", "LinkNet, Chaurasia and Culurciello 2017"),
    "fpn": ("FPN", "feature pyramid network, Kirillov et al. 2019"),
    "pspnet": ("PSPNet", "PSPNet, Zhao et al. 2017"),
    "deeplab_v3": ("DeepLabV3", "DeepLab v3, Chen et al. 2017"),
    "deeplab_v3_plus": ("DeepLabV3Plus", "DeepLab v3+, Chen et al. 2018"),
    "pan": ("PAN", "pyramid attention network, Li et al. 2018"),
    "upernet": ("UPerNet", "UPerNet, Xiao et al. 2018"),
    "segformer": ("Segformer", "SegFormer, Xie et al. 2021"),
    "dpt": ("DPT", "dense prediction transformer, Ranftl et al. 2021"),
}
"""Name -> class of segmentation_models_pytorch, description."""

LOSSES = {
    "dice": "1 - Dice coefficient of each image",
    "jaccard": "1 - intersection over union of each image",
    "tversky": "1 - Tversky index of each image, Salehi et al. 2017",
    "focal": "cross entropy with little weight for easy pixels, Lin et al. 2017",
    "lovasz": "Lovasz extension of the intersection over union, Berman et al. 2018",
}
"""Name, also of the function -> description."""


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """Declare the models. Their parameters are those of the library; the run passes the number of classes."""
    for name, (target, doc) in MODELS.items():
        arguments = {"n_classes": "classes", "classes": None}
        yield Component(name, f"segmentation_models_pytorch:{target}", doc=doc, arguments=arguments, draws=("torch",))


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """Declare the losses."""
    for name, doc in LOSSES.items():
        yield Component(name, f"ddpkit_smp.loss:{name}", doc=doc, draws=())
