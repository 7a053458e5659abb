"""Masks as images, and as overlays."""

import numpy as np
import pytest
from PIL import Image

from ddpkit.inference.drawing import class_palette, mask_image, overlay_mask


@pytest.mark.parametrize(("kind", "n"), [(np.uint8, 1), (np.uint8, 3), (np.uint8, 256), (np.uint16, 300)])
def test_an_overlay_blends_each_class_but_the_first(kind, n):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mask = random.integers(0, n, (48, 64)).astype(kind)
    colours = np.reshape(class_palette(), (256, 3))[mask.astype(int) % 256]

    drawn = np.asarray(overlay_mask(Image.fromarray(pixels), mask))

    assert drawn.dtype == np.uint8
    assert (drawn == np.where(mask[..., None] > 0, (pixels + colours) // 2, pixels)).all()


def test_a_mask_image_keeps_the_classes(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)

    mask_image(mask).save(tmp_path / "mask.png")

    with Image.open(tmp_path / "mask.png") as image:
        assert (image.mode, image.getpalette()) == ("P", class_palette())
        assert (np.asarray(image) == mask).all()
