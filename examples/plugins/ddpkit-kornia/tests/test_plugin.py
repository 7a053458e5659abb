"""The transforms are reproducible, change image and mask together, and a config can train with them."""

import math
from pathlib import Path

import pytest
import torch
from ddpkit_kornia import plugin, transform
from kornia import augmentation
from torchvision.tv_tensors import BoundingBoxes, Mask

from ddpkit.testing import loaded, run_toml

EXAMPLE = Path(__file__).parents[1] / "example.toml"
OPTIONS = {
    "MOTION_BLUR": {"kernel_size": 5, "angle": 30.0, "direction": 0.5},
    "COLOR_JIGGLE": {"brightness": 0.2, "hue": 0.1},
    "GAMMA": {"gamma": (0.5, 0.8)},
}


def seeded(change, *inputs):
    torch.manual_seed(7)
    return change(*inputs)


def test_the_plugin_declares_its_components():
    registry = loaded(kornia="ddpkit_kornia.plugin").registry

    assert {entry.kind for entry in registry} == {"transform"}


@pytest.mark.parametrize("name", plugin.WITHOUT_MOTION)
def test_a_transform_of_the_image_keeps_its_shape_and_range(name):
    target = getattr(augmentation, plugin.WITHOUT_MOTION[name][0])
    change = target(keepdim=True, same_on_batch=False, p=1.0, **OPTIONS.get(name, {}))
    image = torch.rand(3, 48, 64)

    changed = seeded(change, image)

    assert changed.shape == image.shape
    assert not torch.equal(changed, image)
    assert torch.equal(changed, seeded(change, image))
    assert name == "GAUSSIAN_NOISE" or 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("name", plugin.WITH_MASKS)
def test_image_and_mask_move_together(name):
    change = getattr(transform, plugin.WITH_MASKS[name][0])(p=1.0)
    image = torch.zeros(1, 64, 64)
    image[:, 20:40, 20:44] = 1
    mask = Mask(2 * image[0].to(torch.uint8))

    moved, moved_mask = seeded(change, image, mask)

    assert not torch.equal(moved, image)
    assert isinstance(moved_mask, Mask)
    assert moved_mask.dtype == torch.uint8
    assert {*moved_mask.unique().tolist()} == {0, 2}
    assert ((moved[0] > 0.5) != (moved_mask == 2)).float().mean() < 0.01
    again = seeded(change, image, mask)
    assert torch.equal(moved, again[0])
    assert torch.equal(moved_mask, again[1])


def test_a_label_is_kept():
    image, label = transform.affine(p=1.0)(torch.rand(3, 32, 32), 5)

    assert (image.shape, label) == ((3, 32, 32), 5)


def test_boxes_and_integers_are_refused():
    boxes = BoundingBoxes([[0, 0, 4, 4]], format="XYXY", canvas_size=(32, 32))
    with pytest.raises(ValueError, match="boxes"):
        transform.affine()(torch.rand(3, 32, 32), {"boxes": boxes, "labels": torch.tensor([1])})
    with pytest.raises(ValueError, match="TO_TENSOR"):
        transform.affine()(torch.zeros(3, 32, 32, dtype=torch.uint8), 0)


def test_the_example_trains_on_two_ranks(tmp_path):
    outcome = run_toml(EXAMPLE.read_text(encoding="utf-8"), tmp_path, "--limit-batches", "2", nproc=2).assert_done()

    assert math.isfinite(outcome.history[-1]["train/loss"])
