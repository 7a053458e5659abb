"""Image files, opened."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddpkit_plugins.datasets.files import shown

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Which of Pillow's decoders a file may reach, whatever it is called."""


def open_image(file: Path) -> Image.Image:
    """The image in its own mode, upright as its EXIF orientation says; the first of several (GIF, TIFF).

    Raises ValueError for a file that is broken or of no known format, and, before it is decoded, for one with more pixels
    than Pillow holds to be safe (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return image
    except UnidentifiedImageError as error:
        raise ValueError(f"{shown(file)} cannot be read as an image: it is none of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise anything for a broken file
        raise ValueError(f"{shown(file)} cannot be read as an image: {error}") from error


def open_as(file: Path, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image in colour or grey, 8 bits a channel. Raises ValueError naming the file.

    Grey of 16 bits is scaled, palettes are looked up, what is transparent has the colour that it hides, CMYK becomes RGB.
    """
    image = open_image(file)
    if image.mode == "F":
        raise ValueError(f"{shown(file)} holds floating-point values, whose range is not known; 8 or 16 bits are needed")
    if image.mode.startswith("I"):
        image = from_16_bits(image, file)
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns when it is dropped at once
        image = image.convert("RGBA")
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"{shown(file)} has colours of mode {image.mode}, which cannot be made {mode}") from error


def from_16_bits(image: Image.Image, file: Path) -> Image.Image:
    """Grey 0..65535 as 0..255, divided by 257 = 65535 / 255; Pillow's own conversion would cut all above 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004 - 32 bits
        raise ValueError(f"{shown(file)} holds grey values {values.min()} to {values.max()}; 8 or 16 bits are needed")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def size(image: Image.Image) -> str:
    """Width and height, for messages."""
    return f"{image.width}x{image.height}"
