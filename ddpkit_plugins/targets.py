"""Targets as losses and metrics want them: in the shape and type that a model's outputs ask for."""

import torch
from torch import Tensor


def class_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Class indices int64 [B, ...] for outputs [B, C, ...], from integers [B, ...] or [B, 1, ...]. Raises ValueError."""
    shape = (outputs.shape[0], *outputs.shape[2:])
    if targets.shape == shape and targets.dtype == torch.int64:
        return targets
    if targets.is_floating_point() or targets.shape not in (shape, with_channel(shape)):
        raise ValueError(
            f"outputs {list(outputs.shape)} want class indices, integers {list(shape)}; got {targets.dtype} {list(targets.shape)}"
        )
    return targets.reshape(shape).long()


def numbers(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape and dtype of the outputs; an axis of one channel may lack on either side. Raises ValueError.

    Torch would broadcast [B] to [B, B] against [B, 1].
    """
    alike = outputs.shape in (targets.shape, with_channel(targets.shape)) or targets.shape == with_channel(outputs.shape)
    if not alike:
        raise ValueError(f"outputs and targets are of one shape; got {list(outputs.shape)} and {list(targets.shape)}")
    return targets.reshape(outputs.shape).to(outputs.dtype)


def refuse_above(largest: int, targets: Tensor) -> None:
    """ValueError for targets beyond 0..largest, as masks of 0 and 255 have them."""
    if targets.numel() and not 0 <= targets.amin() <= targets.amax() <= largest:
        raise ValueError(f"targets are 0 to {largest}, got {targets.amin()} to {targets.amax()}")


def with_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[B, ...] to [B, 1, ...]."""
    return (*shape[:1], 1, *shape[1:])
