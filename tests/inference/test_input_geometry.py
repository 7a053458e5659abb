"""Coordinates of a model's input are mapped back to the original picture."""

import pytest
import torch
from PIL import Image

from ddpkit.inference.input_geometry import InputGeometry, preprocess
from ddpkit.inference.prediction import PredictionDecoder
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
def test_preprocess_tracks_the_picture_position(case):
    transforms, place = TRANSFORMS[case]

    image, view = preprocess(PICTURE, [*transforms, pil_to_tensor()])

    assert (view.left, view.top, view.right, view.bottom) == pytest.approx(place, abs=1e-5)
    assert (view.size, view.seen) == ((20, 40), tuple(image.shape[-2:]))


@pytest.mark.parametrize("case", TRANSFORMS)
def test_boxes_are_mapped_back_to_picture_coordinates(case):
    _, view = preprocess(PICTURE, [*TRANSFORMS[case][0], pil_to_tensor()])
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
def test_masks_are_mapped_back_to_the_picture_size(monkeypatch, size, at_once):
    """Also if the outputs are smaller or larger than the input, and a few rows are processed at a time."""
    monkeypatch.setattr("ddpkit.inference.input_geometry.CHUNK_PIXELS", at_once)
    _, view = preprocess(PICTURE, [resize(20, 20), pil_to_tensor()])

    classes, sure = view.pixels(halves(*size), lambda probabilities: probabilities.argmax(dim=0))

    expected = torch.zeros(20, 40, dtype=torch.int64)
    expected[:, 20:] = 1
    assert classes.equal(expected)
    assert (sure >= 0.5).all()


def test_pixels_outside_the_crop_are_the_first_class():
    _, view = preprocess(PICTURE, [center_crop(10, 20), pil_to_tensor()])

    classes, sure = view.pixels(torch.stack([torch.zeros(10, 20), torch.ones(10, 20)]), lambda each: each.argmax(dim=0))

    assert classes[5:15, 10:30].all()
    assert classes.sum() == 200
    assert sure.sum() == 200


def test_padding_is_removed_from_masks():
    _, view = preprocess(PICTURE, [center_crop(40, 60), pil_to_tensor()])
    inside = torch.zeros(2, 40, 60)
    inside[1, 10:30, 10:50] = 1

    classes, _ = view.pixels(inside, lambda each: each.argmax(dim=0))

    assert classes.shape == (20, 40)
    assert classes.all()


# --- decoded predictions ----------------------------------------------------------------------------------------------


WHOLE = InputGeometry(0, 0, 2, 2, (2, 2), (2, 2))


def decode(gives, found, classes=("a", "b", "c"), threshold=0.5, top_k=2, view=WHOLE):
    return PredictionDecoder(gives=gives, classes=classes, threshold=threshold, top_k=top_k)(found, view).values


def test_a_class_prediction_lists_the_top_k():
    found = decode("class", torch.tensor([0.2, 0.1, 0.7], dtype=torch.float64))

    assert found == {"label": 2, "name": "c", "probability": 0.7, "top": [["c", 0.7], ["a", 0.2]]}


def test_labels_at_or_above_the_threshold_are_predicted():
    found = decode("labels", torch.tensor([0.5, 0.49, 1.0], dtype=torch.float64))

    assert found == {"labels": ["a", "c"], "probabilities": {"a": 0.5, "b": 0.49, "c": 1.0}}


def test_a_mask_prediction_lists_class_fractions():
    of_three = torch.zeros(3, 2, 2)
    of_three[0, 0], of_three[2, 1, 0], of_three[1, 1, 1] = 1, 1, 1

    assert decode("mask", of_three) == {"mask": None, "classes": {"a": 0.5, "b": 0.25, "c": 0.25}}
    assert decode("mask", torch.full((2, 2, 2), 0.5), threshold=0.6)["classes"] == {"a": 1.0, "b": 0.0}


def test_boxes_are_in_picture_pixels_with_labels_from_1():
    found = {
        "boxes": torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 2.0, 2.0]]),
        "scores": torch.tensor([0.75, 0.25]),
        "labels": torch.tensor([1, 2]),
    }

    said = decode("boxes", found, view=InputGeometry(0, 0, 2, 2, (20, 40), (2, 2)))

    assert said == {"boxes": [[0.0, 0.0, 20.0, 20.0]], "labels": [1], "names": ["a"], "scores": [0.75]}


def test_unknown_outputs_are_returned_as_values():
    found = torch.tensor([[0.5, float("nan")], [1.0, 2.0]])

    assert decode(None, found) == {"values": [[0.5, None], [1.0, 2.0]]}
    assert decode("class", torch.ones(1, 1)) == {"values": [[1.0]]}
