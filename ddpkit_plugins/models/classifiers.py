"""torchvision's classifiers, for any number of channels and classes."""

import difflib
import math
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

RGB = 3
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def torchvision(
    arch: str,
    n_channels: int = 3,
    n_classes: int = 1000,
    pretrained: bool = False,  # noqa: FBT001, FBT002 - a key of the TOML
) -> nn.Module:
    """Any classifier of torchvision: images [B, n_channels, H, W] to logits [B, n_classes].

    GoogLeNet and Inception v3 are made without their auxiliary heads, so they return one tensor in training too. Vision
    transformers and MaxViT take one image size, 224 x 224 for most.

    Args:
        arch: As `torchvision.models.list_models` names it.
        n_channels: Another number than 3 replaces the first convolution; of pretrained weights, the sum over channels
            is kept for one channel, else they are repeated and scaled (as timm does).
        n_classes: Logits. With `pretrained`, 1000 keeps the published head (ImageNet's classes), others begin anew.
        pretrained: Start from torchvision's newest published weights, downloaded once. Raises ValueError where they
            cannot be had.
    """
    refuse_unknown(arch)
    if n_channels < 1 or n_classes < 1:
        raise ValueError(f"n_channels and n_classes are at least 1, got {n_channels} and {n_classes}")
    if pretrained:
        model = published(arch)
        if n_classes != last_layer(model)[1].weight.shape[0]:
            replace_head(model, n_classes)
    else:
        plain = {"aux_logits": False, "init_weights": True} if arch in WITH_AUXILIARY_HEADS else {}
        model = models.get_model(arch, weights=None, num_classes=n_classes, **plain)
    if n_channels != RGB:
        replace_first_convolution(model, n_channels, keep_weights=pretrained)
    return model


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


def efficientnet_b0(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """EfficientNet-B0 (Tan and Le 2019, "EfficientNet"); parameters as of `torchvision`."""
    return torchvision("efficientnet_b0", n_channels, n_classes, pretrained)


def mobilenet_v3_small(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """MobileNet v3 small (Howard et al. 2019, "Searching for MobileNetV3"); parameters as of `torchvision`."""
    return torchvision("mobilenet_v3_small", n_channels, n_classes, pretrained)


def vit_b_16(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ViT-B/16 for 224 x 224 pixels (Dosovitskiy et al. 2021, "An image is worth 16x16 words"); as of `torchvision`."""
    return torchvision("vit_b_16", n_channels, n_classes, pretrained)


def convnext_tiny(n_channels: int = 3, n_classes: int = 1000, pretrained: bool = False) -> nn.Module:  # noqa: FBT001, FBT002
    """ConvNeXt tiny (Liu et al. 2022, "A ConvNet for the 2020s"); parameters as of `torchvision`."""
    return torchvision("convnext_tiny", n_channels, n_classes, pretrained)


def refuse_unknown(arch: str) -> None:
    """ValueError, with the closest name, for what is no classifier of torchvision."""
    names = models.list_models(module=models)
    if arch not in names:
        close = difflib.get_close_matches(arch, names, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"arch is the name of a classifier of torchvision, got {arch!r}{hint}")


def published(arch: str) -> nn.Module:
    """The model with its newest published weights, from torch.hub's folder or the network. Raises ValueError."""
    weights = models.get_model_weights(arch).DEFAULT
    try:
        model: Any = models.get_model(arch, weights=weights, progress=False)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:  # no network, a file cut short or of another kind
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
        advice = f"put {file.name} from {weights.url} into {file.parent}"
        raise ValueError(f"pretrained = true needs weights that could not be loaded; {advice}; got {error}") from error
    if arch == "inception_v3":  # GoogLeNet's builder does this by itself
        model.aux_logits, model.AuxLogits = False, None
    made: nn.Module = model
    return made


def replace_first_convolution(model: Any, n_channels: int, *, keep_weights: bool) -> None:
    """One for images of so many channels, in place; without `keep_weights` it is initialised as torch does it."""
    name, old = next((name, each) for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    shape = {key: getattr(old, key) for key in ("out_channels", "kernel_size", "stride", "padding", "dilation")}
    new = nn.Conv2d(n_channels, **shape, bias=old.bias is not None)
    if keep_weights:
        state = old.state_dict()
        new.load_state_dict(state | {"weight": for_channels(state["weight"], n_channels)})
    model.set_submodule(name, new)
    if hasattr(model, "transform_input"):  # Inception's published weights come with another normalisation, of three channels
        model.transform_input = False


def for_channels(weight: Tensor, n_channels: int) -> Tensor:
    """The weights [O, 3, H, W] of a first convolution as [O, n_channels, H, W].

    Summed for one channel: a grey image then gives what it gives as red, green and blue. Else repeated in order and
    scaled by 3 / n_channels, so that the sum over channels stays about as large. As timm does.
    """
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(n_channels / RGB), 1, 1)[:, :n_channels]
    return repeated * (RGB / n_channels)


def replace_head(model: nn.Module, n_classes: int) -> None:
    """One with so many logits, in place; initialised as torch does it."""
    name, old = last_layer(model)
    has_bias = old.bias is not None
    if isinstance(old, nn.Linear):
        model.set_submodule(name, nn.Linear(old.in_features, n_classes, bias=has_bias))
    else:
        model.set_submodule(name, nn.Conv2d(old.in_channels, n_classes, kernel_size=1, bias=has_bias))


def last_layer(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The layer that makes the logits, and its name: linear, but for SqueezeNet's, a convolution."""
    return [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
