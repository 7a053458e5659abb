"""Postprocess: the outputs of the model to predictions."""

from collections.abc import Callable

import torch


def temperature(value: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from logits [B, C] to probabilities [B, C].

    Args:
        value: Divisor of the logits (Guo et al. 2017); more than 1 makes the
            probabilities less certain.
    """
    if value <= 0:
        raise ValueError(f"value must be greater than 0; got {value}")
    return lambda outputs: (outputs / value).softmax(dim=1)
