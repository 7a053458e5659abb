"""Geometric transforms move image, mask and boxes together: tested with 200 drawn objects each."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.tv_tensors import BoundingBoxes, Mask

from ddpkit_plugins.datasets.boxes import to_boxes
from ddpkit_plugins.datasets.shapes import KINDS, draw_shape
from ddpkit_plugins.transforms import center_crop, crop, hflip, pil_to_tensor, resize, rotation, vflip

N = 200
MOVED = {
    "HFLIP": [hflip(0.5)],
    "VFLIP": [vflip(0.5)],
    "CROP": [crop(40, 56)],
    "a crop of more than there is": [crop(80, 70)],
    "CENTER_CROP": [center_crop(32, 48)],
    "a middle of more than there is": [center_crop(67, 71)],
    "ROTATION": [rotation(180)],
    "RESIZE down": [resize(40, 30)],
    "RESIZE up": [resize(100, 150)],
    "all": [hflip(0.5), vflip(0.5), rotation(30), crop(48)],
}
BORDERS = {"ROTATION": 1, "all": 1, "RESIZE down": 1, "RESIZE up": 1}
"""Pixels at the border of an object that may differ: rounding, and images are smoothed where masks are not."""


def sample(number):
    """A white object on black, its mask and its box."""
    generator = np.random.default_rng(number)
    side = int(generator.integers(16, 40))
    left, top = generator.integers(0, 64 - side, 2).tolist()
    image = draw_shape(KINDS[number % 3], left, top, side, 64)
    return image, Mask(pil_to_tensor()(image)[0] // 255), to_boxes([image.getbbox()], [1], 64, 64)


def apply_transforms(transforms, image, target, number):
    """Apply the transforms; the number seeds their random draws."""
    torch.manual_seed(number)
    for transform in transforms:
        image, target = transform(image, target)
    return image, target


@pytest.mark.parametrize("name", MOVED)
def test_a_mask_moves_with_its_object(name):
    for number in range(N):
        image, mask, _ = sample(number)
        image, mask = apply_transforms(MOVED[name], image, mask, number)
        white, border = pil_to_tensor()(image)[0] > 127, border_of(mask, BORDERS.get(name, 0))
        assert not ((white != (mask == 1)) & ~border).any(), number


def border_of(mask, width):
    """The pixels within this distance of the border of the object."""
    drawing = Image.fromarray(mask.numpy() * 255)
    inner, outer = (drawing.filter(kind(2 * width + 1)) for kind in (ImageFilter.MinFilter, ImageFilter.MaxFilter))
    return pil_to_tensor()(inner)[0] != pil_to_tensor()(outer)[0]


@pytest.mark.parametrize("name", MOVED)
def test_a_box_encloses_its_object(name):
    lost = 0
    for number in range(N):
        image, _, target = sample(number)
        image, target = apply_transforms(MOVED[name], image, target, number)
        boxes, seen = target["boxes"], image.point(lambda value: 255 * (value > 127)).getbbox()
        assert isinstance(boxes, BoundingBoxes)
        assert boxes.canvas_size == (image.height, image.width)
        assert len(boxes) == len(target["labels"]) <= 1
        if seen and max(seen[2] - seen[0], seen[3] - seen[1]) > 2:
            left, top, right, bottom = boxes[0].tolist()
            assert max(left - seen[0], top - seen[1], seen[2] - right, seen[3] - bottom) <= 1, number
        lost += not len(boxes)
    assert lost == 0 or "CROP" in name or name == "all"


@pytest.mark.parametrize("name", ["HFLIP", "VFLIP", "CROP", "CENTER_CROP", "RESIZE up", "RESIZE down"])
def test_a_box_stays_tight_without_rotation(name):
    for number in range(1, N, 3):  # squares
        image, _, target = sample(number)
        image, target = apply_transforms(MOVED[name], image, target, number)
        seen = image.point(lambda value: 255 * (value > 127)).getbbox()
        if seen and min(seen[2] - seen[0], seen[3] - seen[1]) > 2:
            assert np.abs(np.array(target["boxes"][0].tolist()) - seen).max() <= 1, number


def test_boxes_outside_the_image_are_dropped_with_their_fields():
    image, mask = Image.new("L", (20, 20)), torch.zeros(3, 20, 20, dtype=torch.uint8)
    mask[1, 6:8, 6:8] = 1
    target = to_boxes([(0, 0, 4, 4), (6, 6, 8, 8), (2, 12, 10, 20)], [1, 2, 3], 20, 20)
    target |= {"area": torch.tensor([16.0, 4.0, 64.0]), "masks": Mask(mask), "image_id": 7}

    _, target = center_crop(10)(image, target)

    assert target["boxes"].tolist() == [[1, 1, 3, 3], [0, 7, 5, 10]]
    assert (target["labels"].tolist(), target["area"].tolist(), target["image_id"]) == ([2, 3], [4, 64], 7)
    assert target["masks"].sum((1, 2)).tolist() == [4, 0]


def test_an_image_may_lose_all_its_boxes():
    image, target = Image.new("L", (20, 20)), to_boxes([(0, 0, 4, 4)], [1], 20, 20)

    _, target = center_crop(10)(image, target)

    assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))
