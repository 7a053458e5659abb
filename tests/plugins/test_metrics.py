"""Metrics and postprocesses against counts by hand."""

import pytest
import torch

from ddpkit_plugins import metrics
from ddpkit_plugins.postprocesses import binary_segmentation, classification, multilabel, segmentation

THREE = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
CLASSES = torch.tensor([0, 1, 2, 0])
"""Predicted: 0, 0, 2, 1."""
TWO = torch.tensor([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
LABELS = torch.tensor([1, 0, 0, 1, 1])
"""Predicted: 1, 1, 0, 1, 0. TP 2, FP 1, TN 1, FN 1."""


def test_accuracy_is_the_share_of_right_samples():
    assert metrics.accuracy(3)(THREE, CLASSES) == 0.5
    assert metrics.accuracy(3, top_k=2)(THREE, CLASSES) == 1.0
    assert metrics.accuracy(3, average="macro")(THREE, CLASSES) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("precision", 2 / 3),
        ("recall", 2 / 3),
        ("specificity", 1 / 2),
        ("f1", 2 / 3),
        ("dice", 2 / 3),
        ("iou", 2 / 4),
        ("auc", 5 / 6),
    ],
)
def test_of_two_classes_metrics_are_about_the_second(name, value):
    assert getattr(metrics, name)(2)(TWO, LABELS) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "macro", "micro"),
    [
        ("precision", (1 / 2 + 0 + 1) / 3, 2 / 4),
        ("recall", (1 / 2 + 0 + 1) / 3, 2 / 4),
        ("specificity", (1 / 2 + 2 / 3 + 1) / 3, 6 / 8),
        ("f1", (1 / 2 + 0 + 1) / 3, 2 / 4),
        ("iou", (1 / 3 + 0 + 1) / 3, 2 / 6),
    ],
)
def test_of_more_classes_metrics_are_averaged(name, macro, micro):
    assert getattr(metrics, name)(3)(THREE, CLASSES) == pytest.approx(macro)
    assert getattr(metrics, name)(3, average="micro")(THREE, CLASSES) == pytest.approx(micro)


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2)])
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "specificity", "f1", "dice", "iou", "auc"])
def test_masks_of_bytes_count_by_pixel(name, shape):
    shares = torch.tensor([[[[0.2, 0.4], [0.9, 0.3]], [[0.8, 0.6], [0.1, 0.7]]]])
    mask = torch.tensor([1, 0, 0, 1], dtype=torch.uint8)
    flat = shares.movedim(1, -1).reshape(-1, 2)

    assert getattr(metrics, name)(2)(shares, mask.reshape(shape)) == pytest.approx(
        float(getattr(metrics, name)(2)(flat, mask.long()))
    )


def test_a_metric_begins_anew():
    metric = metrics.iou(2)
    metric.update(TWO, LABELS)
    metric.reset()
    metric.update(TWO[:1], LABELS[:1])

    assert metric.compute() == 1.0


@pytest.mark.parametrize("make", [classification, segmentation, binary_segmentation])
def test_probabilities_of_classes_add_up_to_one(make):
    one, three = torch.randn(2, 1, 3, 3), torch.randn(2, 3, 3, 3)

    torch.testing.assert_close(make()(one)[:, 1:], one.sigmoid())
    torch.testing.assert_close(make()(one).sum(1), torch.ones(2, 3, 3))
    torch.testing.assert_close(make()(three), three.softmax(1))


def test_labels_are_each_by_themselves():
    torch.testing.assert_close(multilabel()(torch.tensor([[0.0, 100.0]])), torch.tensor([[0.5, 1.0]]))


@pytest.mark.parametrize(("make", "params"), [(metrics.accuracy, {"top_k": 0}), (metrics.auc, {"thresholds": 1})])
def test_parameters_that_cannot_be_are_refused(make, params):
    with pytest.raises(ValueError, match=r"got"):
        make(3, **params)
