"""Image files, opened: the same for what trains and what is predicted."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Which of Pillow's decoders a file may reach, whatever it is called."""
Mode = Literal["RGB", "L"]
"""Colour or grey, 8 bits a channel."""


def open_image(file: Path, mode: Mode | None = None) -> Image.Image:
    """The image, upright as its EXIF orientation says; the first of several (GIF, TIFF).

    Args:
        file: BMP, GIF, JPEG, PNG, TIFF or WebP, whatever its name.
        mode: `RGB`, or `L` for grey; None = as it is stored.

    Raises:
        ValueError: Names the file, which is broken, of no known format, cannot be made `mode`, or, before it is decoded, has more
            pixels than Pillow holds to be safe (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    image = decoded(file)
    if mode is None:
        return image
    try:
        return converted(image, mode)
    except ValueError as error:
        raise ValueError(f"{shown(file)} {error}") from error


def decoded(file: Path) -> Image.Image:
    """In its own mode."""
    if not file.is_file():  # to open a pipe would wait for ever
        raise ValueError(f"{shown(file)} cannot be read as an image: it is no file")
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


def converted(image: Image.Image, mode: Mode) -> Image.Image:
    """In colour or grey, 8 bits a channel. Raises ValueError, which begins with a verb.

    Grey of 16 bits is scaled, palettes are looked up, what is transparent has the colour that it hides, CMYK becomes RGB.
    """
    if image.mode == "F":
        raise ValueError("holds floating-point values, whose range is not known; 8 or 16 bits are needed")
    if image.mode.startswith("I"):
        image = from_16_bits(image)
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns when it is dropped at once
        image = image.convert("RGBA")
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"has colours of mode {image.mode}, which cannot be made {mode}") from error


def from_16_bits(image: Image.Image) -> Image.Image:
    """Grey 0..65535 as 0..255, divided by 257 = 65535 / 255; Pillow's own conversion would cut all above 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004 - 32 bits
        raise ValueError(f"holds grey values {values.min()} to {values.max()}; 8 or 16 bits are needed")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def shown(file: Path | str) -> str:
    """A name on one line: one with line ends or other odd characters is written as Python does it."""
    return str(file) if str(file).isprintable() else repr(str(file))
