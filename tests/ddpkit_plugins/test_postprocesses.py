"""Postprocessing: outputs become probabilities, and boxes are filtered."""

import re

import pytest
import torch

from ddpkit_plugins.postprocesses import binary_segmentation, classification, detection, multilabel, segmentation

LOGITS = torch.randn(2, 3, 4, 5, dtype=torch.float64)
FOUND = {
    "boxes": torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [30, 30, 70, 50]]),
    "scores": torch.tensor([0.5, 0.9, 0.4, 0.7]),
    "labels": torch.tensor([1, 1, 2, 1]),
    "masks": torch.arange(4)[:, None, None, None],
}


def test_one_logit_per_pixel_is_the_foreground():
    probabilities = binary_segmentation()(LOGITS[:, :1])

    foreground = 1 / (1 + torch.exp(-LOGITS[:, 0]))
    torch.testing.assert_close(probabilities, torch.stack([1 - foreground, foreground], dim=1))


@pytest.mark.parametrize("n_classes", [1, 2, 10])
def test_classification_handles_one_or_several_logits(n_classes):
    """One logit distinguishes two classes, several logits give a softmax."""
    targets = torch.arange(20) % max(n_classes, 2)
    right = torch.nn.functional.one_hot(targets, n_classes) if n_classes > 1 else targets[:, None]

    found = classification()(right * 8.0 - 4)
    assert found.argmax(dim=1).equal(targets)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(20))


@pytest.mark.parametrize(("make", "n_classes"), [(binary_segmentation, 2), (segmentation, 2), (segmentation, 3)])
def test_several_logits_per_pixel_give_a_softmax(make, n_classes):
    logits = LOGITS[:, :n_classes]

    torch.testing.assert_close(make()(logits), logits.exp() / logits.exp().sum(dim=1, keepdim=True))


def test_multilabel_is_a_sigmoid_per_label():
    torch.testing.assert_close(multilabel()(LOGITS), 1 / (1 + torch.exp(-LOGITS)))


@pytest.mark.parametrize(
    ("make", "outputs", "message"),
    [
        (binary_segmentation, LOGITS, "(for more logits, use 'segmentation'); got [2, 3, 4, 5]"),
        (binary_segmentation, LOGITS[..., 0, 0], "got [2, 3]"),
        (segmentation, LOGITS[:, :1], "(for a single logit, use 'binary_segmentation'); got [2, 1, 4, 5]"),
        (segmentation, LOGITS[..., 0, 0], "got [2, 3]"),
        (classification, LOGITS, "(for logits per pixel, use 'segmentation'); got [2, 3, 4, 5]"),
        (classification, [FOUND], "got list"),
        (multilabel, LOGITS[:, 0, 0, 0], "got [2]"),
        (detection, LOGITS, "expected the outputs of a detector: boxes, scores and labels for each image"),
    ],
)
def test_outputs_of_another_kind_are_rejected(make, outputs, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()(outputs)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({}, [1, 3, 0, 2]),
        ({"score_threshold": 0.5}, [1, 3, 0]),
        ({"max_detections": 2}, [1, 3]),
        ({"nms_threshold": 0.5}, [1, 3, 2]),
        ({"nms_threshold": 0.5, "score_threshold": 0.8}, [1]),
        ({"score_threshold": 1.0}, []),
    ],
)
def test_detection_keeps_the_best_boxes_with_all_their_fields(params, kept):
    (found,) = detection(**params)([FOUND])

    assert {key: value.tolist() for key, value in found.items()} == {key: value[kept].tolist() for key, value in FOUND.items()}


def test_boxes_are_clipped_to_the_image():
    (found,) = detection(image_size=[40, 60])([FOUND])

    assert found["boxes"][1].tolist() == [30, 30, 60, 40]
    assert FOUND["boxes"][3].tolist() == [30, 30, 70, 50]


@pytest.mark.parametrize(
    "params",
    [{"score_threshold": 1.5}, {"nms_threshold": -0.1}, {"max_detections": 0}, {"image_size": [4]}, {"image_size": [0, 4]}],
)
def test_invalid_detection_parameters_are_rejected(params):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be .*got"):
        detection(**params)
