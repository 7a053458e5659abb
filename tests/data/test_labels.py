"""The class labels of samples, for datasets that provide them."""

import pytest
import torch

from ddpkit.data.labels import count_classes, sample_labels


class LabelledDataset(list):
    """A dataset with these targets; `length` sets another number of samples."""

    def __init__(self, targets, length=None):
        super().__init__(range(len(targets) if length is None else length))
        self.targets = targets


@pytest.mark.parametrize("targets", [[2, 0, 1, 2], torch.tensor([2, 0, 1, 2]), torch.tensor([2, 0, 1, 2], dtype=torch.uint8)])
def test_sample_labels_returns_the_classes_of_indices(targets):
    assert sample_labels(LabelledDataset(targets), [3, 1]) == [2, 0]


@pytest.mark.parametrize(
    "dataset",
    [
        [1, 2],
        LabelledDataset(["a", "b"]),
        LabelledDataset([[0], [0, 1]]),
        LabelledDataset([0.5, 1.0]),
        LabelledDataset([[1], [0]]),
        LabelledDataset([1], 2),
    ],
)
def test_a_dataset_without_class_labels_gives_none(dataset):
    assert sample_labels(dataset, [0]) is None
    assert count_classes(dataset, [0], ["a", "b"]) is None


def test_class_counts_include_empty_and_unnamed_classes():
    assert count_classes(LabelledDataset([0, 2, 2, 3]), [1, 2, 3], ["a", "b", "c"]) == {"a": 0, "b": 0, "c": 2, "3": 1}
