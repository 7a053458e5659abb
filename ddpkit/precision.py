"""The number format of a run (`train.scaler.compute_type`)."""

import attrs
import torch
from torch import Tensor, nn


@attrs.frozen
class Precision:
    """Puts model and images into one format; the same in training and evaluation."""

    dtype: torch.dtype

    @classmethod
    def of(cls, compute_type: str) -> "Precision":
        """From the TOML's word: `float32` or `float64`."""
        return cls(getattr(torch, compute_type))

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model in this format, before it is wrapped and before the optimizer sees its parameters."""
        return model.to(self.dtype)

    def images(self, images: Tensor) -> Tensor:
        """Images in this format; integers stay what they are (they are no images yet)."""
        return images.to(self.dtype) if images.is_floating_point() else images
