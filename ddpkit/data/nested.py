"""Tensors in lists and mappings: the images and targets of a detection, and what comes of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with `function` of each tensor; lists and tuples become lists, what is no tensor stays."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(function, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(function, each) for each in value]
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Wherever they are."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
