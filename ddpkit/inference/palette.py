"""Colours of the classes: the same in every picture, for masks, boxes and labels."""

import functools
from typing import Any

import numpy as np
from PIL import Image

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
N_COLORS = 256
"""Number of colours; class 256 has the colour of class 0."""
LEVELS = range(0, 256, 15)
"""Values of red, green and blue that a colour may have."""
LIGHTNESS = (0.5, 0.9)
"""Limits of the lightness of a colour, so that it is visible on dark and on bright images."""
LEAST_CHROMA = 0.08
"""Lower limit of the chroma of a colour, so that it is not mistaken for a part of a grayscale image."""
RED = (255, 45, 45)
"""Colour of class 1; the others follow from it."""


@functools.cache
def class_palette() -> list[int]:
    """Return red, green and blue of 256 classes as a flat list; class 0 is black.

    Each colour is the one that differs most from all colours before it, so that the first classes differ most.
    """
    colors = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    points = oklab(colors)
    lightness, chroma = points[:, 0], np.hypot(points[:, 1], points[:, 2])
    is_allowed = (lightness > LIGHTNESS[0]) & (lightness < LIGHTNESS[1]) & (chroma > LEAST_CHROMA)
    colors, points = colors[is_allowed], points[is_allowed]
    chosen = [int((np.abs(colors - RED).sum(axis=1)).argmin())]
    distance = np.full(len(colors), np.inf)
    while len(chosen) < N_COLORS - 1:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return [0, 0, 0, *colors[chosen].flatten().tolist()]


def oklab(colors: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Convert colours [N, 3] to Oklab [N, 3], where distances correspond to visible differences.

    Source: Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lab: np.ndarray[Any, Any] = np.cbrt(linear(colors) @ np.transpose(to_cones)) @ np.transpose(to_lab)
    return lab


def linear(colors: Any) -> "np.ndarray[Any, Any]":
    """Convert sRGB values from 0 to 255 to linear light from 0 to 1."""
    values = np.asarray(colors) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - the standard's limit


def class_color(label: int) -> Color:
    """Return the colour of a class."""
    start = 3 * (label % N_COLORS)
    red, green, blue = class_palette()[start : start + 3]
    return red, green, blue


def contrasting_color(color: Color) -> Color:
    """Return black or white, the one with the larger contrast to `color`, as WCAG 2 defines it."""
    luminance = float(linear(color) @ [0.2126, 0.7152, 0.0722])
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def mask_image(mask: "np.ndarray[Any, Any]") -> Image.Image:
    """Return a mask as an image of class indices, with a colour palette if the mask is uint8."""
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        image.putpalette(class_palette())
    return image
