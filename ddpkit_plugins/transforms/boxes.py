"""Transforms that move an image, for images with boxes too."""

from typing import Any

from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes


class Moving(nn.Module):
    """A transform of torchvision after which some boxes may lie outside: they go, with all that the target says of them.

    A box that is cut keeps what is inside; less than a pixel wide or high is outside.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.sanitize = v2.SanitizeBoundingBoxes(labels_getter=of_each_box)

    def forward(self, *sample: Any) -> Any:
        """`(image, target)`, or an image alone."""
        moved = self.transform(*sample)
        has_boxes = isinstance(sample[-1], dict) and any(isinstance(value, BoundingBoxes) for value in sample[-1].values())
        return self.sanitize(*moved) if has_boxes else moved


def of_each_box(sample: tuple[Any, dict[str, Any]]) -> list[Tensor]:
    """What a target holds for each of its boxes beside them: labels, areas, masks."""
    values = [value for value in sample[1].values() if isinstance(value, Tensor)]
    n_boxes = next(len(value) for value in values if isinstance(value, BoundingBoxes))
    return [value for value in values if value.ndim and len(value) == n_boxes and not isinstance(value, BoundingBoxes)]
