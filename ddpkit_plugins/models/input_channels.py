"""Adaptation of torchvision's models, made for three input channels, to another number of channels."""

from typing import Any

from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ddpkit import for_channels

RGB = 3


def replace_first_convolution(model: Any, n_channels: int, *, keep_weights: bool) -> None:
    """Replace the first convolution, in place, by one for `n_channels` channels.

    With `keep_weights`, the new convolution gets the old weights, adapted by `for_channels`; else torch's default initialisation.
    """
    name, old = next((name, each) for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
    shape = {key: getattr(old, key) for key in ("out_channels", "kernel_size", "stride", "padding", "dilation")}
    new = nn.Conv2d(n_channels, **shape, bias=old.bias is not None)
    if keep_weights:
        state = old.state_dict()
        new.load_state_dict(state | {"weight": for_channels(state["weight"], n_channels)})
    model.set_submodule(name, new)
    if hasattr(model, "transform_input"):  # Inception's published weights include another normalisation, for three channels
        model.transform_input = False
    scaling = getattr(model, "transform", None)
    if isinstance(scaling, GeneralizedRCNNTransform):  # a detector normalises its images itself
        scaling.image_mean = statistics_for_channels(scaling.image_mean, n_channels)
        scaling.image_std = statistics_for_channels(scaling.image_std, n_channels)


def statistics_for_channels(values: list[float], n_channels: int) -> list[float]:
    """Adapt the mean or standard deviation of red, green and blue: the average for one channel, else repeated in order."""
    if n_channels == 1:
        return [sum(values) / RGB]
    return [values[channel % RGB] for channel in range(n_channels)]
