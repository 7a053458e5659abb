"""Image files: which there are, and how they are opened."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of the files that count as images, in small or capital letters."""


def image_files(folder: Path) -> list[Path]:
    """The image files right in a folder, by name; hidden ones are left out."""
    files = [file for file in visible(folder) if file.suffix.lower() in ENDINGS]
    return [file for file in files if file.is_file()]


def folders(folder: Path) -> list[Path]:
    """The folders right in a folder, by name; hidden ones are left out."""
    return [each for each in visible(folder) if each.is_dir()]


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without what is hidden."""
    return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


def existing_root(root_dir: str, expected: str) -> Path:
    """The folder of a dataset. Raises ValueError that says what is expected there, when it is not given or not there."""
    if not root_dir:
        raise ValueError(f"needs dataset.root_dir, a folder with {expected}")
    if not Path(root_dir).is_dir():
        raise ValueError(f"dataset.root_dir {root_dir} is no folder; expected one with {expected}")
    return Path(root_dir)


def open_image(file: Path) -> Image.Image:
    """The image in its own mode, upright as its EXIF orientation says.

    Raises ValueError for a file that is broken, and for one with more pixels than Pillow holds to be safe
    (`PIL.Image.MAX_IMAGE_PIXELS`).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return image
    except Exception as error:  # Pillow's decoders raise anything for a broken file
        raise ValueError(f"{file} cannot be read as an image: {error}") from error


def open_as(file: Path, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image in colour or grey, 8 bits a channel; grey of 16 bits is scaled. Raises ValueError naming the file."""
    image = open_image(file)
    if image.mode == "F":
        raise ValueError(f"{file} holds floating-point values, whose range is not known; 8 or 16 bits are needed")
    if image.mode.startswith("I"):
        image = from_16_bits(image, file)
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns when it is dropped at once
        image = image.convert("RGBA")
    return image.convert(mode)


def from_16_bits(image: Image.Image, file: Path) -> Image.Image:
    """Grey 0..65535 as 0..255, divided by 257 = 65535 / 255; Pillow's own conversion would cut all above 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:  # noqa: PLR2004 - 32 bits
        raise ValueError(f"{file} holds grey values {values.min()} to {values.max()}; 8 or 16 bits are needed")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
