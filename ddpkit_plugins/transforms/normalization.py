"""NORMALIZE: torchvision's, but strict about channels; theirs makes three of one without a word."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

IMAGES = (Tensor, tv_tensors.Image)
"""What is normalised of a sample, by exact type: masks and boxes are tensors too."""


class Normalize(v2.Normalize):  # type: ignore[misc]  # torchvision has no types
    """`(image - mean) / std` of float images [..., C, H, W], with one mean and std, or one a channel."""

    def transform(self, inpt: Any, params: Mapping[str, Any]) -> Any:
        """One image, or a batch of them; masks as they are. Raises ValueError when the channels are not as many as the means."""
        if type(inpt) not in IMAGES:
            return inpt
        n_means, n_channels = len(self.mean), inpt.shape[-3] if inpt.ndim > 2 else 1  # noqa: PLR2004 - no axis of channels
        if n_means not in (1, n_channels):
            raise ValueError(f"NORMALIZE has {n_means} means, the images have {n_channels} channels")
        return super().transform(inpt, params)
