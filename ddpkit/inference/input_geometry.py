"""What of a picture a model sees, and where: the way back from its input to the picture.

H, W: the picture's pixels. h, w: the model's input. C: classes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.tv_tensors import BoundingBoxes

AT_ONCE = 2**20
"""Pixels of a picture that are looked up at a time, which bounds the memory."""


@attrs.frozen
class View:
    """The picture's place in the model's input, which may be cut off or have a border."""

    left: float
    top: float
    right: float
    bottom: float
    """Of the whole picture, in pixels of the input."""
    size: tuple[int, int]
    """H, W."""
    seen: tuple[int, int]
    """h, w."""

    @property
    def is_whole(self) -> bool:
        """The model sees the picture as it is."""
        return self.size == self.seen and (self.left, self.top) == (0, 0) and self.size == (self.bottom, self.right)

    def boxes(self, boxes: Tensor) -> Tensor:
        """XYXY [N, 4] of the input as those of the picture, cut at its edges."""
        height, width = self.size
        scale = torch.tensor([width / (self.right - self.left), height / (self.bottom - self.top)] * 2, dtype=boxes.dtype)
        moved = (boxes - torch.tensor([self.left, self.top] * 2, dtype=boxes.dtype)) * scale
        return moved.clamp(min=0).minimum(torch.tensor([width, height] * 2, dtype=boxes.dtype))

    def pixels(self, probabilities: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Each pixel's class and its probability, in the picture's own pixels; class 0 where the model did not look.

        Args:
            probabilities: [C, h', w'] over the input; between their centres they are interpolated.
            choose: Probabilities [C, ...] -> classes [...].

        Returns:
            int64 [H, W] and float [H, W].
        """
        if self.is_whole and probabilities.shape[1:] == self.size:
            return chosen(probabilities, choose)
        height, width = self.size
        columns = places(width, self.left, self.right, self.seen[1])
        rows = places(height, self.top, self.bottom, self.seen[0])
        parts = []
        for some in torch.split(rows, max(1, AT_ONCE // width)):
            grid = torch.stack(torch.meshgrid(columns, some, indexing="xy"), dim=-1).to(probabilities.dtype)
            found = functional.grid_sample(probabilities[None], grid[None], padding_mode="border", align_corners=False)[0]
            classes, sure = chosen(found, choose)
            unseen = grid.abs().amax(dim=-1) > 1
            parts.append((classes.masked_fill(unseen, 0), sure.masked_fill(unseen, 0)))
        classes, sure = (torch.cat(each) for each in zip(*parts, strict=True))
        return classes, sure


def places(n: int, start: float, end: float, seen: int) -> Tensor:
    """Where the centres of `n` pixels lie on an axis of the input, from -1 to 1: float64 [n]."""
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) * ((end - start) / n) + start
    return centres * (2 / seen) - 1


def chosen(probabilities: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Classes and their probabilities."""
    classes = choose(probabilities)
    return classes, probabilities.gather(0, classes[None])[0]


def seen(picture: Image.Image, transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]]) -> tuple[Tensor, View]:
    """A picture as the transforms make it, and what became of its outline: the way of a box that nothing cuts.

    Raises TypeError where they make no tensor of it, ValueError where they leave nothing of it.
    """
    image: Any = picture
    width, height = picture.size
    corners = torch.tensor([[0, 0, width, height]], dtype=torch.float64)
    outline = BoundingBoxes(corners, format="XYXY", canvas_size=(height, width), clamping_mode=None)
    for transform in transforms:
        image, outline = transform(image, outline)
    if not isinstance(image, Tensor):
        raise TypeError("the images are no tensors after 'transform'; does 'PIL_TO_TENSOR = []' lack?")
    left, top, right, bottom = outline[0].tolist()
    if not (right > left and bottom > top and math.isfinite(right + bottom)):
        raise ValueError("nothing is left of it after 'transform'")
    return image, View(left, top, right, bottom, (height, width), (image.shape[-2], image.shape[-1]))
