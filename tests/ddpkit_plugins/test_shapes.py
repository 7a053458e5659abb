"""The generated shapes, with their classes and boxes."""

import numpy as np
import pytest
import torch

from ddpkit_plugins.datasets.shapes import OneShape, Shapes


def test_an_image_depends_only_on_seed_and_index():
    first, again, other = Shapes(1), Shapes(1), Shapes(2)
    again[9]  # what was drawn before does not matter

    assert first[3][0].tobytes() == again[3][0].tobytes() == Shapes(1, n=4)[3][0].tobytes()
    assert torch.equal(first[3][1]["boxes"], again[3][1]["boxes"])
    assert len({first[3][0].tobytes(), first[4][0].tobytes(), other[3][0].tobytes()}) == 3


def test_a_box_tightly_encloses_its_bright_shape():
    for image, target in (Shapes(0, size=96)[index] for index in range(50)):
        bright = np.asarray(image).min(2) >= 128
        assert 1 <= len(target["labels"]) <= 3
        covered = np.zeros_like(bright)
        for left, top, right, bottom in target["boxes"].int().tolist():
            sides = [bright[top:bottom, [left, right - 1]], bright[[top, bottom - 1], left:right].T]
            assert all(side.any(0).all() for side in sides)
            covered[top:bottom, left:right] = True
        assert not (bright & ~covered).any()


def test_a_label_matches_its_shape():
    """A square fills its box, a circle pi / 4 of it, a triangle half."""
    filled = {1: [], 2: [], 3: []}
    for image, target in (Shapes(3, size=128, max_objects=1)[index] for index in range(60)):
        left, top, right, bottom = target["boxes"][0].int().tolist()
        filled[int(target["labels"][0])].append((np.asarray(image).min(2) >= 128)[top:bottom, left:right].mean())

    assert [np.mean(filled[label]) for label in (1, 2, 3)] == pytest.approx([np.pi / 4, 1, 0.5], abs=0.03)
    assert Shapes(3).classes == ["circle", "square", "triangle"]


@pytest.mark.parametrize("params", [{"n": 0}, {"size": 31}, {"max_objects": 0}])
def test_invalid_parameters_are_rejected(params):
    with pytest.raises(ValueError, match="got"):
        Shapes(0, **params)


def test_iteration_ends_after_the_last_image():
    assert len(list(Shapes(0, n=3))) == len(list(OneShape(0, n=3))) == 3


def test_one_shape_targets_match_the_drawn_shapes():
    """Of its box a circle fills pi / 4, a square all, a triangle half."""
    images = OneShape(3, n=60, size=128)
    filled = [[], [], []]
    for image, target in images:
        bright = np.asarray(image).min(2) >= 128
        rows, columns = bright.any(1).nonzero()[0], bright.any(0).nonzero()[0]
        filled[target].append(bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean())

    assert [np.mean(shares) for shares in filled] == pytest.approx([np.pi / 4, 1, 0.5], abs=0.03)
    assert [target for _, target in images] == images.targets
    assert images[5][0].tobytes() == OneShape(3, n=6, size=128)[5][0].tobytes() != OneShape(4, n=6, size=128)[5][0].tobytes()
    with pytest.raises(ValueError, match="got 0 and 64"):
        OneShape(0, n=0)
