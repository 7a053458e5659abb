"""Which class a sample is of, where a dataset tells."""

import pytest
import torch

from ddpkit.data.labels import counted, labels_of


class Told(list):
    """A dataset with these targets, as long as they are."""

    def __init__(self, targets, length=None):
        super().__init__(range(len(targets) if length is None else length))
        self.targets = targets


@pytest.mark.parametrize("targets", [[2, 0, 1, 2], torch.tensor([2, 0, 1, 2]), torch.tensor([2, 0, 1, 2], dtype=torch.uint8)])
def test_the_classes_of_some_samples(targets):
    assert labels_of(Told(targets), [3, 1]) == [2, 0]


@pytest.mark.parametrize(
    "dataset", [[1, 2], Told(["a", "b"]), Told([[0], [0, 1]]), Told([0.5, 1.0]), Told([[1], [0]]), Told([1], 2)]
)
def test_a_dataset_that_does_not_tell(dataset):
    assert labels_of(dataset, [0]) is None
    assert counted(dataset, [0], ["a", "b"]) is None


def test_each_class_is_counted_the_one_without_a_sample_and_the_one_without_a_name_too():
    assert counted(Told([0, 2, 2, 3]), [1, 2, 3], ["a", "b", "c"]) == {"a": 0, "b": 0, "c": 2, "3": 1}
