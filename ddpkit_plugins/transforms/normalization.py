"""Transform NORMALIZE, with a check of the channels: torchvision silently expands one channel to three."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

IMAGES = (Tensor, tv_tensors.Image)
"""Types of the entries that are normalised. The type must match exactly, because masks and boxes are tensors too."""


class Normalize(v2.Normalize):  # type: ignore[misc]  # torchvision has no types
    """Transform `(image - mean) / std` of float images [..., C, H, W], with one mean and std, or one per channel."""

    def transform(self, inpt: Any, params: Mapping[str, Any]) -> Any:
        """Normalise one image or a batch of images; masks and boxes stay unchanged.

        Raises ValueError if the number of means is neither 1 nor the number of channels.
        """
        if type(inpt) not in IMAGES:
            return inpt
        n_means, n_channels = len(self.mean), inpt.shape[-3] if inpt.ndim > 2 else 1  # noqa: PLR2004 - no channel axis
        if n_means not in (1, n_channels):
            raise ValueError(
                f"NORMALIZE has {n_means} means, but the images have {n_channels} channels; set one mean and std per channel"
            )
        return super().transform(inpt, params)
