"""Fonts for texts in pictures. Pillow's own font has only Latin letters; other scripts need a font of the system."""

import functools
import logging

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

LOGGER = logging.getLogger(__name__)
BUILT_IN = ""
"""Stands for Pillow's own font."""
FONTS = (
    BUILT_IN,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "YuGothR.ttc",
    "arial.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
)
"""File names of common fonts on Linux, Windows and macOS. Pillow searches for them in the font folders of the system."""
NO_CHARACTER = "\uffff"
"""Code point that is never a character: fonts draw the sign for a missing character."""


@functools.cache
def load_font(name: str) -> FreeTypeFont | None:
    """Return a font in any size; None if this machine does not have it."""
    try:
        return ImageFont.load_default(10) if name == BUILT_IN else ImageFont.truetype(name)  # type: ignore[return-value]
    except OSError:
        return None


@functools.lru_cache(16)
def load_sized_font(name: str, size: int) -> FreeTypeFont:
    return load_font(name).font_variant(size=size)  # type: ignore[union-attr]  # `find_font` has loaded it


def font_for(text: str, size: int) -> FreeTypeFont:
    """Return a font that has the characters of a text, if this machine has one; `size` is in pixels."""
    return load_sized_font(find_font(text) or BUILT_IN, size)


def has_characters(font: FreeTypeFont, text: str) -> bool:
    """Return whether a font has a sign for each character of a text."""
    missing = bytes(font.getmask(NO_CHARACTER))
    return all(character == " " or bytes(font.getmask(character)) != missing for character in set(text))


@functools.lru_cache(1024)
def find_font(text: str) -> str | None:
    """Return the name of the first font that has all characters of a text; None if this machine has no such font."""
    return next((name for name in FONTS if (font := load_font(name)) and has_characters(font, text)), None)


def is_displayable(text: str) -> bool:
    """Return whether a font of this machine has all characters of a text; warn if there is none."""
    if find_font(text) is None:
        warn_about_missing_font()
        return False
    return True


@functools.cache  # one warning for all texts
def warn_about_missing_font() -> None:
    LOGGER.warning(
        "some names are replaced in the pictures, because no font on this machine has their characters; "
        "install a font that has them, for example Noto Sans CJK"
    )
