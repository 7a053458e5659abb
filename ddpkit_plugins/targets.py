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


def are_labels(outputs: Tensor, targets: Tensor) -> bool:
    """Whether targets say of each class by itself if it is there: they have the outputs' shape, of two classes or more."""
    return targets.shape == outputs.shape and outputs.shape[1] > 1


def labels(targets: Tensor, ignore_index: int | None) -> Tensor:
    """Labels int64 of 1, 0, and -1 for what is to be ignored, from numbers of any type. Raises ValueError for others."""
    known = targets if ignore_index is None else targets.masked_fill(targets == ignore_index, -1)
    whole = known.long()
    if (whole != known).any():
        raise ValueError(f"labels are 0 or 1 each, got numbers between: {known[whole != known][0]}")
    refuse_above(1, whole if ignore_index is None else whole[whole != -1])
    return whole


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
