"""Tensors nested in lists and mappings, such as the images, targets and outputs of a detection model."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return `value` with `function` applied to each tensor in it.

    Tuples become lists. Values that are not tensors are returned unchanged.
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [map_tensors(function, each) for each in value]
    return value


def iterate_tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested mappings, lists and tuples; skip other values."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from iterate_tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from iterate_tensors(each)


def count_samples(images: Any) -> int:
    """Return the number of samples of a micro-batch: images in a tensor, a list, or a mapping of such."""
    return len(next(iter(images.values()))) if isinstance(images, Mapping) else len(images)
