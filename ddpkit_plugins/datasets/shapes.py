"""Drawn shapes: classification and detection without a file."""

from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from ddpkit_plugins.datasets.boxes import boxes_of, collate

KINDS = ("circle", "square", "triangle")
TRIES = 20
"""To find a free place for an object; it is left out after these."""
SMALLEST = 32
"""Pixels of an image's side, so that a shape is at least eight large."""


class Shapes:
    """Circles, squares and triangles (1, 2, 3) on noise: PIL images of mode `RGB` with their boxes.

    An image is a function of (seed, index). No shape covers another; there is one at least. A box holds just the pixels of
    its shape.

    Args:
        seed: The run's; given by the run.
        n: Images, at least 1.
        size: Pixels of a side, at least 32.
        max_objects: Shapes in an image, at least 1.
    """

    collate = staticmethod(collate)

    def __init__(self, seed: int, n: int = 256, size: int = 64, max_objects: int = 3) -> None:
        if n < 1 or size < SMALLEST or max_objects < 1:
            given = f"{n}, {size} and {max_objects}"
            raise ValueError(f"n is at least 1, size at least {SMALLEST} and max_objects at least 1, got {given}")
        self.seed, self.n, self.size, self.max_objects = seed, n, size, max_objects
        self.classes = [*KINDS]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Image.Image, dict[str, Any]]:
        generator, image = canvas(self.seed, range(self.n)[index], self.size)
        taken, corners, labels = Image.new("L", image.size), [], []
        for _ in range(generator.integers(1, self.max_objects, endpoint=True)):
            kind = int(generator.integers(len(KINDS)))
            shape = free_shape(generator, KINDS[kind], taken)
            if shape is None:
                continue
            image.paste(colour(generator), mask=shape)
            taken = ImageChops.lighter(taken, shape)
            corners.append(shape.getbbox() or ())
            labels.append(kind + 1)
        return image, boxes_of(corners, labels, self.size, self.size)


class OneShape:
    """One circle, square or triangle (0, 1, 2) on noise: a PIL image of mode `RGB` and its class, the classes in turn.

    An image is a function of (seed, index).

    Args:
        seed: The run's; given by the run.
        n: Images, at least 1.
        size: Pixels of a side, at least 32.
    """

    def __init__(self, seed: int, n: int = 256, size: int = 64) -> None:
        if n < 1 or size < SMALLEST:
            raise ValueError(f"n is at least 1 and size at least {SMALLEST}, got {n} and {size}")
        self.seed, self.size = seed, size
        self.classes = [*KINDS]
        self.targets = [index % len(KINDS) for index in range(n)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        target = self.targets[index]
        generator, image = canvas(self.seed, index % len(self), self.size)
        shape = free_shape(generator, KINDS[target], Image.new("L", image.size))
        image.paste(colour(generator), mask=shape)
        return image, target


def canvas(seed: int, index: int, size: int) -> tuple[np.random.Generator, Image.Image]:
    """What draws image `index`, and the noise that it drew first."""
    generator = np.random.default_rng([seed, index])
    return generator, Image.fromarray(generator.integers(0, 96, (size, size, 3), dtype=np.uint8))


def colour(generator: np.random.Generator) -> tuple[int, ...]:
    """Brighter in each channel than the noise."""
    return tuple(generator.integers(128, 256, 3).tolist())


def free_shape(generator: np.random.Generator, kind: str, taken: Image.Image) -> Image.Image | None:
    """A shape of random size and place, 255 on 0, that meets nothing `taken`; None when there was no room."""
    for _ in range(TRIES):
        side = int(generator.integers(taken.width // 4, taken.width // 2, endpoint=True))
        left, top = generator.integers(0, taken.width - side, 2, endpoint=True).tolist()
        shape = drawn(kind, left, top, side, taken.width)
        if not ImageChops.multiply(shape, taken).getbbox():
            return shape
    return None


def drawn(kind: str, left: int, top: int, side: int, size: int) -> Image.Image:
    """A mask of `size` x `size`: 255 in the shape, whose box has corner (left, top) and `side` pixels a side."""
    mask = Image.new("L", (size, size))
    draw, right, bottom = ImageDraw.Draw(mask), left + side - 1, top + side - 1
    if kind == "circle":
        draw.ellipse((left, top, right, bottom), fill=255)
    elif kind == "square":
        draw.rectangle((left, top, right, bottom), fill=255)
    else:
        draw.polygon([(left, bottom), (right, bottom), (left + side // 2, top)], fill=255)
    return mask
