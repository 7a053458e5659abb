"""From a model's input back to the picture."""

import pytest
import torch
from PIL import Image

from ddpkit.inference.input_geometry import View, seen
from ddpkit.inference.prediction import Interpreter
from ddpkit_plugins.transforms import center_crop, pil_to_tensor, resize

PICTURE = Image.new("L", (40, 20))
TRANSFORMS = {
    "as it is": ([], (0, 0, 40, 20)),
    "resized": ([resize(10, 10)], (0, 0, 10, 10)),
    "cut": ([center_crop(10, 20)], (-10, -5, 30, 15)),
    "with a border": ([center_crop(40, 60)], (10, 10, 50, 30)),
    "resized and cut": ([resize(64, 64), center_crop(32, 32)], (-16, -16, 48, 48)),
}


@pytest.mark.parametrize("case", TRANSFORMS)
def test_where_the_picture_lies_in_the_input(case):
    transforms, place = TRANSFORMS[case]

    image, view = seen(PICTURE, [*transforms, pil_to_tensor()])

    assert (view.left, view.top, view.right, view.bottom) == pytest.approx(place, abs=1e-5)
    assert (view.size, view.seen) == ((20, 40), tuple(image.shape[-2:]))


@pytest.mark.parametrize("case", TRANSFORMS)
def test_a_box_comes_back_to_where_it_was(case):
    _, view = seen(PICTURE, [*TRANSFORMS[case][0], pil_to_tensor()])
    wide, high = (view.right - view.left) / 40, (view.bottom - view.top) / 20
    there = torch.tensor([[12 * wide, 6 * high, 30 * wide, 15 * high]]) + torch.tensor([view.left, view.top] * 2)

    torch.testing.assert_close(view.boxes(there), torch.tensor([[12.0, 6.0, 30.0, 15.0]]))
    assert view.boxes(torch.tensor([[-999.0, -999.0, 999.0, 999.0]])).tolist() == [[0, 0, 40, 20]]


def halves(height, width):
    """Probabilities of a second class that is the right half."""
    right = torch.zeros(height, width, dtype=torch.float64)
    right[:, width // 2 :] = 1
    return torch.stack([1 - right, right])


@pytest.mark.parametrize("at_once", [2**20, 40])
@pytest.mark.parametrize("size", [(10, 10), (20, 40), (40, 80)])
def test_a_mask_comes_back_in_the_size_of_the_picture(monkeypatch, size, at_once):
    """Also where the model's outputs are smaller or larger than its input, and a few rows are made at a time."""
    monkeypatch.setattr("ddpkit.inference.input_geometry.AT_ONCE", at_once)
    _, view = seen(PICTURE, [resize(20, 20), pil_to_tensor()])

    classes, sure = view.pixels(halves(*size), lambda probabilities: probabilities.argmax(dim=0))

    expected = torch.zeros(20, 40, dtype=torch.int64)
    expected[:, 20:] = 1
    assert classes.equal(expected)
    assert (sure >= 0.5).all()


def test_what_the_model_does_not_see_is_the_first_class():
    _, view = seen(PICTURE, [center_crop(10, 20), pil_to_tensor()])

    classes, sure = view.pixels(torch.stack([torch.zeros(10, 20), torch.ones(10, 20)]), lambda each: each.argmax(dim=0))

    assert classes[5:15, 10:30].all()
    assert classes.sum() == 200
    assert sure.sum() == 200


def test_a_border_is_taken_off():
    _, view = seen(PICTURE, [center_crop(40, 60), pil_to_tensor()])
    inside = torch.zeros(2, 40, 60)
    inside[1, 10:30, 10:50] = 1

    classes, _ = view.pixels(inside, lambda each: each.argmax(dim=0))

    assert classes.shape == (20, 40)
    assert classes.all()


# --- what is said of it ----------------------------------------------------------------------------------------------


WHOLE = View(0, 0, 2, 2, (2, 2), (2, 2))


def interpreted(gives, found, classes=("a", "b", "c"), threshold=0.5, top_k=2, view=WHOLE):
    return Interpreter(gives=gives, classes=classes, threshold=threshold, top_k=top_k)(found, view).values


def test_a_class_has_the_best_few_behind_it():
    found = interpreted("class", torch.tensor([0.2, 0.1, 0.7], dtype=torch.float64))

    assert found == {"label": 2, "name": "c", "probability": 0.7, "top": [["c", 0.7], ["a", 0.2]]}


def test_labels_are_those_from_the_threshold_on():
    found = interpreted("labels", torch.tensor([0.5, 0.49, 1.0], dtype=torch.float64))

    assert found == {"labels": ["a", "c"], "probabilities": {"a": 0.5, "b": 0.49, "c": 1.0}}


def test_a_mask_tells_each_class_share():
    of_three = torch.zeros(3, 2, 2)
    of_three[0, 0], of_three[2, 1, 0], of_three[1, 1, 1] = 1, 1, 1

    assert interpreted("mask", of_three) == {"mask": None, "classes": {"a": 0.5, "b": 0.25, "c": 0.25}}
    assert interpreted("mask", torch.full((2, 2, 2), 0.5), threshold=0.6)["classes"] == {"a": 1.0, "b": 0.0}


def test_boxes_are_in_the_pictures_pixels_and_the_first_label_is_1():
    found = {
        "boxes": torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 2.0, 2.0]]),
        "scores": torch.tensor([0.75, 0.25]),
        "labels": torch.tensor([1, 2]),
    }

    said = interpreted("boxes", found, view=View(0, 0, 2, 2, (20, 40), (2, 2)))

    assert said == {"boxes": [[0.0, 0.0, 20.0, 20.0]], "labels": [1], "names": ["a"], "scores": [0.75]}


def test_what_a_postprocess_does_not_name_is_as_it_is():
    found = torch.tensor([[0.5, float("nan")], [1.0, 2.0]])

    assert interpreted(None, found) == {"values": [[0.5, None], [1.0, 2.0]]}
    assert interpreted("class", torch.ones(1, 1)) == {"values": [[1.0]]}
