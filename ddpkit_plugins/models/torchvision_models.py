"""Models of torchvision of every family, for any number of channels and classes."""

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
"""Modules of torchvision with its classifiers, segmenters and detectors."""
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
COUNTS = ("num_classes", "num_columns")
"""Attributes in which the heads of RetinaNet, FCOS and SSD store the number of classes."""


def torchvision(
    arch: str,
    n_channels: int = 3,
    n_classes: int | None = None,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
    min_size: int | None = None,
    max_size: int | None = None,
) -> nn.Module:
    """Build a classifier, segmenter or detector of torchvision.

    For images [B, n_channels, H, W], classifiers return logits [B, n_classes] and segmenters logits [B, n_classes, H, W]. They
    return a single tensor in training too: GoogLeNet, Inception v3, FCN and DeepLab v3 are built without their auxiliary heads.
    Vision transformers and MaxViT accept a single image size, 224 x 224 for most of them.

    Detectors accept images in 0..1, which they scale and normalise themselves. Their targets have `boxes` and `labels` from 1 to
    n_classes, because torchvision uses 0 for the background; Mask R-CNN also needs `masks`, Keypoint R-CNN `keypoints`. In
    training they return a dict of losses, else for each image a dict of `boxes`, `labels` and `scores`. With published weights,
    their first layers and norms are frozen, as in torchvision.

    Args:
        arch: Name of the model in `torchvision.models.list_models`.
        n_channels: Channels of the images. A number other than 3 replaces the first convolution. Pretrained weights are then
            summed over channels for one channel, else repeated and scaled (as timm does).
        n_classes: Number of outputs, without the background of a detector. Absent: the number of torchvision's published weights,
            1000 for classifiers, 21 for segmenters, 90 for detectors. With `pretrained`, this number keeps the published head;
            with another number, the head is re-initialised.
        pretrained: Start from torchvision's newest published weights, which are downloaded once.
        min_size: Length in pixels to which the shorter side of an image is scaled, for detectors except SSD. Absent:
            torchvision's value, 800 for most.
        max_size: Upper limit of the longer side, in pixels. Absent: torchvision's value, 1333 for most.

    Raises:
        ValueError: `arch` is unknown, a number is out of range, the model does not support the sizes, or the published weights
            cannot be loaded.
    """
    check_arch(arch)
    if n_channels < 1 or (n_classes is not None and n_classes < 1):
        raise ValueError(f"n_channels and n_classes must be at least 1; got {n_channels} and {n_classes}")
    n_outputs = n_classes + is_detector(arch) if n_classes is not None else None
    model = create_pretrained(arch, n_outputs) if pretrained else create_model(arch, n_outputs)
    if n_channels != RGB:
        replace_first_convolution(model, n_channels, keep_weights=pretrained)
    if min_size is not None or max_size is not None:
        scale_images(model, arch, min_size, max_size)
    if is_segmenter(arch):
        model.register_forward_hook(return_logits_only)  # a wrapper module would rename the parameters
    return model


def check_arch(arch: str) -> None:
    """Raise ValueError, with the closest name, for an unknown model."""
    names = [name for family in FAMILIES for name in models.list_models(module=family)]
    if arch not in names:
        close = difflib.get_close_matches(arch, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"arch must be the name of a classifier, segmenter or detector of torchvision; got {arch!r}{hint}")


def is_segmenter(arch: str) -> bool:
    """Return whether the model is a segmenter, with one output per pixel and class."""
    return arch in models.list_models(module=models.segmentation)


def is_detector(arch: str) -> bool:
    """Return whether the model is a detector; its first output is the background."""
    return arch in models.list_models(module=models.detection)


def create_model(arch: str, n_outputs: int | None) -> nn.Module:
    """Return the model with initialised weights. `n_outputs` = None means torchvision's number of outputs."""
    options = {} if n_outputs is None else {"num_classes": n_outputs}
    return load_any_version(models.get_model(arch, weights=None, **options, **untrained_options(arch)))


def untrained_options(arch: str) -> dict[str, Any]:
    """Return the arguments of the builder that avoid a download and auxiliary heads."""
    if arch in WITH_AUXILIARY_HEADS:
        return {"aux_logits": False, "init_weights": True}
    return {"weights_backbone": None} if is_segmenter(arch) or is_detector(arch) else {}


def create_pretrained(arch: str, n_outputs: int | None) -> nn.Module:
    """Return the model with its newest published weights, from torch.hub's folder or the network.

    The heads are re-initialised if they need another number of outputs. Raises ValueError if the weights cannot be loaded.
    """
    weights = models.get_model_weights(arch).DEFAULT
    try:
        model: Any = models.get_model(arch, weights=weights, progress=False)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:  # no network, a truncated file or another format
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
        advice = f"download {file.name} from {weights.url} into {file.parent}"
        raise ValueError(f"the weights for 'pretrained = true' cannot be loaded: {error}; {advice}") from error
    if arch == "inception_v3":  # GoogLeNet's builder does this itself
        model.aux_logits, model.AuxLogits = False, None
    if is_segmenter(arch):
        model.aux_classifier = None
    if n_outputs not in (None, len(weights.meta["categories"])):
        copy_heads(model, create_model(arch, n_outputs))
    return load_any_version(model)


def copy_heads(model: nn.Module, other: nn.Module) -> None:
    """Replace, in place, the layers of `model` that have another shape in `other`."""
    theirs = dict(other.named_modules())
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape != theirs[name].weight.shape:
            model.set_submodule(name, theirs[name])
        for count in set(COUNTS) & vars(layer).keys():
            setattr(layer, count, getattr(theirs[name], count))


def scale_images(model: Any, arch: str, min_size: int | None, max_size: int | None) -> None:
    """Set, in place, the image size of a detector. Raises ValueError for a model with a fixed size."""
    scaling = getattr(model, "transform", None)
    if not isinstance(scaling, GeneralizedRCNNTransform) or scaling.fixed_size:
        raise ValueError(
            f"min_size and max_size are only for detectors without a fixed image size, not for {arch!r}; remove them"
        )
    smaller = min(scaling.min_size) if min_size is None else min_size
    larger = scaling.max_size if max_size is None else max_size
    if not 0 < smaller <= larger:
        raise ValueError(f"min_size must be greater than 0 and at most max_size; got {smaller} and {larger}")
    scaling.min_size, scaling.max_size = (smaller,), larger


def return_logits_only(_model: nn.Module, _images: object, outputs: Mapping[str, Tensor]) -> Tensor:
    """Return the logits [B, n_classes, H, W] from the outputs of a segmenter."""
    return outputs["out"]


class MNASNet(models.MNASNet):  # type: ignore[misc]
    """MNASNet that also loads weights without torch's version entry, which safetensors files do not have."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *rest)


def load_any_version(model: nn.Module) -> nn.Module:
    """Return the model, changed so that it can load a file that contains only tensors."""
    if isinstance(model, models.MNASNet):
        model.__class__ = MNASNet
    return model
