"""Images of another number of channels than the three that torchvision's models are made for."""

from typing import Any

from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ddpkit import for_channels

RGB = 3


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
    scaling = getattr(model, "transform", None)
    if isinstance(scaling, GeneralizedRCNNTransform):  # a detector normalises its images itself
        scaling.image_mean = of_channels(scaling.image_mean, n_channels)
        scaling.image_std = of_channels(scaling.image_std, n_channels)


def of_channels(values: list[float], n_channels: int) -> list[float]:
    """Mean or deviation of red, green and blue: their average for one channel, else repeated in order."""
    if n_channels == 1:
        return [sum(values) / RGB]
    return [values[channel % RGB] for channel in range(n_channels)]
