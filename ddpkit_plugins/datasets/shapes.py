"""Drawn shapes: classification and detection without any files."""

from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from ddpkit_plugins.datasets.boxes import collate, to_boxes

KINDS = ("circle", "square", "triangle")
TRIES = 20
"""Number of attempts to find a free place for a shape; if all fail, the image does not get this shape."""
SMALLEST = 32
"""Minimum side of an image in pixels, so that a shape is at least eight pixels large."""


class Shapes:
    """Dataset of circles, squares and triangles (labels 1, 2, 3) on noise: PIL images of mode `RGB`, with their boxes.

    An image depends only on (seed, index). It has at least one shape, and shapes do not overlap. A box encloses exactly the
    pixels of its shape.

    Args:
        seed: Seed of the run; passed by the run.
        n: Number of images, at least 1.
        size: Side of an image in pixels, at least 32.
        max_objects: Maximum number of shapes in an image, at least 1.

    Raises:
        ValueError: A number is out of range.
    """

    collate = staticmethod(collate)

    def __init__(self, seed: int, n: int = 256, size: int = 64, max_objects: int = 3) -> None:
        if n < 1 or size < SMALLEST or max_objects < 1:
            given = f"{n}, {size} and {max_objects}"
            raise ValueError(f"n must be at least 1, size at least {SMALLEST} and max_objects at least 1; got {given}")
        self.seed, self.n, self.size, self.max_objects = seed, n, size, max_objects
        self.classes = [*KINDS]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Image.Image, dict[str, Any]]:
        generator, image = draw_canvas(self.seed, range(self.n)[index], self.size)
        taken, corners, labels = Image.new("L", image.size), [], []
        for _ in range(generator.integers(1, self.max_objects, endpoint=True)):
            kind = int(generator.integers(len(KINDS)))
            shape = place_shape(generator, KINDS[kind], taken)
            if shape is None:
                continue
            image.paste(draw_color(generator), mask=shape)
            taken = ImageChops.lighter(taken, shape)
            corners.append(shape.getbbox() or ())
            labels.append(kind + 1)
        return image, to_boxes(corners, labels, self.size, self.size)


class OneShape:
    """Dataset of one circle, square or triangle (0, 1, 2) on noise: a PIL image of mode `RGB` and its class.

    The classes alternate. An image depends only on (seed, index).

    Args:
        seed: Seed of the run; passed by the run.
        n: Number of images, at least 1.
        size: Side of an image in pixels, at least 32.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, seed: int, n: int = 256, size: int = 64) -> None:
        if n < 1 or size < SMALLEST:
            raise ValueError(f"n must be at least 1 and size at least {SMALLEST}; got {n} and {size}")
        self.seed, self.size = seed, size
        self.classes = [*KINDS]
        self.targets = [index % len(KINDS) for index in range(n)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        target = self.targets[index]
        generator, image = draw_canvas(self.seed, index % len(self), self.size)
        shape = place_shape(generator, KINDS[target], Image.new("L", image.size))
        image.paste(draw_color(generator), mask=shape)
        return image, target


def draw_canvas(seed: int, index: int, size: int) -> tuple[np.random.Generator, Image.Image]:
    """Return the random generator of image `index`, and the noise that it drew first."""
    generator = np.random.default_rng([seed, index])
    return generator, Image.fromarray(generator.integers(0, 96, (size, size, 3), dtype=np.uint8))


def draw_color(generator: np.random.Generator) -> tuple[int, ...]:
    """Return a random colour that is brighter than the noise in each channel."""
    return tuple(generator.integers(128, 256, 3).tolist())


def place_shape(generator: np.random.Generator, kind: str, taken: Image.Image) -> Image.Image | None:
    """Return a shape, 255 on 0, of random size and place that does not touch `taken`; None if there is no room."""
    for _ in range(TRIES):
        side = int(generator.integers(taken.width // 4, taken.width // 2, endpoint=True))
        left, top = generator.integers(0, taken.width - side, 2, endpoint=True).tolist()
        shape = draw_shape(kind, left, top, side, taken.width)
        if not ImageChops.multiply(shape, taken).getbbox():
            return shape
    return None


def draw_shape(kind: str, left: int, top: int, side: int, size: int) -> Image.Image:
    """Return a mask of `size` x `size`: 255 in the shape, whose box has the corner (left, top) and the given side."""
    mask = Image.new("L", (size, size))
    draw, right, bottom = ImageDraw.Draw(mask), left + side - 1, top + side - 1
    if kind == "circle":
        draw.ellipse((left, top, right, bottom), fill=255)
    elif kind == "square":
        draw.rectangle((left, top, right, bottom), fill=255)
    else:
        draw.polygon([(left, bottom), (right, bottom), (left + side // 2, top)], fill=255)
    return mask
