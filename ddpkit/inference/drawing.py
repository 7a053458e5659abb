"""Draw annotations on pictures: masks, boxes and tags."""

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from PIL import Image, ImageDraw

from ddpkit.inference.palette import contrasting_color, mask_image
from ddpkit.inference.tags import LEAST_SIDE, Tag, add_strip, font_size


@attrs.frozen(kw_only=True)
class Annotation:
    """Annotation of a picture. Coordinates are in pixels of the picture."""

    tags: Sequence[Tag] = ()
    """Texts below the picture: its classes, or the legend of its mask."""
    mask: "np.ndarray[Any, Any] | None" = None
    """Class indices, integers [H, W]."""
    boxes: Sequence[tuple[Sequence[float], Tag]] = ()
    """Corners (left, top, right, bottom) and text of each box; the first box is drawn on top of the others."""


def draw(picture: Image.Image, annotation: Annotation, factor: float | None = None) -> Image.Image:
    """Return an RGB picture with its annotation: mask and boxes on it, tags in a strip below it.

    Args:
        picture: RGB image.
        annotation: What to draw.
        factor: Scale of the picture; None: a small picture is enlarged by a whole number, others keep their size.
    """
    factor = enlargement(picture.size) if factor is None else factor
    if annotation.mask is not None:
        picture = overlay_mask(picture, annotation.mask)
    picture = scale(picture, factor)
    size = font_size(picture.size)
    draw_boxes(picture, [([factor * each for each in corners], tag) for corners, tag in annotation.boxes], size)
    return add_strip(picture, annotation.tags, size)


def enlargement(size: tuple[int, int]) -> int:
    """Return the factor of a picture of this size; 1 unless it is small."""
    return max(1, LEAST_SIDE // max(size))


def scale(picture: Image.Image, factor: float) -> Image.Image:
    """Return a scaled copy. Enlarged pixels stay sharp squares."""
    width, height = (max(1, round(factor * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)


def overlay_mask(picture: Image.Image, mask: "np.ndarray[Any, Any]") -> Image.Image:
    """Blend the palette colour of each pixel's class over the image; class 0 is not coloured.

    torchvision's `draw_segmentation_masks` gives the same pixels, but needs one mask of the image's size per class: 2.2 s and
    300 MB instead of 0.01 s for 150 classes on 1024 x 2048 pixels.
    """
    colors = mask_image((mask & 255).astype(np.uint8)).convert("RGB")
    return Image.composite(Image.blend(picture, colors, 0.5), picture, Image.fromarray(mask != 0))


def draw_boxes(picture: Image.Image, boxes: Sequence[tuple[Sequence[float], Tag]], size: int) -> None:
    """Draw boxes and their tags on the picture itself.

    An outline has an edge in a contrasting colour, so that it is visible on every image. torchvision's `draw_bounding_boxes`
    draws neither this edge nor texts that stay inside the picture.
    """
    canvas, line = ImageDraw.Draw(picture), max(2, size // 8)
    edge = max(1, line // 3)
    placed = [(clip_corners(corners, picture.size, line + edge), tag) for corners, tag in reversed(boxes)]
    for (left, top, right, bottom), tag in placed:
        outer = (left - edge, top - edge, right + edge, bottom + edge)
        canvas.rectangle(outer, outline=contrasting_color(tag.color), width=line + 2 * edge)
        canvas.rectangle((left, top, right, bottom), outline=tag.color, width=line)
    for (left, top, *_), tag in placed:
        draw_box_tag(canvas, picture, (left, top), tag, size)


def draw_box_tag(canvas: ImageDraw.ImageDraw, picture: Image.Image, corner: tuple[int, int], tag: Tag, size: int) -> None:
    """Draw the tag of a box above its left upper corner, or inside the box if the picture ends there."""
    box = tag.fit(size, max(picture.width / 2, min(picture.width, 12 * size)))
    if box.text:
        left, top = corner
        y = top if top < box.height else top - box.height
        box.draw(canvas, max(0, min(left, picture.width - box.width)), max(0, min(y, picture.height - box.height)))


def clip_corners(corners: Sequence[float], size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """Return whole corners that are at most `margin` pixels outside a picture; the right lower corner is not before the other."""
    limits = np.array([*size, *size]) + margin
    left, top, right, bottom = np.nan_to_num(corners).clip(-margin, limits).round().astype(int).tolist()
    return left, top, max(left, right), max(top, bottom)
