"""Weights of a first convolution, for images of another number of channels."""

import math

from torch import Tensor


def for_channels(weight: Tensor, n_channels: int) -> Tensor:
    """The weights [O, C, H, W] of a first convolution as [O, n_channels, H, W].

    Summed for one channel: a grey image then gives what it gives as red, green and blue. Else repeated in order and
    scaled by C / n_channels, so that the sum over channels stays about as large. As timm does.
    """
    if n_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    channels = weight.shape[1]
    repeated = weight.repeat(1, math.ceil(n_channels / channels), 1, 1)[:, :n_channels]
    return repeated * (channels / n_channels)
