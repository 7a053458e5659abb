"""Classifiers of torchvision for any number of channels and classes."""

import difflib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

N_COLOURS = 3
N_PUBLISHED = 1000
"""Classes of the published weights, ImageNet's."""


def classifier(arch: str, n_channels: int, n_classes: int, *, pretrained: bool) -> nn.Module:
    """See `ddpkit_plugins.models.torchvision`. Raises ValueError for what cannot be built, or not be fetched."""
    known = models.list_models(module=models)
    if arch not in known:
        close = difflib.get_close_matches(arch, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        raise ValueError(f"torchvision has no classifier {arch!r}, {hint}")
    if n_channels < 1 or n_classes < 1:
        raise ValueError(f"n_channels and n_classes are at least 1, got {n_channels} and {n_classes}")
    model = published(arch, n_classes) if pretrained else untrained(arch, n_classes)
    if n_channels != N_COLOURS:
        adapt_channels(model, n_channels, keep=pretrained)
    return model


def untrained(arch: str, n_classes: int) -> nn.Module:
    """With random weights; Inception and GoogLeNet without their auxiliary outputs."""
    taken = inspect.signature(models.get_model_builder(arch)).parameters
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if arch in ("inception_v3", "googlenet") else {}
    model: nn.Module = models.get_model(arch, weights=None, num_classes=n_classes, **extra)
    if "transform_input" in taken:
        model.transform_input = False  # type: ignore[assignment]
    return model


def published(arch: str, n_classes: int) -> nn.Module:
    """With the published weights and, for another number of classes, a new last layer."""
    weights = models.get_model_weights(arch).DEFAULT
    try:
        model: nn.Module = models.get_model(arch, weights=weights)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        message = f"the weights of {arch!r} cannot be fetched ({error}); put {Path(weights.url).name} into {folder}"
        raise ValueError(message) from error
    if hasattr(model, "aux_logits"):  # Inception and GoogLeNet: their training would return several outputs
        model.aux_logits = False  # type: ignore[assignment]
    if n_classes != N_PUBLISHED:
        replace_head(model, n_classes)
    return model


def replace_head(model: nn.Module, n_classes: int) -> None:
    """A new last layer: the last one with an output for each published class."""
    heads = [(name, layer) for name, layer in model.named_modules() if outputs_of(layer) == N_PUBLISHED]
    name, layer = next((name, layer) for name, layer in reversed(heads) if "aux" not in name.lower())
    if isinstance(layer, nn.Linear):
        put(model, name, nn.Linear(layer.in_features, n_classes, bias=layer.bias is not None))
    else:
        put(model, name, like(layer, layer.in_channels, n_classes))


def outputs_of(layer: nn.Module) -> int:
    """Of a linear layer or a convolution; 0 for others."""
    return getattr(layer, "out_features", 0) or getattr(layer, "out_channels", 0)


def adapt_channels(model: nn.Module, n_channels: int, *, keep: bool) -> None:
    """Another first convolution; `keep`: with the weights of the old one."""
    name, first = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    new = like(first, n_channels, first.out_channels)
    if keep:
        with torch.no_grad():
            new.weight.copy_(adapted(first.weight, n_channels))
            if first.bias is not None and new.bias is not None:
                new.bias.copy_(first.bias)
    if hasattr(model, "transform_input"):  # Inception and GoogLeNet scale three channels each
        model.transform_input = False  # type: ignore[assignment]
    put(model, name, new)


def adapted(weight: Tensor, n_channels: int) -> Tensor:
    """Weights [O, 3, K, K] for other channels, as timm does it: the sum for one, else repeated, so that sums stay as large."""
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-n_channels // N_COLOURS), 1, 1)[:, :n_channels]
    return repeated * (N_COLOURS / n_channels)


def like(layer: Any, in_channels: int, out_channels: int) -> nn.Conv2d:
    """A new convolution of the same kind."""
    same = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    return nn.Conv2d(in_channels, out_channels, bias=layer.bias is not None, **same)


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the layer of this name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
