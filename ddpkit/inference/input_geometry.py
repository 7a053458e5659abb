"""Position of an image in the model's input, and the conversion of results back to the image.

H, W: pixels of the image. h, w: pixels of the model's input. C: number of classes.
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

from ddpkit.errors import ComponentName, find_name, named_errors

CHUNK_PIXELS = 2**20
"""Number of image pixels that are processed at a time, to limit the memory."""


@attrs.frozen
class InputGeometry:
    """Position of an image in the model's input. The image may be cropped, or may have a border."""

    left: float
    top: float
    right: float
    bottom: float
    """Edges of the whole image (`left`, `top`, `right`, `bottom`), in pixels of the input."""
    size: tuple[int, int]
    """Size of the image: (H, W)."""
    seen: tuple[int, int]
    """Size of the model's input: (h, w)."""

    @property
    def is_whole(self) -> bool:
        """Whether the image fills the input exactly, at its original size."""
        return self.size == self.seen and (self.left, self.top) == (0, 0) and self.size == (self.bottom, self.right)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Convert boxes XYXY [N, 4] from pixels of the input to pixels of the image, clipped to the image."""
        height, width = self.size
        scale = torch.tensor([width / (self.right - self.left), height / (self.bottom - self.top)] * 2, dtype=boxes.dtype)
        moved = (boxes - torch.tensor([self.left, self.top] * 2, dtype=boxes.dtype)) * scale
        return moved.clamp(min=0).minimum(torch.tensor([width, height] * 2, dtype=boxes.dtype))

    def pixels(self, probabilities: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the class of each image pixel and the probability of that class.

        Image pixels outside the model's input get class 0 and probability 0.

        Args:
            probabilities: Float [C, h', w'], which covers the input; values between pixel centres are interpolated.
            choose: Maps probabilities [C, ...] to classes [...].

        Returns:
            Classes, int64 [H, W], and probabilities, float [H, W].
        """
        if self.is_whole and probabilities.shape[1:] == self.size:
            return select_pixels(probabilities, choose)
        height, width = self.size
        columns = sampling_grid(width, self.left, self.right, self.seen[1])
        rows = sampling_grid(height, self.top, self.bottom, self.seen[0])
        parts = []
        for some in torch.split(rows, max(1, CHUNK_PIXELS // width)):
            grid = torch.stack(torch.meshgrid(columns, some, indexing="xy"), dim=-1).to(probabilities.dtype)
            found = functional.grid_sample(probabilities[None], grid[None], padding_mode="border", align_corners=False)[0]
            classes, confidence = select_pixels(found, choose)
            outside = grid.abs().amax(dim=-1) > 1
            parts.append((classes.masked_fill(outside, 0), confidence.masked_fill(outside, 0)))
        classes, confidence = (torch.cat(each) for each in zip(*parts, strict=True))
        return classes, confidence


def sampling_grid(n: int, start: float, end: float, seen: int) -> Tensor:
    """Return the centres of `n` image pixels on one axis of the input: float64 [n].

    The outer edges of the input are at -1 and 1.
    """
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) * ((end - start) / n) + start
    return centres * (2 / seen) - 1


def select_pixels(probabilities: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the chosen classes [...] and their probabilities [...]."""
    classes = choose(probabilities)
    return classes, probabilities.gather(0, classes[None])[0]


def preprocess(
    picture: Image.Image, transforms: Sequence[Callable[[Any, Any], tuple[Any, Any]]], names: Sequence[ComponentName] = ()
) -> tuple[Tensor, InputGeometry]:
    """Apply the transforms, with their `names` for messages, to an image; return the result and the position of the image in it.

    Raises TypeError if the transforms do not return a tensor, ValueError if no part of the image is left.
    """
    image: Any = picture
    width, height = picture.size
    corners = torch.tensor([[0, 0, width, height]], dtype=torch.float64)
    # the transforms move this box together with the image; without clamping, it keeps edges that are outside the input
    outline = BoundingBoxes(corners, format="XYXY", canvas_size=(height, width), clamping_mode=None)
    for transform in transforms:
        with named_errors(find_name(transform, transforms, names)):
            image, outline = transform(image, outline)
    if not isinstance(image, Tensor):
        raise TypeError("images are not tensors after [transform]; add 'PIL_TO_TENSOR = []' to it")
    left, top, right, bottom = outline[0].tolist()
    if not (right > left and bottom > top and math.isfinite(right + bottom)):
        raise ValueError("no part of the image is left after [transform]")
    return image, InputGeometry(left, top, right, bottom, (height, width), (image.shape[-2], image.shape[-1]))
