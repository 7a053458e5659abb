"""Open image files, in the same way for training and for prediction."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddpkit.terminal import escape

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow decoders that may read a file, whatever its name is."""
Mode = Literal["RGB", "L"]
"""RGB or grayscale, with 8 bits per channel."""


def open_image(file: Path, mode: Mode | None = None) -> Image.Image:
    """Open an image, rotated upright by its EXIF orientation; the first frame of a file with several (GIF, TIFF).

    Args:
        file: BMP, GIF, JPEG, PNG, TIFF or WebP, whatever its name is.
        mode: `RGB`, or `L` for grayscale, with 8 bits per channel; None: the mode in which the image is stored.

    Raises:
        ValueError: The file is not a regular file, is corrupt, has an unknown format, cannot be converted to `mode`, or has
            more pixels than Pillow's safety limit (`PIL.Image.MAX_IMAGE_PIXELS`, checked before decoding). The message names
            the file.
    """
    image = decode_image(file)
    if mode is None:
        return image
    try:
        return convert_mode(image, mode)
    except ValueError as error:
        raise ValueError(f"{format_file(file)} {error}") from error


def decode_image(file: Path) -> Image.Image:
    if not file.is_file():  # opening a named pipe would block forever
        raise ValueError(f"{format_file(file)} cannot be read as an image: it is not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return image
    except UnidentifiedImageError as error:
        raise ValueError(f"{format_file(file)} cannot be read as an image: it must be one of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise any exception for a corrupt file
        raise ValueError(f"{format_file(file)} cannot be read as an image: {error}") from error


def convert_mode(image: Image.Image, mode: Mode) -> Image.Image:
    """Convert an image to RGB or grayscale with 8 bits per channel.

    16-bit grayscale is scaled to 8 bits, palette colours are looked up, transparent pixels get the colour that is stored for
    them, and CMYK is converted. Raises ValueError; its message starts with a verb, so that the caller can prepend the file name.
    """
    if image.mode == "F":
        raise ValueError("contains floating-point values of unknown range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        image = from_16_bits(image)
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns if transparency is dropped directly
        image = image.convert("RGBA")
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"has the colour mode {image.mode}, which cannot be converted to {mode}") from error


def from_16_bits(image: Image.Image) -> Image.Image:
    """Scale values from 0..65535 to 0..255: divide by 257 = 65535 / 255. Raises ValueError for values outside this range."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004 - the mode may have 32 bits
        raise ValueError(f"contains grayscale values from {values.min()} to {values.max()}; they must be between 0 and 65535")
    # Pillow's own conversion would clip all values above 255.
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def format_file(file: Path | str) -> str:
    """Return a file name as one safe line."""
    return escape(str(file))
