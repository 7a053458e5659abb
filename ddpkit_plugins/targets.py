"""Checks and conversions of targets for losses and metrics: the shape and dtype that the outputs require."""

import torch
from torch import Tensor


def class_indices(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return class indices int64 [B, ...] for outputs [B, C, ...].

    Targets are integers [B, ...] or [B, 1, ...]. Raises ValueError for others.
    """
    shape = outputs.shape[:1] + outputs.shape[2:]
    if targets.dtype == torch.int64 and targets.shape == shape:
        return targets
    if targets.is_floating_point() or targets.shape not in (shape, add_channel(shape)):
        raise ValueError(
            f"outputs {list(outputs.shape)} require class indices, integers of shape {list(shape)};"
            f" got {targets.dtype} {list(targets.shape)}"
        )
    return targets.reshape(shape).long()


def are_labels(outputs: Tensor, targets: Tensor) -> bool:
    """Return whether targets contain one label per class: they have the shape of the outputs, with two or more classes."""
    return targets.shape == outputs.shape and outputs.shape[1] > 1


def class_labels(targets: Tensor, ignore_index: int | None) -> Tensor:
    """Return labels int64: 1, 0, and -1 for ignored ones.

    Targets may have any dtype. Raises ValueError for values other than 0, 1 and `ignore_index`.
    """
    values = targets if ignore_index is None else targets.masked_fill(targets == ignore_index, -1)
    labels = values.long()
    if (labels != values).any():
        raise ValueError(f"labels must be 0 or 1; got {values[labels != values][0]}")
    check_below(1, labels if ignore_index is None else labels[labels != -1])
    return labels


def class_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets in the shape and dtype of the outputs.

    A channel axis of size 1 may be missing on either side. Raises ValueError for other shapes.
    """
    # checked, because torch would broadcast [B] against [B, 1] to [B, B]
    same_shape = outputs.shape in (targets.shape, add_channel(targets.shape)) or targets.shape == add_channel(outputs.shape)
    if not same_shape:
        raise ValueError(f"outputs and targets must have the same shape; got {list(outputs.shape)} and {list(targets.shape)}")
    return targets.reshape(outputs.shape).to(outputs.dtype)


def check_below(largest: int, targets: Tensor) -> None:
    """Raise ValueError for targets outside 0..largest, such as masks with the values 0 and 255."""
    if not targets.numel():
        return
    low, high = (each.item() for each in targets.aminmax())
    if not 0 <= low <= high <= largest:
        raise ValueError(f"targets must be between 0 and {largest}; got {low} to {high}")


def add_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape [B, 1, ...] for the shape [B, ...]."""
    return (*shape[:1], 1, *shape[1:])
