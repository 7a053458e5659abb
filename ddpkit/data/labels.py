"""Which class a sample is of, where a dataset tells."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch


def labels_of(dataset: Any, indices: Sequence[int]) -> list[int] | None:
    """The class of each of these samples; None for a dataset whose `targets` are not one class a sample."""
    try:
        targets = torch.as_tensor(getattr(dataset, "targets", []))
    except (TypeError, ValueError, RuntimeError):  # texts, lists of several lengths
        return None
    if targets.ndim != 1 or len(targets) != len(dataset) or targets.is_floating_point():
        return None
    return [int(label) for label in targets[list(indices)].tolist()]


def counted(dataset: Any, indices: Sequence[int], classes: Sequence[str]) -> dict[str, int] | None:
    """How many of these samples each class has, by its name, or its number where it has none; None as of `labels_of`."""
    labels = labels_of(dataset, indices)
    if labels is None:
        return None
    counts, numbers = Counter(labels), range(max(len(classes), *(label + 1 for label in labels), 1))
    return {classes[number] if number < len(classes) else str(number): counts[number] for number in numbers}
