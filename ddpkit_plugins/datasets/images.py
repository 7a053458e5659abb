"""Sizes of images, for messages."""

from PIL import Image


def size(image: Image.Image) -> str:
    """Width and height."""
    return f"{image.width}x{image.height}"
