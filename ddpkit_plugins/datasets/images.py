"""Image sizes as text, for messages."""

from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base


def image_size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def swap_hint(file: Path, image: Image.Image, size: tuple[int, int]) -> str:
    """Return a hint if `size`, the expected (width, height), is that of the opened image `file` with its sides exchanged."""
    if image.size != size[::-1] or image.size == size:
        return ""
    with Image.open(file) as stored:
        is_rotated = is_sideways(stored)
    cause = (
        f"the EXIF orientation of {file.name} rotates it; save the image upright, without EXIF orientation" if is_rotated else ""
    )
    return f"; width and height are exchanged{': ' * bool(cause)}{cause}"


def is_sideways(stored: Image.Image) -> bool:
    """Return whether the EXIF orientation of an opened image file exchanges width and height."""
    return int(stored.getexif().get(Base.Orientation, 1)) > 4  # noqa: PLR2004 - values 5 to 8 exchange width and height
