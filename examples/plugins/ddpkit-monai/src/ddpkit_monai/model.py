"""U-Nets of MONAI that do not return a single tensor."""

from typing import Any

import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn


def basic_unet_plus_plus(
    in_channels: int = 1,
    out_channels: int = 2,
    features: list[int] | None = None,
    dropout: float = 0.0,
    upsample: str = "deconv",
) -> nn.Module:
    """Build a U-Net++ that returns the logits [B, out_channels, H, W] of its last decoder, not a list.

    Args:
        in_channels: Channels of the images.
        out_channels: Number of outputs; passed by the run.
        features: Channels of the five levels and of the output of the decoder. Absent: 32, 32, 64, 128, 256, 32.
        dropout: Share of the features that are set to 0 in training.
        upsample: `deconv`, `pixelshuffle` or `nontrainable`.
    """
    features = features or [32, 32, 64, 128, 256, 32]
    model = BasicUNetPlusPlus(2, in_channels, out_channels, features, dropout=dropout, upsample=upsample)
    model.register_forward_hook(last_of)  # a wrapper module would rename the parameters
    return model


def last_of(_model: nn.Module, _inputs: Any, outputs: list[torch.Tensor]) -> torch.Tensor:
    return outputs[-1]
