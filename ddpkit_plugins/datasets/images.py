"""Image sizes as text, for messages."""

from PIL import Image


def image_size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"
