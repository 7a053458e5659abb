"""Models of timm."""

from typing import Any

import timm
from torch import nn


def create(arch: str, n_channels: int = 3, n_classes: int | None = None, pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a model of timm: images [B, n_channels, H, W] to logits [B, n_classes].

    Args:
        arch: Name of the model, with or without the tag of its weights: `resnet50`, `resnet50.a1_in1k`.
        n_channels: Channels of the images. For a number other than 3, timm sums or repeats the pretrained weights.
        n_classes: Number of outputs. Absent: that of the published weights.
        pretrained: Start from the published weights, which are downloaded once.
        options: Other keys of `timm.create_model`, such as `drop_rate`, `drop_path_rate` or `img_size`.

    Raises:
        ValueError: The tag is unknown, or the weights cannot be loaded.
        TypeError: The model has no such option.
    """
    if n_classes is not None:
        options["num_classes"] = n_classes
    try:
        return timm.create_model(arch, pretrained=pretrained, in_chans=n_channels, **options)
    except OSError as error:  # no network, and the weights are not in the cache
        raise ValueError(f"the weights for 'pretrained = true' cannot be loaded: {error}") from error
    except RuntimeError as error:  # an unknown tag
        raise ValueError(str(error)) from error
