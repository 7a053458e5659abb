"""Samples as pictures: every kind of image and target is drawn, or shown as text."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import Normalize

from ddpkit.inference.sample_drawing import SampleDrawer, describe_images, draw_grid, split_batch

DRAWER = SampleDrawer(classes=["background", "cat", "dog"], box_classes=["cat", "dog"], transforms=[])
SIZE = (4, 6)


@pytest.mark.parametrize(
    ("target", "texts"),
    [
        (torch.tensor(1), ["1 cat"]),
        (torch.tensor([2]), ["2 dog"]),
        (torch.tensor(1.0), ["1 cat"]),
        (torch.tensor(7), ["7 7"]),
        (torch.tensor(-100), ["-100 -100"]),
        (torch.tensor([0, 1, 1]), ["1 cat", "2 dog"]),
        (torch.tensor([0.0, 0.0, 0.0]), ["None no label"]),
        (torch.tensor([0.0, 0.25, 0.75]), ["1 cat 0.25", "2 dog 0.75"]),
        (torch.tensor(3.14159), ["None 3.14"]),
        (torch.tensor([0.5, -1.25], dtype=torch.bfloat16), ["None 0.50, -1.25"]),
        (torch.arange(20) / 3, ["None 0.00, 0.33, 0.67, 1.00, 1.33, 1.67, 2.00, 2.33, ..."]),
        (torch.tensor(float("nan")), ["None nan"]),
        (torch.tensor([]), ["None"]),
        (torch.tensor(1j), ["None tensor(0.+1.j)"]),
        (torch.full((2, 3), 0.3), ["None 0.30, 0.30, 0.30, 0.30, 0.30, 0.30"]),
        (torch.full((4, 6), 0.3), ["None float32 [4, 6]"]),
        ("a sentence", ["None a sentence"]),
        ({"key": 1}, ["None key: 1"]),
        ({"side": torch.tensor(1), "at": torch.zeros(3, 2)}, ["1 side: 1", "None at: 0.00, 0.00, 0.00, 0.00, 0.00, 0.00"]),
        ({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, ["None no box"]),
        (torch.tensor([[0, 0, 1], [0, 0, 255]]).repeat(2, 2), ["0 background 67%", "1 cat 17%", "255 255 17%"]),
        (torch.tensor([[0, 0, 1], [0, 0, 2]]).repeat(2, 2)[None].float(), ["0 background 67%", "1 cat 17%", "2 dog 17%"]),
    ],
    ids=str,
)
def test_a_target_is_drawn_or_described(target, texts):
    annotation = DRAWER.annotate(target, SIZE)

    assert [f"{tag.label} {tag.before}{tag.name} {tag.value}".strip() for tag in annotation.tags] == texts
    assert (annotation.mask is not None) == ("%" in texts[0])
    assert DRAWER.draw(torch.rand(3, *SIZE), target, "a caption").height > 200


def test_boxes_have_the_names_of_their_labels():
    boxes, labels = torch.tensor([[0.0, 0, 2, 2]]).repeat(4, 1), torch.tensor([1, 2, 3, 0])

    annotation = DRAWER.annotate({"boxes": boxes, "labels": labels}, SIZE)

    assert [(tag.label, tag.name) for _, tag in annotation.boxes] == [(1, "cat"), (2, "dog"), (3, "3"), (0, "background")]
    assert DRAWER.draw(torch.rand(3, *SIZE), {"boxes": boxes}, "without labels").width == 256


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (torch.tensor([10, 20, 30], dtype=torch.uint8), (10, 20, 30)),
        (torch.tensor([0.0, 0.2, 1.0]), (0, 51, 255)),
        (torch.tensor([0.0, 0.2, 1.0, 0.7, 0.3]), (0, 51, 255)),
        (torch.tensor([0.2]), (51, 51, 51)),
        (torch.tensor([0.2, 0.9]), (51, 51, 51)),
        (torch.tensor([-5.0, 0.0, 5.0]), (0, 128, 255)),
        (torch.tensor([-0.01, float("nan"), 1.01]), (0, 0, 255)),
        (torch.tensor([7.0, 7.0, 7.0]), (0, 0, 0)),
        (torch.tensor([True, False, True]), (255, 0, 255)),
    ],
    ids=str,
)
def test_pixels_become_colours(image, pixel):
    picture = DRAWER.to_picture(image.reshape(-1, 1, 1).expand(-1, *SIZE))

    assert picture.size == (6, 4)
    assert picture.getpixel((5, 3)) == pixel


def test_a_normalisation_is_undone():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    normalize = Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    drawer = SampleDrawer(classes=[], box_classes=[], transforms=[normalize])

    picture = drawer.to_picture(normalize(image))

    assert (np.asarray(picture) == (image.permute(1, 2, 0) * 255).round().numpy()).all()


@pytest.mark.parametrize("image", [torch.ones(5), torch.rand(2, 3, 4, 5), torch.zeros(3, 0, 4), "text", torch.zeros(2, 2) * 1j])
def test_an_input_that_is_no_image_is_described(image):
    assert DRAWER.draw(image, torch.tensor(1), "a caption").size[0] >= 256


def test_a_large_image_is_reduced():
    assert DRAWER.draw(torch.rand(1, 600, 900), torch.tensor(1), "a caption").width == 320


@pytest.mark.parametrize(
    ("targets", "first"),
    [
        (torch.tensor([5, 6, 7]), torch.tensor(5)),
        (["a", "b", "c"], "a"),
        ([{"x": 1}, {"x": 2}, {"x": 3}], {"x": 1}),
        ([torch.tensor([5, 6, 7]), torch.tensor([1, 2, 3])], [torch.tensor(5), torch.tensor(1)]),
        ({"x": torch.tensor([5, 6, 7])}, {"x": torch.tensor(5)}),
        (None, None),
        (torch.tensor(3), torch.tensor(3)),
    ],
    ids=str,
)
def test_a_target_is_taken_from_its_batch(targets, first):
    samples = split_batch([torch.zeros(3, 2, each) for each in (2, 3, 4)], targets)

    assert [image.shape[-1] for image, _ in samples] == [2, 3, 4]
    assert samples[0][1] == first


def test_several_images_of_a_sample_are_drawn_side_by_side():
    left, right = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 8)
    (image, target), _ = split_batch({"left": left, "right": right}, torch.tensor([0, 1]))
    alone = DRAWER.draw(torch.cat([left[0], right[0]], dim=-1), target, "a caption")

    assert target == 0
    assert DRAWER.draw(image, target, "a caption").tobytes() == alone.tobytes()
    assert describe_images([image]) == "{left: float32 [1, 4, 4], right: float32 [1, 4, 8]}, values from 0 to 1"
    assert DRAWER.draw({"left": left[0], "right": torch.ones(1, 5, 5)}, target, "different heights").height > 100


def test_a_grid_contains_each_picture():
    pictures = [Image.new("RGB", (40 + number, 30), (number, 0, 0)) for number in range(1, 8)]

    grid = np.asarray(draw_grid(pictures))

    assert [(grid == (number, 0, 0)).all(axis=-1).sum() for number in range(1, 8)] == [
        30 * (40 + number) for number in range(1, 8)
    ]
