"""Wrapper for transforms that move an image, so that they also work with boxes."""

from typing import Any

from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes


class BoxAwareTransform(nn.Module):
    """Transform of torchvision that also removes the boxes outside the image, with all entries of the target for these boxes.

    A box across the border keeps its inner part. A box that is less than a pixel wide or high counts as outside.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.sanitize = v2.SanitizeBoundingBoxes(labels_getter=transform_boxes)

    def forward(self, *sample: Any) -> Any:
        """Transform `(image, target)`, or an image without a target."""
        moved = self.transform(*sample)
        has_boxes = isinstance(sample[-1], dict) and any(isinstance(value, BoundingBoxes) for value in sample[-1].values())
        return self.sanitize(*moved) if has_boxes else moved


def transform_boxes(sample: tuple[Any, dict[str, Any]]) -> list[Tensor]:
    """Return the tensors of a target that have one entry per box, except the boxes: labels, areas, masks."""
    values = [value for value in sample[1].values() if isinstance(value, Tensor)]
    n_boxes = next(len(value) for value in values if isinstance(value, BoundingBoxes))
    return [value for value in values if value.ndim and len(value) == n_boxes and not isinstance(value, BoundingBoxes)]
