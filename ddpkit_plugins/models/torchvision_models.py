"""torchvision's models of every family, for any number of channels and classes."""

import difflib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ddpkit_plugins.models.input_channels import RGB, replace_first_convolution

FAMILIES: Sequence[ModuleType] = (models, models.segmentation, models.detection)
"""Where torchvision keeps its classifiers, segmenters and detectors."""
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
COUNTS = ("num_classes", "num_columns")
"""Where the heads of RetinaNet, FCOS and SSD note how many classes there are."""


def torchvision(
    arch: str,
    n_channels: int = 3,
    n_classes: int | None = None,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int | None = None,
    max_size: int | None = None,
) -> nn.Module:
    """A classifier, segmenter or detector of torchvision.

    Of images [B, n_channels, H, W] classifiers make logits [B, n_classes] and segmenters [B, n_classes, H, W], one tensor
    in training too: GoogLeNet, Inception v3, FCN and DeepLab v3 are made without their auxiliary heads. Vision
    transformers and MaxViT take one image size, 224 x 224 for most.

    Detectors take images in 0..1, which they scale and normalise themselves, and targets with `boxes` and `labels` 1 to
    n_classes (Mask and Keypoint R-CNN: `masks`, `keypoints` too), since torchvision counts the background as 0. In
    training they return a dict of losses, else for each image a dict of `boxes`, `labels` and `scores`. With published
    weights their first layers and norms are frozen, as torchvision has it.

    Args:
        arch: As `torchvision.models.list_models` names it.
        n_channels: Another number than 3 replaces the first convolution; of pretrained weights, the sum over channels
            is kept for one channel, else they are repeated and scaled (as timm does).
        n_classes: Outputs, without a detector's background. Left out: as many as torchvision's published weights have,
            1000 of classifiers, 21 of segmenters, 90 of detectors. With `pretrained`, that number keeps the published
            head, others begin anew.
        pretrained: Start from torchvision's newest published weights, downloaded once. Raises ValueError where they
            cannot be had.
        min_size: Of detectors but SSD: pixels that the shorter side of an image is scaled to; torchvision's is 800 for
            most.
        max_size: Pixels that the longer side is scaled to at most; torchvision's is 1333 for most.
    """
    refuse_unknown(arch)
    if n_channels < 1 or (n_classes is not None and n_classes < 1):
        raise ValueError(f"n_channels and n_classes are at least 1, got {n_channels} and {n_classes}")
    n_outputs = n_classes + is_detector(arch) if n_classes is not None else None
    model = published(arch, n_outputs) if pretrained else made(arch, n_outputs)
    if n_channels != RGB:
        replace_first_convolution(model, n_channels, keep_weights=pretrained)
    if min_size is not None or max_size is not None:
        scale_images(model, arch, min_size, max_size)
    if is_segmenter(arch):
        model.register_forward_hook(logits_alone)  # a module around it would give its parameters other names
    return model


def refuse_unknown(arch: str) -> None:
    """ValueError, with the closest name, for what is no model of these families."""
    names = [name for family in FAMILIES for name in models.list_models(module=family)]
    if arch not in names:
        close = difflib.get_close_matches(arch, names, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"arch is the name of a classifier, segmenter or detector of torchvision, got {arch!r}{hint}")


def is_segmenter(arch: str) -> bool:
    """One output a pixel and class."""
    return arch in models.list_models(module=models.segmentation)


def is_detector(arch: str) -> bool:
    """Boxes; its first output is the background."""
    return arch in models.list_models(module=models.detection)


def made(arch: str, n_outputs: int | None) -> nn.Module:
    """The model with fresh weights, and torchvision's number of outputs for None."""
    asked = {} if n_outputs is None else {"num_classes": n_outputs}
    return any_version(models.get_model(arch, weights=None, **asked, **from_scratch(arch)))


def from_scratch(arch: str) -> dict[str, Any]:
    """What the builder is told, so that it downloads nothing and makes no auxiliary heads."""
    if arch in WITH_AUXILIARY_HEADS:
        return {"aux_logits": False, "init_weights": True}
    return {"weights_backbone": None} if is_segmenter(arch) or is_detector(arch) else {}


def published(arch: str, n_outputs: int | None) -> nn.Module:
    """The model with its newest published weights, from torch.hub's folder or the network. Raises ValueError.

    Its heads are fresh when they have another number of outputs.
    """
    weights = models.get_model_weights(arch).DEFAULT
    try:
        model: Any = models.get_model(arch, weights=weights, progress=False)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:  # no network, a file cut short or of another kind
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
        advice = f"put {file.name} from {weights.url} into {file.parent}"
        raise ValueError(f"pretrained = true needs weights that could not be loaded; {advice}; got {error}") from error
    if arch == "inception_v3":  # GoogLeNet's builder does this by itself
        model.aux_logits, model.AuxLogits = False, None
    if is_segmenter(arch):
        model.aux_classifier = None
    if n_outputs not in (None, len(weights.meta["categories"])):
        take_heads(model, made(arch, n_outputs))
    return any_version(model)


def take_heads(model: nn.Module, other: nn.Module) -> None:
    """Replace the layers of `model` that have another shape in `other` by those, in place."""
    theirs = dict(other.named_modules())
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape != theirs[name].weight.shape:
            model.set_submodule(name, theirs[name])
        for count in set(COUNTS) & vars(layer).keys():
            setattr(layer, count, getattr(theirs[name], count))


def scale_images(model: Any, arch: str, min_size: int | None, max_size: int | None) -> None:
    """What a detector makes of the size of its images, in place. Raises ValueError for models that leave no choice."""
    scaling = getattr(model, "transform", None)
    if not isinstance(scaling, GeneralizedRCNNTransform) or scaling.fixed_size:
        raise ValueError(f"min_size and max_size are of detectors that scale images to any size, and {arch!r} does not")
    smaller = min(scaling.min_size) if min_size is None else min_size
    larger = scaling.max_size if max_size is None else max_size
    if not 0 < smaller <= larger:
        raise ValueError(f"min_size is above 0 and max_size not below it, got {smaller} and {larger}")
    scaling.min_size, scaling.max_size = (smaller,), larger


def logits_alone(_model: nn.Module, _images: object, outputs: Mapping[str, Tensor]) -> Tensor:
    """Of what a segmenter returns: [B, n_classes, H, W]."""
    return outputs["out"]


class MNASNet(models.MNASNet):  # type: ignore[misc]
    """Loads weights without torch's note of its version, as safetensors has them."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *rest)


def any_version(model: nn.Module) -> nn.Module:
    """The model, which can be loaded from a file of tensors alone."""
    if isinstance(model, models.MNASNet):
        model.__class__ = MNASNet
    return model
