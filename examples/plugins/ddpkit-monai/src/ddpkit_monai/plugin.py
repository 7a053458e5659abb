"""Declarations of the components. ddpkit imports this file in every command, so it imports neither MONAI nor torch."""

from collections.abc import Iterator

from ddpkit import Component, hookimpl

ddpkit_api = "1.0"

NETS = "monai.networks.nets"
MODELS = {
    "unet": (f"{NETS}:UNet", "U-Net with residual units, Kerfoot et al. 2018"),
    "basic_unet": (f"{NETS}:BasicUNet", "U-Net, Falk et al. 2019"),
    "basic_unet_plus_plus": ("ddpkit_monai.model:basic_unet_plus_plus", "U-Net++, Zhou et al. 2018"),
    "attention_unet": (f"{NETS}:AttentionUnet", "U-Net with attention gates, Oktay et al. 2018"),
    "dynunet": (f"{NETS}:DynUNet", "U-Net of nnU-Net, Isensee et al. 2019"),
    "flexible_unet": (f"{NETS}:FlexibleUNet", "U-Net with an EfficientNet or ResNet as encoder"),
    "segresnet": (f"{NETS}:SegResNet", "residual encoder and decoder, Myronenko 2018"),
}
TRANSFORMERS = {
    "unetr": (f"{NETS}:UNETR", "U-Net with a vision transformer as encoder, Hatamizadeh et al. 2022"),
    "swin_unetr": (f"{NETS}:SwinUNETR", "U-Net with a Swin transformer as encoder, Hatamizadeh et al. 2022"),
}
"""Models that also need einops. Name -> target, description."""

LOSSES = {
    "dice": "1 - Dice coefficient",
    "dice_ce": "Dice loss plus cross entropy",
    "dice_focal": "Dice loss plus focal loss",
    "generalized_dice": "Dice loss with large weights for small classes, Sudre et al. 2017",
    "tversky": "1 - Tversky index, Salehi et al. 2017",
    "focal": "cross entropy with little weight for easy pixels, Lin et al. 2017",
    "hausdorff": "errors times their distance from the borders, Karimi and Salcudean 2019",
}
"""Name, also of the function -> description."""

METRICS = {
    "dice": ("Dice coefficient per image and class", True),
    "iou": ("intersection over union per image and class", True),
    "hausdorff": ("Hausdorff distance of the borders in pixels", False),
    "surface_distance": ("mean distance of the borders in pixels", False),
    "surface_dice": ("share of the borders within a tolerance", True),
}
"""Name, also of the function -> description, whether a higher value is better."""


@hookimpl
def ddpkit_models() -> Iterator[Component]:
    """Declare the models for images of two dimensions; the run passes the number of classes."""
    for name, (target, doc) in {**MODELS, **TRANSFORMERS}.items():
        yield Component(
            name,
            target,
            doc=doc,
            bound={} if target.startswith("ddpkit") else {"spatial_dims": 2},
            arguments={"n_classes": "out_channels"},
            requires=("einops>=0.7",) if name in TRANSFORMERS else (),
            draws=("torch",),
        )


@hookimpl
def ddpkit_criteria() -> Iterator[Component]:
    """Declare the losses."""
    for name, doc in LOSSES.items():
        yield Component(name, f"ddpkit_monai.loss:{name}", doc=doc, draws=())


@hookimpl
def ddpkit_metrics() -> Iterator[Component]:
    """Declare the metrics of predicted masks."""
    for name, (doc, higher_is_better) in METRICS.items():
        target = f"ddpkit_monai.metric:{name}"
        yield Component(name, target, doc=doc, takes="labels", draws=(), higher_is_better=higher_is_better)
