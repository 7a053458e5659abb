"""Class labels of samples, if the dataset provides them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from ddpkit.data.dataset_info import DatasetInfo


def sample_labels(dataset: Any, indices: Sequence[int]) -> list[int] | None:
    """Return the class index of each of these samples; None if the dataset's `targets` are not one class index per sample."""
    if (given := DatasetInfo(dataset).targets) is None:
        return None
    try:
        targets = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):  # strings, or lists of different lengths
        return None
    if targets.ndim != 1 or len(targets) != len(dataset) or targets.is_floating_point():
        return None
    return [int(label) for label in targets[list(indices)].tolist()]


def count_classes(dataset: Any, indices: Sequence[int], classes: Sequence[str]) -> dict[str, int] | None:
    """Return class name -> number of these samples in the class. A class without a name is listed by its index.

    Returns None in the same cases as `sample_labels`.
    """
    labels = sample_labels(dataset, indices)
    if labels is None:
        return None
    counts, numbers = Counter(labels), range(max(len(classes), *(label + 1 for label in labels), 1))
    return {classes[number] if number < len(classes) else str(number): counts[number] for number in numbers}
