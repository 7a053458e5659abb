"""Adapter for transforms that are called with the image only (`Component.image_only`)."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs


@attrs.frozen
class ImageTransform:
    """Transform of image and target that changes only the image."""

    transform: Callable[[Any], Any]

    def __call__(self, image: Any, target: Any) -> tuple[Any, Any]:
        """Return the changed image, and the target.

        Raises ValueError if the size of the image changes and the target is a mask or a dict of boxes, which would no longer fit.
        """
        before = plane_size(image)
        image = self.transform(image)
        after = plane_size(image)
        if before != after and has_positions(target, before):
            message = f"the transform changes the size of the image from {before} to {after}, but keeps its mask or boxes"
            raise ValueError(f"{message}; remove 'image_only=True' from its Component, and return image and target")
        return image, target


def has_positions(target: Any, size: tuple[int, ...]) -> bool:
    """Return whether a target contains positions in an image of this size: a mask or boxes, also as an entry of a mapping."""
    if isinstance(target, Mapping):
        return "boxes" in target or any(has_positions(each, size) for each in target.values())
    return plane_size(target) == size


def plane_size(value: Any) -> tuple[int, ...]:
    """Return height and width of a PIL image, or the last two sizes of a tensor or an array; () for other values.

    This file does not import torch and PIL.
    """
    shape = getattr(value, "shape", None)
    if shape is None:
        size = getattr(value, "size", ())
        return tuple(reversed(size)) if isinstance(size, tuple) else ()
    return tuple(shape)[-2:] if len(shape) > 1 else ()
