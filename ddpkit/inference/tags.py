"""Tags of a picture: texts on a box that has the colour of their class."""

import math
from collections.abc import Iterable, Iterator, Sequence

import attrs
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from ddpkit.inference.palette import Color, class_color, contrasting_color
from ddpkit.runs.fonts import font_for, is_displayable

LEAST_SIDE = 256
"""Longer side of a picture, in pixels, below which it is enlarged: a text on a smaller one would not be legible."""
BACKGROUND: Color = (48, 48, 48)
"""Colour of the strip below a picture, and of tags without a class."""
MOST_TAGS = 24
"""Maximum number of tags in a strip."""
LONGEST_NAME = 200
"""Maximum number of characters of a name."""
ELLIPSIS = "..."


@attrs.frozen
class Tag:
    """Text on a filled box."""

    label: int | None
    """Index of the class whose colour the box has; None: no class."""
    name: str
    value: str = ""
    """Text after the name, such as a probability. It is never shortened."""
    before: str = ""
    """Text before the name, such as `target: `."""

    @property
    def color(self) -> Color:
        return BACKGROUND if self.label is None else class_color(self.label)

    @property
    def shown_name(self) -> str:
        """The name on one line, with the text before it. The number of the class replaces a name whose characters no font has."""
        line = self.before + " ".join(self.name.split())[:LONGEST_NAME]
        if is_displayable(line):
            return line
        return f"{self.before}class {self.label}" if self.label is not None else line.encode("ascii", "replace").decode()

    def fit(self, size: int, width: float) -> "TextBox":
        """Return the text in a font size, with its box at most `width` pixels wide: a long name is shortened."""
        name = self.shown_name
        font = font_for(name, size)
        box = TextBox(f"{name} {self.value}".strip(), font, self.color)
        for length in range(len(name), 0, -1):
            if box.width <= width:
                break
            box = TextBox(f"{name[:length].rstrip()}{ELLIPSIS} {self.value}".strip(), font, self.color)
        return box


@attrs.frozen
class TextBox:
    """Text in a font, on a box that is filled with a colour."""

    text: str
    font: FreeTypeFont
    color: Color

    @property
    def width(self) -> int:
        """Width of the box, in pixels."""
        return round(self.font.getlength(self.text)) + 2 * padding(self.font.size)

    @property
    def height(self) -> int:
        """Height of the box, in pixels; it depends only on the font size."""
        return round(1.25 * self.font.size) + 2 * padding(self.font.size)

    def draw(self, canvas: ImageDraw.ImageDraw, left: int, top: int) -> None:
        """Draw the box with its left upper corner at this place, and the text in a contrasting colour."""
        canvas.rectangle((left, top, left + self.width - 1, top + self.height - 1), fill=self.color)
        place = (left + padding(self.font.size), top + self.height / 2)
        canvas.text(place, self.text, fill=contrasting_color(self.color), font=self.font, anchor="lm")


def format_number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.2f}"


def mask_legend(shares: Iterable[tuple[int, str, float | None]]) -> list[Tag]:
    """Return the legend of a mask for label, name and share of the pixels of each class, the largest share first.

    Classes without a pixel are left out.
    """
    present = [(label, name, share) for label, name, share in shares if share]
    present.sort(key=lambda each: -each[2])
    return [Tag(label, name, f"{share:.0%}" if share >= 0.005 else "<1%") for label, name, share in present]  # noqa: PLR2004 - rounds to 0%


def font_size(size: tuple[int, int]) -> int:
    """Return the font size for a picture of this size, in pixels: in proportion to it, but always legible."""
    width, height = size
    return max(14, min(round(math.sqrt(width * height) / 36), width // 16))


def padding(size: float) -> int:
    """Return the distance between a text and the edge of its box, and between two boxes, for a font size; in pixels."""
    return max(2, int(size) // 4)


def add_strip(picture: Image.Image, tags: Sequence[Tag], size: int) -> Image.Image:
    """Return the picture with a strip below it that shows the tags, from left to right, in as many rows as they need.

    A narrow picture gets a background on its right.
    """
    if not tags:
        return picture
    width = max(picture.width, LEAST_SIDE)
    if len(tags) > MOST_TAGS:
        tags = [*tags[: MOST_TAGS - 1], Tag(None, f"and {len(tags) - MOST_TAGS + 1} more")]
    placed = list(place_tags(tags, size, width))
    height = max(top + box.height for box, _, top in placed) + padding(size)
    whole = Image.new("RGB", (width, picture.height + height), BACKGROUND)
    whole.paste(picture)
    canvas = ImageDraw.Draw(whole)
    for box, left, top in placed:
        box.draw(canvas, left, picture.height + top)
    return whole


def place_tags(tags: Sequence[Tag], size: int, width: int) -> Iterator[tuple[TextBox, int, int]]:
    """Yield the box of each tag in a strip of `width` pixels, and its left upper corner."""
    gap = padding(size)
    left = top = gap
    for tag in tags:
        box = tag.fit(size, width - 2 * gap)
        if left > gap and left + box.width + gap > width:
            left, top = gap, top + box.height + gap
        yield box, left, top
        left += box.width + gap
